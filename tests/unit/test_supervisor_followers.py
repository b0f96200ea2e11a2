"""Owners are ordered with the followers that the metadata log says, before they can acknowledge anything."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import AlterConfig, AlterTopic, FollowerSpec, FollowerWaits, OwnerReady, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.settings import ClusterConfig
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.topics import Topics


class Orders:
    """A zygote that notes what it is ordered to fork."""

    def __init__(self) -> None:
        self.specs: list[OwnerSpec | FollowerSpec] = []

    def knows(self, pids: object) -> None:
        """It does not die."""

    def spawn(self, spec: OwnerSpec | FollowerSpec, end: socket.socket, *_: object) -> None:
        self.specs.append(spec)
        end.close()


class Regions:
    """Room for everything."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: False

    def bell(self, partition_id: int) -> Any:
        return self


class Cluster:
    """One partition with two replicas, and a supervisor without processes."""

    def __init__(self, directory: Path) -> None:
        self.loop, self.catalog = Loop(), Catalog(str(directory), ClusterConfig.from_mapping({}))
        step = self.catalog.machine.create_topic(
            "t", topic_id="id", partitions=1, replication_factor=2, directories=["", ""]
        )
        self.catalog.commit(step.records)
        directories = LogDirectories([LogDirectory("", str(directory))])
        config = ClusterConfig.from_mapping({})
        identity = ClusterIdentity(
            "c", "id", "0" * 8, RuntimePaths(str(directory)), str(directory), config, None, 0, directories
        )
        self.zygote = Orders()
        zygote: Any = self.zygote
        regions: Any = Regions()
        self.owners = Owners(self.loop, identity, self.catalog, regions, zygote)
        self.followers = Followers(self.loop, identity, self.catalog, self.owners, zygote)
        describe: Any = SimpleNamespace(topic=lambda topic: topic.name)
        trash: Any = None
        self.topics = Topics(self.loop, identity, self.catalog, regions, self.owners, self.followers, describe, trash)

    def close(self) -> None:
        for owner in self.owners._owners.values():
            owner.channel.close()
        for process in self.followers._processes.values():
            process.channel.close()
        self.loop.close()
        self.catalog.close(clean=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    made.topics.resume(lambda: None)
    yield made
    made.close()


def test_an_owner_is_ordered_with_its_in_sync_followers_when_the_cluster_starts(cluster: Cluster) -> None:
    """Regression: followers were wanted after owners, which then acknowledged alone until they were told."""
    (owner,) = [spec for spec in cluster.zygote.specs if isinstance(spec, OwnerSpec)]
    assert [(one.replica_id, one.in_sync) for one in owner.followers] == [(1, True)]


def test_an_owner_that_was_starting_while_its_topic_was_altered_hears_of_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it ran with the settings that it had been ordered with, until the next change."""
    answers: list[object] = []
    cluster.topics.alter(AlterTopic(0, "t", {"flush.messages": "1"}, [], None), Answer(7, answers.append))
    assert len(answers) == 1
    sent: list[AlterConfig] = []
    monkeypatch.setattr(cluster.owners, "running", lambda partition_id: partition_id + 1)
    monkeypatch.setattr(cluster.owners, "send", lambda owner, order: sent.append(order))
    for _ in range(2):
        cluster.topics.owner_ready(OwnerReady(0, 0, 1, 4096, 64, 0, 0, [], "", False))
    assert [order.config["flush.messages"] for order in sent] == ["1"]


def test_who_cares_hears_of_a_follower_that_waits_and_not_that_it_goes_on(cluster: Cluster) -> None:
    heard: list[int] = []
    cluster.followers.on_waiting = heard.append
    (process,) = cluster.followers._processes.values()
    for reason in ("the leader's log cannot be read", ""):
        cluster.followers._handle(process, FollowerWaits(reason))
    assert heard == [0]

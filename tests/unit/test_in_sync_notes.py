"""A full metadata disk holds up the leaders that would hear of a new in-sync set, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmlog.control.messages import FollowerSpec, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.errors import DiskFullError
from shmlog.machines.metadata_records import InSyncChanged
from shmlog.machines.replication import CaughtUp, FollowerExited, FollowerReady
from shmlog.settings import ClusterConfig
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners


class Cluster:
    """A topic with two partitions of two replicas each, without processes, on a disk that a test fills."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1
        self.loop, config = Loop(lambda: self.now_ns), ClusterConfig.from_mapping({})
        self.catalog = Catalog(str(directory), config)
        made = self.catalog.machine.create_topic(
            "t", topic_id="id", partitions=2, replication_factor=2, directories=["", ""]
        )
        self.catalog.commit(made.records)
        identity = ClusterIdentity(
            "c",
            "id",
            "0" * 8,
            RuntimePaths(str(directory)),
            str(directory),
            config,
            None,
            0,
            LogDirectories([LogDirectory("", str(directory))]),
        )
        self.started: list[int] = []
        self.written: list[InSyncChanged] = []
        self.told: list[tuple[int, list[int]]] = []
        """Each time a leader was told: which partition, and who of its followers is in sync."""
        self.is_full = False
        commit = self.catalog.commit

        def commit_if_there_is_room(records: tuple[Any, ...]) -> None:
            if records and self.is_full:
                raise DiskFullError("no room")
            self.written += records
            commit(records)

        monkeypatch.setattr(self.catalog, "commit", commit_if_there_is_room)
        regions: Any = None
        zygote: Any = self
        owners = Owners(self.loop, identity, self.catalog, regions, zygote)
        monkeypatch.setattr(Followers, "_tell_leader", self.tell)
        self.followers = Followers(self.loop, identity, self.catalog, owners, zygote)
        self.followers.want(self.catalog.machine.partitions())
        for partition_id in (0, 1):
            self.followers.observe(FollowerReady(partition_id, 1))
        self.told.clear()
        self.started.clear()

    def knows(self, pids: object) -> None:
        """As the zygote, which does not die."""

    def spawn(self, spec: OwnerSpec | FollowerSpec, end: socket.socket, *_: object) -> None:
        self.started.append(spec.partition_id)
        end.close()

    def tell(self, partition_id: int) -> None:
        followers = self.followers.known_to(partition_id)
        self.told.append((partition_id, [one.replica_id for one in followers if one.in_sync]))

    def dies(self, partition_id: int) -> None:
        """Its follower."""
        self.followers._processes[partition_id, 1].close()
        self.followers.observe(FollowerExited(partition_id, 1))

    def later(self) -> None:
        """Two seconds have passed."""
        self.now_ns += 2_000_000_000
        self.loop.run_once(0.0)

    def close(self) -> None:
        for process in self.followers._processes.values():
            process.close()
        self.loop.close()
        self.catalog.close(clean=True)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with monkeypatch.context() as patch:
        made = Cluster(tmp_path, patch)
        yield made
        made.close()


def test_a_leader_hears_of_a_new_set_when_it_is_written_and_not_before(cluster: Cluster) -> None:
    cluster.is_full = True
    cluster.dies(0)
    cluster.later()
    assert cluster.told == []
    cluster.is_full = False
    cluster.later()
    assert cluster.written == [InSyncChanged(0, 0, [0])]
    assert cluster.told == [(0, [])]


def test_followers_are_started_and_ended_while_a_set_waits_for_room(cluster: Cluster) -> None:
    gone: list[int] = []
    cluster.followers.on_gone.append(gone.append)
    cluster.is_full = True
    cluster.dies(0)
    assert cluster.started == [0], "a successor, though nobody may be told yet"
    cluster.followers.unwant(1, delete=False)
    cluster.dies(1)
    cluster.later()
    assert gone == [1]


def test_leaders_of_other_partitions_are_told_while_a_set_waits_for_room(cluster: Cluster) -> None:
    cluster.is_full = True
    cluster.dies(0)
    cluster.followers.observe(CaughtUp(1, 1))  # nothing to write: it was in sync all the time
    cluster.is_full = False
    cluster.dies(1)
    assert {record.partition_id for record in cluster.written} == {0, 1}, "what waits is tried with the next one"
    assert sorted(cluster.told) == [(0, []), (1, [])]


def test_what_is_written_at_last_is_the_set_as_it_is_then(cluster: Cluster) -> None:
    cluster.is_full = True
    cluster.dies(0)
    cluster.followers.observe(FollowerReady(0, 1))
    cluster.followers.observe(CaughtUp(0, 1))
    cluster.later()
    assert cluster.written == [], "it is in sync again, as is written already"
    assert cluster.told[-1] == (0, [1])


def test_a_set_of_a_partition_that_is_deleted_is_not_written_any_more(cluster: Cluster) -> None:
    cluster.is_full = True
    cluster.dies(0)
    cluster.followers.unwant(0, delete=True)
    cluster.dies(0)
    cluster.is_full = False
    cluster.later()
    assert cluster.written == []


def test_a_full_disk_is_said_once(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.is_full = True
    for partition_id in (0, 1):
        cluster.dies(partition_id)
    for _ in range(3):
        cluster.later()
    assert caplog.text.count("in-sync sets stay as they are until there is room") == 1

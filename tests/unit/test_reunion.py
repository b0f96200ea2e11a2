"""Which of the workers that outlived their supervisor may go on as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shmlog.control.messages import Closed, FollowerReady, FollowerReturns, FollowerSpec, OwnerReady, OwnerReturns
from shmlog.control.worker_specs import OwnerSpec
from shmlog.errors import ForeignVersionError, InvalidRequestError
from shmlog.machines.metadata import MetadataMachine
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.reunion import require_same, wanted
from shmlog.version import VERSION

OWNER = OwnerSpec("c", "t", "0" * 8, "/run", "flights", "id", 0, 3, 7, "/data/flights-0", {}, 0o600, None, False)
FOLLOWER = FollowerSpec(
    "c", "t", "0" * 8, "/run", "flights", "id", 0, 3, 1, "/b/flights-0", "/data/flights-0", {}, 0o600, None
)
READY = OwnerReady(3, 7, 1, 4096, 64, 0, 0, [], "", False)


def owner(**different: Any) -> OwnerReturns:
    return OwnerReturns(VERSION, replace(OWNER, **different), READY, [])


def test_an_owner_that_is_what_is_wanted_goes_on_whatever_it_was_told_of_settings_and_followers() -> None:
    require_same(OWNER, owner(config={"retention.ms": "1"}, leftovers=True, replicas=2))


@pytest.mark.parametrize(
    "different", [{"cluster_id": "d"}, {"topic_id": "e"}, {"leader_epoch": 6}, {"log_dir": "/x"}, {"shm_mode": 0o660}]
)
def test_an_owner_that_was_started_for_something_else_does_not(different: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=f"it was started with another {next(iter(different))}"):
        require_same(OWNER, owner(**different))


def test_a_follower_of_another_leader_does_not_go_on() -> None:
    ready = FollowerReady(3, 1, 0, "", False)
    require_same(FOLLOWER, FollowerReturns(VERSION, FOLLOWER, ready, ""))
    with pytest.raises(InvalidRequestError, match="another leader_log_dir"):
        require_same(FOLLOWER, FollowerReturns(VERSION, replace(FOLLOWER, leader_log_dir="/elsewhere"), ready, ""))
    with pytest.raises(InvalidRequestError, match="it was started with a FollowerSpec"):
        require_same(OWNER, FollowerReturns(VERSION, FOLLOWER, ready, ""))


def test_a_worker_of_another_version_does_not_go_on() -> None:
    with pytest.raises(ForeignVersionError, match=f"it is shmlog 9.9, this is {VERSION}"):
        require_same(OWNER, replace(owner(), version="9.9"))


def test_who_says_something_else_first_does_not_go_on() -> None:
    with pytest.raises(InvalidRequestError, match="Closed is no way to come back"):
        require_same(OWNER, Closed(0))


class Cluster:
    """Two topics: t on disk a with a copy on b, gone deleted."""

    def __init__(self) -> None:
        self.machine = MetadataMachine(topic_defaults={})
        for name in ("t", "gone"):
            step = self.machine.create_topic(
                name, topic_id=name, partitions=1, replication_factor=2, directories=["a", "b"]
            )
            for record in step.records:
                self.machine.replay(record)
        for record in self.machine.delete_topic("gone").records:
            self.machine.replay(record)

    def wanted(self, *, missing: str = "", in_memory: frozenset[int] = frozenset({0, 1})) -> set[str]:
        directories = LogDirectories(
            LogDirectory(one, f"/{one}", "is not there" if one == missing else "") for one in "ab"
        )
        return wanted(self.machine.partitions(), directories, in_memory)


def test_owner_and_followers_of_topics_that_are_there_may_go_on() -> None:
    assert Cluster().wanted() == {"0", "0.r1"}


def test_without_the_disk_of_a_copy_only_its_follower_ends_and_without_that_of_the_leader_both() -> None:
    cluster = Cluster()
    leader = next(iter(cluster.machine.partitions())).replicas[0]
    other = "b" if leader == "a" else "a"
    assert cluster.wanted(missing=other) == {"0"}
    assert cluster.wanted(missing=leader) == set()


def test_with_nothing_in_memory_they_are_another_clusters() -> None:
    assert Cluster().wanted(in_memory=frozenset()) == set()

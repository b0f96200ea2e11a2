"""A follower whose region says what cannot be is not believed again before it is started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import ReplicaCaughtUp, ReplicaLags
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import Lane, Rig, open_rig

LAG_NS = 1_000_000_000
CONFIG = {"max.message.bytes": "65536", "segment.bytes": "1048576", "replica.lag.time.max.ms": "1000"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A new partition whose followers 1 and 2 are in sync."""
    with open_rig(tmp_path / "flights-0", CONFIG, in_sync=[1, 2]) as made:
        yield made


@pytest.fixture
def followers(rig: Rig) -> tuple[FakeFollower, FakeFollower]:
    """Both follow, and have nothing yet."""
    made = FakeFollower(rig.tag, 1), FakeFollower(rig.tag, 2)
    for follower in made:
        follower.follow(0)
    rig.followers.look(0)
    return made


def publish(rig: Rig, lane: Lane, *values: bytes) -> None:
    """As one batch."""
    lane.send_all(*values)
    rig.run()


def test_a_follower_that_is_not_believed_any_more_stays_so_when_something_else_changes(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    """Regression: every word of the supervisor about any follower made all of them sound again."""
    lane = rig.lane()
    publish(rig, lane, b"1")
    followers[0].has(7)
    rig.followers.look(LAG_NS)
    fault = "its region says that it has more than the leader's log"
    assert rig.reports == [ReplicaLags(0, 1, 1, fault)]
    rig.followers.replace(1, [rig.follower_at(1, in_sync=False), rig.follower_at(2, in_sync=True)])
    followers[0].has(1)
    followers[1].has(1)
    for now_ns in (2 * LAG_NS, 3 * LAG_NS):
        rig.followers.look(now_ns)
    assert rig.reports[1:] == [ReplicaLags(1, 1, 1, fault)]
    assert rig.values() == [b"1"], "the other one is believed"


def test_a_follower_that_went_back_stays_disbelieved_when_another_ones_region_is_new(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    publish(rig, rig.lane(), b"1")
    followers[0].has(1)
    rig.followers.look(LAG_NS)
    followers[0].has(0)
    rig.followers.look(2 * LAG_NS)
    followers[0].has(1)
    FakeFollower(rig.tag, 2).follow(0, 1)
    rig.followers.replace(1, [rig.follower_at(1, in_sync=False), rig.follower_at(2, in_sync=False)])
    for now_ns in (3 * LAG_NS, 4 * LAG_NS):
        rig.followers.look(now_ns)
    assert ReplicaCaughtUp(1, 2) in rig.reports
    assert ReplicaCaughtUp(1, 1) not in rig.reports


def test_a_follower_that_is_started_again_is_believed_again(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    publish(rig, rig.lane(), b"1")
    followers[0].has(7)
    rig.followers.look(LAG_NS)
    FakeFollower(rig.tag, 1).follow(0, 1)
    rig.followers.replace(1, [rig.follower_at(1, in_sync=False)])
    rig.followers.look(2 * LAG_NS)
    assert rig.reports[1:] == [ReplicaCaughtUp(1, 1)]

"""Replica regions in which somebody writes anything, or that are no replica regions: the leader lives, shows nothing
that its followers do not have, and says which of them cannot be believed, and why."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import FollowerAt, ReplicaLags
from shmlog.memory import layout, names, region
from shmlog.native.mapping import outlive_cut_regions
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import Lane, Rig, open_rig

LAG_MS = 1000
LAG_NS = LAG_MS * 1_000_000
CONFIG = {"max.message.bytes": "65536", "segment.bytes": "1048576", "replica.lag.time.max.ms": str(LAG_MS)}


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
    lane.send_all(*values)
    rig.run()


SPOILERS: dict[str, tuple[Callable[[FakeFollower], object], str]] = {
    "less than before": (lambda follower: follower.has(1), "less of the log than it had"),
    "less on the disk": (lambda follower: follower.has_synced(0), "less of the log than it had"),
    "more than there is": (lambda follower: follower.has(1 << 40), "more than the leader's log"),
    "more on the disk": (lambda follower: follower.has_synced(4), "more than the leader's log"),
    "no offset at all": (lambda follower: follower.has(2**64 - 1), "less of the log than it had"),
    "another leader": (lambda follower: follower.follow(5, 2), "follows another leader"),
}


@pytest.mark.parametrize("how", SPOILERS)
def test_what_cannot_be_true_is_not_believed_and_reported_at_once(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower], how: str
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    for follower in followers:
        follower.has(2)
        follower.has_synced(1)
    rig.followers.look(LAG_NS)
    assert len(rig.values()) == 2
    publish(rig, lane, b"3")
    followers[1].has(3)
    spoil, reason = SPOILERS[how]
    spoil(followers[0])
    rig.run()
    assert len(rig.values()) == 2
    rig.followers.look(2 * LAG_NS)
    (report,) = rig.reports
    assert isinstance(report, ReplicaLags)
    assert report.replica_id == 1
    assert reason in report.reason
    followers[0].has(3)
    rig.run()
    assert len(rig.values()) == 2, "who said what was wrong once is not believed again"
    rig.followers.replace(1, [rig.follower_at(2, in_sync=True)])
    assert len(rig.values()) == 3


def test_a_region_that_is_not_there_is_waited_for_and_then_reported(rig: Rig) -> None:
    publish(rig, rig.lane(), b"1")
    FakeFollower(rig.tag, 1).follow(0, 1)
    for now_ns in (LAG_NS, 2 * LAG_NS, 3 * LAG_NS):
        rig.followers.look(now_ns)
    (report,) = rig.reports
    assert isinstance(report, ReplicaLags)
    assert report.replica_id == 2
    assert names.replica(rig.tag, 1, 2) in report.reason


@pytest.mark.parametrize("content", [b"", b"x", bytes(layout.REPLICA_SIZE), bytes(range(256)) * 16, bytes(8192)])
def test_a_region_that_is_none_is_reported_by_name_and_harms_nobody(rig: Rig, content: bytes) -> None:
    name = names.replica(rig.tag, 1, 3)
    Path(region.SHM_DIRECTORY + name).write_bytes(content)
    rig.followers.replace(1, [FollowerAt(3, name, in_sync=True)])
    publish(rig, rig.lane(), b"1")
    for now_ns in (LAG_NS, 2 * LAG_NS, 3 * LAG_NS):
        rig.followers.look(now_ns)
    (report,) = rig.reports
    assert isinstance(report, ReplicaLags)
    assert name in report.reason
    rig.followers.replace(2, [])
    assert rig.values() == [b"1"]


def test_a_region_of_another_partition_is_not_taken(rig: Rig) -> None:
    FakeFollower(rig.tag, 3, partition_id=1)
    name = names.replica(rig.tag, 1, 3)
    header = layout.RegionHeader(layout.KIND_REPLICA, bytes(16), 2, layout.boot_id())
    header.store(region.open_region(name, writable=True))
    rig.followers.replace(1, [FollowerAt(3, name, in_sync=True)])
    for now_ns in (LAG_NS, 2 * LAG_NS, 3 * LAG_NS):
        rig.followers.look(now_ns)
    (report,) = rig.reports
    assert isinstance(report, ReplicaLags)
    assert "is of partition 2" in report.reason


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_written_into_a_region_nothing_is_shown_that_the_other_follower_does_not_have(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower], seed: int
) -> None:
    dice = random.Random(seed)
    lane = rig.lane(acks=1)
    hostile, honest = followers
    cells = range(0, layout.REPLICA_SIZE, 8)
    has = shown = 0
    for number in range(60):
        publish(rig, lane, b"%d" % number)
        lane.writer.reclaim()
        for _ in range(dice.choice((0, 1, 50))):
            value = dice.choice((0, 1, number, number + 1, 2**63, dice.getrandbits(64)))
            hostile.region.mapping.store(dice.choice(cells), value)
        if dice.random() < 0.3:
            hostile.follow(0, dice.choice((number, number + 1)))
        if dice.random() < 0.5:
            has = number + 1
            honest.has(has)
        rig.run()
        rig.followers.look(number * LAG_NS // 20)
        assert shown <= rig.control.high_watermark <= has
        shown = rig.control.high_watermark
    rig.followers.replace(1, [rig.follower_at(2, in_sync=True)])
    assert rig.control.high_watermark == has


def test_a_region_that_is_cut_is_reported_and_the_leader_lives(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    outlive_cut_regions()
    publish(rig, rig.lane(), b"1")
    followers[0].has(1)
    rig.run()
    os.truncate(region.SHM_DIRECTORY + names.replica(rig.tag, 1, 1), 0)
    followers[1].has(1)
    rig.run()
    rig.followers.look(LAG_NS)
    (report,) = rig.reports
    assert isinstance(report, ReplicaLags)
    assert report.replica_id == 1
    rig.followers.replace(1, [rig.follower_at(2, in_sync=True)])
    assert rig.values() == [b"1"]

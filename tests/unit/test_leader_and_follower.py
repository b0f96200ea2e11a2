"""A leader and a real follower in one process: what the one shows is what the other has copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import ReplicaCaughtUp
from shmlog.native.publish import IDLE
from shmlog.testing.follower_rig import (
    CONFIG,
    REPLICA_ID,
    SEGMENT_BYTES,
    FollowerRig,
    assert_same,
    lose_shared_memory,
    open_follower,
    produce,
    run_state,
    take_over,
)
from shmlog.testing.partition_rig import RUN_NS, Rig, open_rig

LAG_NS = 1_000_000_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A leader whose follower is in sync."""
    with open_rig(tmp_path / "flights-0", CONFIG, in_sync=[REPLICA_ID]) as made:
        made.publisher.segment_bytes = SEGMENT_BYTES
        run_state(made)
        yield made


@pytest.fixture
def follower(rig: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(rig, tmp_path / "flights-0.r1") as made:
        made.work()
        rig.followers.look(0)
        yield made


def test_records_are_shown_when_the_follower_has_copied_them(rig: Rig, follower: FollowerRig) -> None:
    lane = rig.lane(acks=1)
    for end in range(10, 60, 10):
        produce(rig, lane, 10)
        assert (rig.control.high_watermark, rig.control.log_end_offset) == (end - 10, end)
        assert_same(follower)
        rig.run()
        assert len(rig.values()) == end


def test_a_leader_that_is_held_up_goes_on_when_the_follower_has_got_on(rig: Rig, follower: FollowerRig) -> None:
    lane = rig.lane(acks=1)
    held_up_at = None
    for number in range(400):
        produce(rig, lane, 1, size=3000)
        if rig.control.log_end_offset <= number:
            held_up_at = rig.control.log_end_offset
            break
    assert held_up_at is not None
    assert rig.publisher.run(RUN_NS) == IDLE
    assert_same(follower)
    rig.run()
    assert rig.control.log_end_offset == held_up_at + 1
    assert_same(follower)
    rig.run()
    assert len(rig.values()) == held_up_at + 1


def test_a_successor_goes_on_when_the_follower_follows_it(rig: Rig, follower: FollowerRig) -> None:
    lane = rig.lane(acks=1)
    produce(rig, lane, 10)
    follower.work()
    rig.run()
    produce(rig, lane, 5)
    take_over(rig, 1)
    assert len(rig.values()) == 10
    assert_same(follower)
    rig.run()
    assert len(rig.values()) == 15
    assert rig.reports == []


def test_a_leader_that_starts_from_its_files_shows_them_when_the_follower_follows(
    rig: Rig, follower: FollowerRig
) -> None:
    produce(rig, rig.lane(acks=1), 30)
    follower.work()
    rig.run()
    lose_shared_memory(rig)
    take_over(rig, 1)
    follower.keep_house()
    assert_same(follower)
    rig.followers.look(LAG_NS)
    assert rig.control.high_watermark == 30
    produce(rig, rig.lane(acks=1, producer_id=9), 5)
    assert_same(follower)
    rig.run()
    assert len(rig.values()) == 35


def test_a_follower_that_is_started_again_is_waited_for_and_heard(rig: Rig, follower: FollowerRig) -> None:
    lane = rig.lane(acks=1)
    produce(rig, lane, 10)
    follower.work()
    produce(rig, lane, 10)
    follower.restart()
    follower.work()
    rig.followers.look(LAG_NS)
    assert len(rig.values()) == 20


def test_a_follower_that_comes_late_catches_up_and_counts(rig: Rig, tmp_path: Path) -> None:
    rig.followers.replace(1, [rig.follower_at(REPLICA_ID, in_sync=False)])
    lane = rig.lane()
    produce(rig, lane, 40)
    with open_follower(rig, tmp_path / "flights-0.r1") as follower:
        rig.followers.look(LAG_NS)
        assert_same(follower)
        rig.followers.look(2 * LAG_NS)
        assert rig.reports == [ReplicaCaughtUp(1, REPLICA_ID)]
        produce(rig, lane, 1)
        assert (rig.control.high_watermark, rig.control.written_offset) == (40, 41)


def test_with_a_sync_before_every_acknowledgement_records_are_shown_when_both_have_synced_them(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", CONFIG | {"flush.messages": "1"}, in_sync=[REPLICA_ID]) as rig:
        run_state(rig)
        with open_follower(rig, tmp_path / "flights-0.r1") as follower:
            follower.work()
            rig.followers.look(0)
            produce(rig, rig.lane(acks=1), 3)
            assert rig.control.high_watermark == 0
            assert_same(follower)
            assert follower.region.synced_offset == 3
            rig.run()
            assert rig.control.high_watermark == 3

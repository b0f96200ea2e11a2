"""A follower's log is its leader's: the same bytes in the same segments, whatever happens to either in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import FollowerReady, FollowerTruncated
from shmlog.memory import layout
from shmlog.memory.layout import ReplicaState
from shmlog.partition.regeneration import grow_ring
from shmlog.testing.follower_rig import (
    SEGMENT_BYTES,
    assert_same,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    retain,
    take_over,
)
from shmlog.testing.partition_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "flights-0") as opened:
        yield opened


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "flights-0.r1"


def test_a_follower_has_the_same_segments_and_indexes_as_its_leader(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        for _ in range(20):
            produce(rig, lane, 3)
            assert_same(follower)
    assert len(list(copy.glob("*.log"))) > 3


def test_batches_around_a_roll_that_are_read_together_are_parted_where_the_leader_parted_them(
    rig: Rig, copy: Path
) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        follower.work()
        while len(list(rig.directory.glob("*.log"))) < 2:
            produce(rig, lane, 1)
        produce(rig, lane, 2)
        assert_same(follower)


def test_a_follower_that_missed_several_rolls_learns_of_them_from_the_files(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 2)
        follower.work()
        produce(rig, lane, 60)
        assert_same(follower)


def test_a_segment_that_has_just_begun_is_begun_by_the_follower_too(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 2)
        follower.work()
        rig.keeper.roll()
        assert_same(follower)
        follower.restart()
        assert_same(follower)


def test_a_follower_that_starts_from_nothing_copies_all_segments_from_the_files(rig: Rig, copy: Path) -> None:
    produce(rig, rig.lane(), 300, 100)
    assert len(list(rig.directory.glob("*.log"))) > 10
    with open_follower(rig, copy) as follower:
        assert_same(follower)


def test_a_follower_whose_place_in_the_ring_is_overwritten_goes_on_in_the_files(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 2)
        follower.work()
        rig.publisher.segment_bytes = 1 << 20
        while rig.publisher.tail_pos < 2 * rig.publisher.capacity:
            produce(rig, lane, 20, 1000)
        produce(rig, lane, 1)
        assert_same(follower)
        produce(rig, lane, 2)
        assert_same(follower)


def test_a_follower_goes_on_in_the_leaders_next_ring(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        for factor in (2, 1, 2):
            produce(rig, lane, 3)
            follower.work()
            produce(rig, lane, 2)
            grow_ring(rig.spec, factor * 1024 * 1024, rig.control, rig.publisher)
            produce(rig, lane, 4)
            assert_same(follower)


def test_a_follower_goes_on_with_the_successor_of_its_leader(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        for epoch in range(1, 5):
            produce(rig, rig.lane(producer_id=epoch), 5)
            if epoch % 2:
                follower.work()
            take_over(rig, epoch)
            assert_same(follower)
            assert follower.hear(FollowerTruncated) == []


def test_a_follower_goes_on_with_a_leader_that_began_again_from_its_files(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        for epoch in range(1, 5):
            produce(rig, rig.lane(producer_id=epoch), 5)
            follower.work()
            rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.CLOSED)
            lose_shared_memory(rig)
            follower.work()
            take_over(rig, epoch)
            produce(rig, rig.lane(producer_id=100 + epoch), 5)
            assert_same(follower)
            assert follower.hear(FollowerTruncated) == []


def test_a_follower_waits_for_a_leader_that_is_not_there_yet(rig: Rig, copy: Path) -> None:
    lose_shared_memory(rig)
    with open_follower(rig, copy) as follower:
        follower.work()
        assert follower.hear(FollowerReady)[0].log_end_offset == 0
        assert follower.region.state is ReplicaState.STARTING
        take_over(rig, 1)
        produce(rig, rig.lane(), 3)
        assert_same(follower)


@pytest.mark.parametrize("codec", ["gzip"])
def test_compressed_batches_are_copied_as_they_are(tmp_path: Path, copy: Path, codec: str) -> None:
    with open_leader(tmp_path / "flights-0", {"compression.type": codec}) as rig:
        rig.publisher.segment_bytes = 1000
        with open_follower(rig, copy) as follower:
            lane = rig.lane()
            for _ in range(5):
                produce(rig, lane, 8, 900)
                assert_same(follower)


def test_a_follower_drops_the_segments_that_its_leader_dropped(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 60)
        follower.work()
        retain(rig, 2 * SEGMENT_BYTES)
        assert rig.opened.log.log_start_offset > 0
        follower.keep_house()
        assert_same(follower)
        retain(rig, 0)
        follower.work()
        follower.keep_house()
        assert_same(follower)


def test_what_was_written_under_several_epochs_is_copied_with_all_of_them(rig: Rig, copy: Path) -> None:
    for epoch in range(1, 5):
        produce(rig, rig.lane(producer_id=epoch), 2)
        take_over(rig, epoch)
    take_over(rig, 5)
    produce(rig, rig.lane(producer_id=9), 2)
    with open_follower(rig, copy) as follower:
        assert_same(follower)
        (copy / "leader-epoch-checkpoint").unlink()
        follower.restart()
        assert_same(follower)


def test_a_follower_does_not_wait_for_the_high_watermark(tmp_path: Path, copy: Path) -> None:
    with open_leader(tmp_path / "flights-0", {"flush.messages": "1"}) as rig:
        lane = rig.lane()
        with open_follower(rig, copy) as follower:
            follower.work()
            lane.send_all(b"v")
            rig.publisher.run(1)
            assert (rig.control.written_offset, rig.control.high_watermark) == (1, 0)
            follower.work()
            assert follower.region.written_offset == 1

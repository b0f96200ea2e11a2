"""A follower and a leader that lost something, or deleted what comes next: what is cut, and what is said of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import FollowerTruncated
from shmlog.memory import layout
from shmlog.testing.follower_rig import (
    SEGMENT_BYTES,
    assert_same,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    retain,
    run_state,
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


def test_what_a_leader_lost_with_the_power_is_cut_by_its_follower(rig: Rig, copy: Path, tmp_path: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 20)
        follower.work()
        shutil.copytree(rig.directory, tmp_path / "on the disk")
        produce(rig, rig.lane(producer_id=8), 25)
        assert_same(follower)
        had = follower.end_offset
        lose_shared_memory(rig)
        shutil.rmtree(rig.directory)
        (tmp_path / "on the disk").rename(rig.directory)
        take_over(rig, 1)
        follower.keep_house()
        end = rig.publisher.tail_offset
        assert end < had
        produce(rig, rig.lane(producer_id=9), 40)
        assert_same(follower)
        (said,) = follower.hear(FollowerTruncated)
        assert f"truncated from offset {had} to {end}" in said.message
        follower.restart()
        assert_same(follower)


def test_a_follower_that_was_down_meanwhile_cuts_what_its_leader_lost(rig: Rig, copy: Path, tmp_path: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 10)
        shutil.copytree(rig.directory, tmp_path / "on the disk")
        produce(rig, rig.lane(producer_id=8), 25)
        follower.work()
        follower.kill()
        lose_shared_memory(rig)
        shutil.rmtree(rig.directory)
        (tmp_path / "on the disk").rename(rig.directory)
        take_over(rig, 1)
        produce(rig, rig.lane(producer_id=9), 60)
        follower.start()
        assert follower.region.written_offset == 0, "nothing is claimed of a log that was not agreed upon"
        assert_same(follower)
        assert len(follower.hear(FollowerTruncated)) == 1


def test_an_empty_segment_that_the_leader_lost_is_dropped(rig: Rig, copy: Path, tmp_path: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 2)
        rig.publisher.segment_bytes = 1 << 20
        shutil.copytree(rig.directory, tmp_path / "on the disk")
        rig.keeper.roll()
        follower.work()
        lose_shared_memory(rig)
        shutil.rmtree(rig.directory)
        (tmp_path / "on the disk").rename(rig.directory)
        rig.take_over(1)
        run_state(rig)
        follower.keep_house()
        produce(rig, rig.lane(producer_id=9), 2)
        assert_same(follower)
        assert follower.hear(FollowerTruncated) == []


def test_a_leader_that_recovers_is_not_followed_before_its_log_is_known(rig: Rig, copy: Path) -> None:
    produce(rig, rig.lane(), 3)
    with open_follower(rig, copy) as follower:
        rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RECOVERING)
        follower.work()
        assert follower.end_offset == 0
        run_state(rig)
        assert_same(follower)


def test_a_follower_that_lags_behind_the_leaders_start_begins_anew_there(rig: Rig, copy: Path) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 5)
        follower.work()
        take_over(rig, 1)
        produce(rig, rig.lane(producer_id=8), 80)
        retain(rig, 2 * SEGMENT_BYTES)
        assert_same(follower)
        (said,) = follower.hear(FollowerTruncated)
        assert f"begun anew at offset {rig.opened.log.log_start_offset}" in said.message
        follower.restart()
        assert_same(follower)


def test_what_a_leader_has_nothing_of_is_set_aside_by_its_follower_which_goes_on(rig: Rig, copy: Path) -> None:
    """It may be what was lost with the leader's log, or what nobody acknowledged before an empty replica led."""
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 25)
        follower.work()
        held = {path.name: path.read_bytes() for path in copy.glob("*.log")}
        had = follower.end_offset
        lose_shared_memory(rig)
        shutil.rmtree(rig.directory)
        take_over(rig, 1)
        produce(rig, rig.lane(producer_id=9), 60)
        assert rig.publisher.tail_offset > had, "as long as the copy, and yet not its beginning"
        follower.keep_house()
        follower.work()
        (said,) = follower.hear(FollowerTruncated)
        assert f"to {had - 1}" in said.message
        assert ".set-aside-1" in said.message
        kept = {path.name.removesuffix(".set-aside-1"): path for path in copy.glob("*.set-aside-1")}
        assert len(held) > 1
        assert {name: path.read_bytes() for name, path in kept.items()} == held
        for path in kept.values():
            path.unlink()
        assert_same(follower)
        follower.restart()
        assert_same(follower)

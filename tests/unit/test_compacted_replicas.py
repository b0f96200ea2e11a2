"""Replicas of a compacted log: each has its own files, followers copy a leader's holes, and whoever leads goes on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import CleanedFile, FollowerTruncated, FollowerWaits, SwapRefused, SwapSegments
from shmlog.log.compaction_checkpoint import NEVER_CLEANED, read_compaction_checkpoint, write_compaction_checkpoint
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.log.swap import CleanedSegments
from shmlog.log.truncation import forget
from shmlog.testing.follower_rig import (
    FollowerRig,
    assert_same,
    lead_from,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    take_over,
)
from shmlog.testing.partition_rig import Rig
from shmlog.testing.sparse_log import clean, offsets_of
from shmlog.testing.storage import FaultyStorage, Killed

STORAGE = OsStorage()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "leader") as rig:
        yield rig


def order_of(cleaned: CleanedSegments) -> SwapSegments:
    files = [CleanedFile([*one.base_offsets], [*one.sizes_bytes], one.size_bytes) for one in cleaned.groups]
    return SwapSegments(
        cleaned.cleaning, files, cleaned.cleaned_from, cleaned.first_dirty_offset, cleaned.delete_horizon_ms
    )


def compaction_of(log: PartitionLog, *, keeps_ends: bool = True) -> SwapSegments:
    """All sealed segments as one, in which every fourth record stays."""
    groups = [tuple(log.sealed)]
    return order_of(clean(STORAGE, log, groups, lambda offset: offset % 4 == 0, keeps_ends=keeps_ends))


def log_of(rig: Rig) -> PartitionLog:
    return rig.opened.log


def fill(rig: Rig, records: int = 40) -> None:
    produce(rig, rig.lane(producer_id=7 + rig.lanes_made), records)
    rig.keeper.sync()


def compact_leader(rig: Rig) -> list[int]:
    """What the leader has then."""
    refused: list[SwapRefused] = []
    rig.keeper.swap(compaction_of(log_of(rig)), refused.append)
    assert refused == []
    return offsets_of(log_of(rig))


def compact_follower(follower: FollowerRig, *, keeps_ends: bool = True) -> None:
    follower.following.sync.finish()
    log = follower.following.copy.log
    log.sync(log.log_end_offset)
    follower.supervisor.send(compaction_of(log, keeps_ends=keeps_ends))
    follower.work()
    assert follower.hear(SwapRefused) == []


def has(follower: FollowerRig) -> list[int]:
    return offsets_of(follower.following.copy.log)


def test_a_follower_that_begins_late_copies_what_compaction_has_left(rig: Rig, tmp_path: Path) -> None:
    fill(rig)
    kept = compact_leader(rig)
    assert len(kept) < 30
    with open_follower(rig, tmp_path / "copy") as follower:
        assert_same(follower)
        fill(rig, 10)
        assert_same(follower)
        follower.restart()
        assert_same(follower)
        follower.kill()
        Path(follower.directory, "recovery-point").unlink(missing_ok=True)  # so that every byte is looked at
        follower.start()
        assert_same(follower)


def test_a_follower_begins_its_segments_where_its_leader_does_behind_holes_too(rig: Rig, tmp_path: Path) -> None:
    fill(rig)
    log = log_of(rig)
    groups = [(base,) for base in log.sealed]
    made = clean(STORAGE, log, groups, lambda offset: offset % 4 == 0, keeps_ends=False)
    rig.keeper.swap(order_of(made), print)
    ends = [log.sealed.following(base) - 1 for base in log.sealed]
    assert not set(ends) <= set(offsets_of(log))
    with open_follower(rig, tmp_path / "copy") as follower:
        assert_same(follower)


def test_a_follower_goes_on_wherever_compaction_catches_it(rig: Rig, tmp_path: Path) -> None:
    fill(rig, 60)
    with_all = offsets_of(log_of(rig))
    copies = [FollowerRig(rig, tmp_path / f"copy{number}", replica_id=number + 1) for number in range(12)]
    for number, follower in enumerate(copies):
        while follower.following.copy.log.log_end_offset < 5 * number:
            page = follower.following.leader.attach()
            assert page is not None
            follower.following._has_agreed(page)
            piece = follower.following.leader.read(follower.end_offset, 1)  # a batch at a time, out of the files
            assert piece is not None
            follower.following.copy.take(piece)
        follower.following._forget_place()
    kept = compact_leader(rig)
    for follower in copies:
        follower.work()
        found = has(follower)
        assert found == sorted(found)
        assert set(kept) <= set(found) <= set(with_all)
        assert follower.end_offset == log_of(rig).log_end_offset
        follower.kill()


def test_each_replica_is_compacted_by_itself_and_both_have_the_same_in_the_end(rig: Rig, tmp_path: Path) -> None:
    with open_follower(rig, tmp_path / "copy") as follower:
        fill(rig)
        assert_same(follower)
        compact_follower(follower)
        assert len(has(follower)) < len(offsets_of(log_of(rig)))
        fill(rig, 10)
        follower.work()
        assert has(follower)[-10:] == offsets_of(log_of(rig))[-10:]
        compact_leader(rig)
        compact_follower(follower)
        assert has(follower) == offsets_of(log_of(rig))


def test_a_compacted_follower_leads_and_a_compacted_leader_follows(rig: Rig, tmp_path: Path) -> None:
    with open_follower(rig, tmp_path / "copy") as follower:
        rig.in_sync = [1]
        take_over(rig, 1)
        follower.work()
        fill(rig)
        follower.work()
        rig.publisher.settle()
        kept = compact_leader(rig)
        compact_follower(follower)
        before = rig.directory
        follower.hand_over()
        rig.in_sync = []
        lead_from(rig, follower, 2)
        assert offsets_of(log_of(rig)) == kept
        fill(rig, 10)
        with FollowerAt(rig, before) as other:
            other.work()
            assert has(other) == offsets_of(log_of(rig))
            assert other.end_offset == log_of(rig).log_end_offset


def test_a_copy_that_is_compacted_up_to_its_end_is_known_for_the_ring_leaders(rig: Rig, tmp_path: Path) -> None:
    with open_follower(rig, tmp_path / "copy") as follower:
        rig.in_sync = [1]
        take_over(rig, 1)
        follower.work()
        fill(rig)
        rig.keeper.roll()
        follower.work()
        rig.publisher.settle()
        compact_follower(follower, keeps_ends=False)
        kept, generation = has(follower), rig.control.generation
        assert follower.following.copy.log.active.size_bytes == 0
        follower.hand_over()
        rig.in_sync = []
        lead_from(rig, follower, 2)
        assert rig.control.generation == generation, "the ring goes on: nothing is lost"
        assert offsets_of(log_of(rig)) == kept
        assert rig.control.high_watermark == 40


class FollowerAt:
    """A follower over a directory that is there already."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        self._directory = directory

    def __enter__(self) -> FollowerRig:
        self._follower = FollowerRig(self._rig, self._directory, replica_id=0)
        return self._follower

    def __exit__(self, *_: object) -> None:
        self._follower.kill()


def test_a_successor_and_a_cold_start_go_on_with_a_compacted_log(rig: Rig) -> None:
    fill(rig)
    kept = compact_leader(rig)
    take_over(rig, 1)
    assert offsets_of(log_of(rig)) == kept
    lose_shared_memory(rig)
    take_over(rig, 2)
    assert offsets_of(log_of(rig)) == kept


def test_a_hole_that_nobody_has_noted_is_not_copied(rig: Rig, tmp_path: Path) -> None:
    fill(rig)
    compact_leader(rig)
    checkpoint = read_compaction_checkpoint(STORAGE, log_of(rig).directory)
    write_compaction_checkpoint(STORAGE, log_of(rig).directory, NEVER_CLEANED)
    with open_follower(rig, tmp_path / "copy") as follower:
        follower.work()
        assert "cannot be read" in follower.hear(FollowerWaits)[-1].message
        assert has(follower) == [0]
        write_compaction_checkpoint(STORAGE, log_of(rig).directory, checkpoint)
        follower.following.leader.detach()
        follower.try_again()
        assert_same(follower)


def test_an_order_that_does_not_fit_is_refused_and_said(rig: Rig, tmp_path: Path) -> None:
    fill(rig)
    order = compaction_of(log_of(rig))
    refused: list[SwapRefused] = []
    rig.keeper.swap(order, refused.append)
    rig.keeper.swap(order, refused.append)
    assert "when it was cleaned" in refused[0].message
    assert not list(rig.directory.glob("*.cleaned"))
    with open_follower(rig, tmp_path / "copy") as follower:
        follower.work()
        follower.supervisor.send(order)
        follower.work()
        assert "clean" in follower.hear(SwapRefused)[0].message
        assert_same(follower)


def test_a_follower_whose_leader_is_compacted_again_meanwhile_copies_old_and_new_holes(
    rig: Rig, tmp_path: Path
) -> None:
    fill(rig)
    compact_leader(rig)
    with open_follower(rig, tmp_path / "copy") as follower:
        page = follower.following.leader.attach()
        assert page is not None
        follower.following._has_agreed(page)
        while follower.end_offset < 8:  # over the first holes
            piece = follower.following.leader.read(follower.end_offset, 1)
            assert piece is not None
            follower.following.copy.take(piece)
        follower.following._forget_place()
        fill(rig)
        kept = compact_leader(rig)
        follower.work()
        assert follower.hear(FollowerWaits) == []
        assert follower.end_offset == log_of(rig).log_end_offset
        assert set(has(follower)) >= set(kept)


def test_a_copy_that_is_cut_where_it_was_compacted_gets_back_what_was_removed_for_what_is_cut(
    rig: Rig, tmp_path: Path
) -> None:
    with open_follower(rig, tmp_path / "copy") as follower:
        fill(rig)
        follower.work()
        shutil.copytree(rig.directory, tmp_path / "on the disk")
        everything = offsets_of(log_of(rig))
        fill(rig)
        follower.work()
        compact_follower(follower)
        assert not set(everything) <= set(has(follower))
        lose_shared_memory(rig)
        shutil.rmtree(rig.directory)
        (tmp_path / "on the disk").rename(rig.directory)
        take_over(rig, 1)  # an unclean election: what it lacks was acknowledged
        follower.keep_house()
        assert has(follower) == offsets_of(log_of(rig)) == everything
        (said,) = follower.hear(FollowerTruncated)
        assert "begun anew" in said.message


@pytest.mark.slow
def test_a_copy_that_is_killed_while_it_is_begun_anew_keeps_none_of_its_holes(rig: Rig, tmp_path: Path) -> None:
    """What compaction removed because of what is cut has to come back, whatever is left of the copy."""
    with open_follower(rig, tmp_path / "copy") as follower:
        fill(rig)
        follower.work()
        shutil.copytree(rig.directory, tmp_path / "on the disk")
        everything = offsets_of(log_of(rig))
        for _ in range(2):
            rig.keeper.roll()
            fill(rig)
            follower.work()
        copy = follower.following.copy
        follower.following.sync.finish()
        copy.log.sync(copy.end_offset)
        groups = [(base_offset,) for base_offset in copy.sealed]
        follower.supervisor.send(order_of(clean(STORAGE, copy.log, groups, lambda offset: offset % 4 == 0)))
        follower.work()
        assert (follower.hear(SwapRefused), set(everything) <= set(has(follower))) == ([], False)
        end_offset = copy.end_offset
    lose_shared_memory(rig)
    shutil.rmtree(rig.directory)
    (tmp_path / "on the disk").rename(rig.directory)
    take_over(rig, 1)  # an unclean election
    kept = tmp_path / "kept"
    (tmp_path / "copy").rename(kept)
    for calls in itertools.count(step=3):
        shutil.copytree(kept, tmp_path / "copy")
        storage = FaultyStorage()
        storage.calls_left = calls
        try:
            forget(storage, str(tmp_path / "copy"), 0, end_offset)
        except Killed:
            is_killed = True
        else:
            is_killed = False
        with open_follower(rig, tmp_path / "copy") as follower:
            follower.work()
            assert has(follower) == offsets_of(log_of(rig)) == everything, calls
        shutil.rmtree(tmp_path / "copy")
        if not is_killed:
            break
    assert calls > 10


def test_a_copy_that_no_leader_has_agreed_to_is_not_compacted(rig: Rig, tmp_path: Path) -> None:
    fill(rig)
    with open_follower(rig, tmp_path / "copy") as follower:
        follower.work()
        follower.restart()
        log = follower.following.copy.log
        log.sync(log.log_end_offset)
        before = has(follower)
        follower.following.swap(compaction_of(log))
        assert "follows no leader now" in follower.hear(SwapRefused)[0].message
        assert has(follower) == before
        assert not list(follower.directory.glob("*.cleaned"))
        follower.work()
        follower.heard.clear()
        compact_follower(follower)
        assert len(has(follower)) < len(before)

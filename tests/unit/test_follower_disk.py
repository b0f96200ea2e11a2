"""A follower's own disk, and its leader's: what is synced, full, broken, damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import FollowerReady, FollowerWaits
from shmlog.log.partition_log import PartitionLog
from shmlog.log.snapshot import latest_snapshot
from shmlog.log.storage import OsStorage
from shmlog.testing import wait_until
from shmlog.testing.follower_rig import (
    assert_same,
    open_follower,
    open_leader,
    produce,
)
from shmlog.testing.partition_rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "flights-0") as opened:
        yield opened


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "flights-0.r1"


def test_with_group_commit_a_follower_shows_what_is_on_its_disk(tmp_path: Path, copy: Path) -> None:
    with open_leader(tmp_path / "flights-0", {"flush.messages": "1"}) as rig:
        lane = rig.lane()
        with open_follower(rig, copy) as follower:
            produce(rig, lane, 3)
            follower.work()
            assert follower.region.synced_offset == follower.region.written_offset == 3


def test_without_a_flush_setting_nothing_is_said_to_be_on_the_disk(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 3)
        follower.work()
        assert (follower.region.written_offset, follower.region.synced_offset) == (3, 0)


def test_a_rolled_segment_is_brought_to_the_disk_a_second_later(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 30)
        follower.work()
        follower.following.sync.segment_has_begun(-(1 << 40))  # as if it had been long ago
        follower.work()
        follower.following.sync.finish()
        follower.work()
        assert follower.region.synced_offset == 30


@pytest.mark.parametrize("when", ["while it waits for a sync", "while it closes"])
def test_a_follower_shows_that_it_lives_however_long_a_sync_takes(
    rig: Rig, copy: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 30)
        follower.work()
        beats: list[int] = []

        def slow(fd: int) -> None:
            before = follower.region.heartbeat_ns
            if not beats:
                wait_until(lambda: follower.region.heartbeat_ns > before, timeout_s=10.0, what="a heartbeat")
                beats.append(follower.region.heartbeat_ns)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", slow)
            if when == "while it closes":
                follower.following.close(clean=True)
            else:
                follower.following.sync.segment_has_begun(-(1 << 40))
                follower.work()
                follower.following.sync.finish()
        assert beats


def test_a_full_disk_is_waited_for_and_said(rig: Rig, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = rig.lane()
    with open_follower(rig, copy) as follower:
        produce(rig, lane, 3)
        follower.work()

        def refuse(log: PartitionLog, batches: bytes) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as full:
            full.setattr(PartitionLog, "append", refuse)
            produce(rig, lane, 3)
            follower.work()
            follower.try_again()
            (waits,) = follower.hear(FollowerWaits)
            assert "refuses to take" in waits.message
            assert follower.region.written_offset == 3
        follower.try_again()
        assert_same(follower)
        assert [waits.message for waits in follower.hear(FollowerWaits)][1:] == [""]


def test_other_disk_trouble_ends_a_follower(rig: Rig, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_follower(rig, copy) as follower:
        produce(rig, rig.lane(), 3)

        def refuse(log: PartitionLog, batches: bytes) -> None:
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(PartitionLog, "append", refuse)
        with pytest.raises(OSError, match="broken"):
            follower.work()


def test_a_failed_sync_ends_a_follower_and_the_next_one_writes_anew_what_it_concerned(
    tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_leader(tmp_path / "flights-0", {"flush.messages": "1"}) as rig, open_follower(rig, copy) as follower:
        lane = rig.lane()
        produce(rig, lane, 3)
        follower.work()

        def fail(storage: OsStorage, fd: int) -> None:
            if os.readlink(f"/proc/self/fd/{fd}").startswith(f"{copy}/0"):
                raise OSError(errno.EIO, "broken")

        with monkeypatch.context() as broken:
            broken.setattr(OsStorage, "fdatasync", fail)
            produce(rig, lane, 2)
            with pytest.raises(OSError, match="broken"):
                follower.work()
        assert (follower.region.written_offset, follower.region.synced_offset) == (5, 3)
        inode = (copy / f"{0:020d}.log").stat().st_ino
        follower.following.copy.log.close(clean=False)
        follower.hang_up()
        follower.start()
        assert "a sync failed" in follower.hear(FollowerReady)[-1].recovered
        assert (copy / f"{0:020d}.log").stat().st_ino != inode
        assert_same(follower)
        assert follower.region.synced_offset == 5


def test_what_is_not_sound_in_the_leaders_files_is_not_taken(rig: Rig, copy: Path) -> None:
    produce(rig, rig.lane(), 40)
    path = sorted(rig.directory.glob("*.log"))[2]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with open_follower(rig, copy) as follower:
        follower.work()
        (waits,) = follower.hear(FollowerWaits)
        assert "checksum" in waits.message
        taken = follower.end_offset
        assert taken >= int(path.stem)
        assert taken < 40
        path.write_bytes(whole)
        follower.try_again()
        assert_same(follower)


def test_a_follower_writes_the_producers_of_its_log_at_rolls(rig: Rig, copy: Path) -> None:
    with open_follower(rig, copy) as follower:
        for producer_id in range(1, 5):
            produce(rig, rig.lane(producer_id=producer_id), 10)
            follower.work()
        assert snapshot(rig.directory) == snapshot(copy)
        follower.restart()
        produce(rig, rig.lane(producer_id=9), 30)
        follower.work()
        assert snapshot(rig.directory) == snapshot(copy)


def snapshot(directory: Path) -> tuple[int, set[tuple[int, int, int, int]]]:
    offsets = [int(path.stem) for path in directory.glob("*.snapshot")]
    offset, entries = latest_snapshot(OsStorage(), str(directory), offsets, 1 << 62)
    return offset, {
        (entry.producer_id, entry.producer_epoch, entry.last_sequence, entry.last_offset) for entry in entries
    }

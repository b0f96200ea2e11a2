"""An owner that is killed in the very sync that fails: nobody was told, and its successor believes nothing the less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.errors import StorageError
from shmlog.memory import layout
from shmlog.memory.layout import SyncRunning
from shmlog.partition import opening
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig
from shmlog.testing.storage import FaultyStorage, Killed

SMALL = {"max.message.bytes": "65536", "segment.bytes": "1048576"}


def sent(lane: Lane, rig: Rig, first: int, last: int) -> list[bytes]:
    """Send these numbers, each in a batch of its own, and let the owner run; returns the values."""
    values = [b"%06d" % number for number in range(first, last)]
    for value in values:
        lane.send(TOPIC_NAME, value)
        lane.writer.seal()
    rig.run()
    return values


class LosingDisk(FaultyStorage):
    """The next sync of a log or an index fails, and kills its owner before anybody hears of it.

    Like a kernel that runs short of memory afterwards it has then thrown away what it could not write: everything of
    the file behind its first `sound_bytes`. `rewritten` are the bytes that were written again, by file and position.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sound_bytes: int | None = None
        self.part = ".log"
        self.rewritten: list[tuple[str, int, int]] = []

    def fdatasync(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if self.sound_bytes is not None and self.part in path.name:
            lost_bytes = self.size_bytes(fd) - self.sound_bytes
            super().pwrite(fd, bytes(lost_bytes), self.sound_bytes)
            self.sound_bytes = None
            raise Killed(f"in the sync of {path}")
        super().fdatasync(fd)

    def pwrite(self, fd: int, data: bytes, position: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        if name.endswith(".log"):
            self.rewritten.append((name, position, len(data)))
        super().pwrite(fd, data, position)


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Iterator[LosingDisk]:
    made = LosingDisk()
    monkeypatch.setattr(opening, "_storage", lambda spec: made)
    yield made
    made.close_all()


def test_killed_in_the_very_sync_that_fails_an_owner_has_a_successor_that_writes_again_what_no_sync_vouches_for(
    tmp_path: Path, losing: LosingDisk
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"flush.messages": "1"}) as rig:
        lane = rig.lane()
        values = sent(lane, rig, 0, 20)
        log = rig.directory / f"{0:020d}.log"
        synced_bytes, inode = log.stat().st_size, log.stat().st_ino
        losing.sound_bytes = synced_bytes
        with pytest.raises(Killed):
            sent(lane, rig, 20, 25)
        written_bytes = log.stat().st_size
        assert log.read_bytes()[synced_bytes:] == bytes(written_bytes - synced_bytes)
        rig.take_over(1)
        assert losing.rewritten == [(log.name, synced_bytes, written_bytes - synced_bytes)], "cheap: nothing else"
        assert log.stat().st_ino == inode
        assert rig.control.synced_offset == rig.control.high_watermark == 25
        assert rig.values() == values + [b"%06d" % number for number in range(20, 25)]
        losing.rewritten.clear()
        rig.take_over(2)
        assert losing.rewritten == [], "written again though no sync was running"


@pytest.mark.parametrize("part", [f"{0:020d}.log", f"{0:020d}.index", f"{0:020d}.timeindex", f"{30:020d}.log"])
def test_killed_in_the_failing_sync_of_a_rolled_segment_its_files_are_made_anew_from_the_ring(
    tmp_path: Path, losing: LosingDisk, part: str
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"index.interval.bytes": "100"}) as rig:
        lane = rig.lane()
        values = sent(lane, rig, 0, 30)
        rig.keeper.roll()
        values += sent(lane, rig, 30, 60)
        before = {path.name: path.read_bytes() for path in rig.directory.glob("0*")}
        losing.sound_bytes, losing.part = 0, part
        with pytest.raises(Killed):
            rig.keeper.sync()
        rig.take_over(1)
        assert rig.control.mapping.load(layout.CTL_SYNC_RUNNING) == SyncRunning.NO
        assert {name: (rig.directory / name).read_bytes() for name in before} == before
        assert rig.values() == values
        rig.keeper.sync()
        assert rig.control.synced_offset == 60


def test_killed_in_a_clean_close_an_owner_has_a_successor_that_believes_none_of_its_indexes(
    tmp_path: Path, losing: LosingDisk
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"index.interval.bytes": "100"}) as rig:
        values = sent(rig.lane(), rig, 0, 30)
        index = rig.directory / f"{0:020d}.index"
        before, inode = index.read_bytes(), index.stat().st_ino
        losing.sound_bytes, losing.part = len(before), ".index"  # still to be seen, and not on the disk
        with pytest.raises(Killed):
            rig.keeper.close(clean=True)
        rig.take_over(1)
        assert index.stat().st_ino != inode
        assert index.read_bytes() == before
        assert rig.values() == values


def test_what_a_sync_took_along_when_it_killed_its_owner_keeps_the_partition_offline_until_somebody_gives_it_up(
    tmp_path: Path, losing: LosingDisk
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"segment.bytes": "16777216"}) as rig:
        lane = rig.lane()
        for number in range(80):  # more than the ring has
            lane.send(TOPIC_NAME, b"%06d" % number + bytes(20_000))
            rig.run()
        losing.sound_bytes = 0
        with pytest.raises(Killed):
            rig.keeper.sync()
        for epoch in (1, 2):
            with pytest.raises(StorageError, match=r"its owner died in the middle.*removing .*/rewrite-needed"):
                rig.take_over(epoch)
        assert [int(record.value[:6]) for record in rig.read_all(70)] == list(range(70, 80))
        (rig.directory / "rewrite-needed").unlink()
        rig.take_over(3)
        assert rig.values() == []

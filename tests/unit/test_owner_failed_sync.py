"""An owner whose disk fails a sync: it goes on in new files, or stops and says what is at stake. Nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.clock import wall_ms
from shmlog.control.channel import Channel
from shmlog.control.messages import LogRewritten
from shmlog.errors import StorageError
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState, SyncFailed
from shmlog.partition import opening
from shmlog.partition.owner import OwnerAgent
from shmlog.testing import wait_until
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig, word_of_ready
from shmlog.testing.storage import Failure, FaultyStorage, Killed

SMALL = {"max.message.bytes": "65536", "segment.bytes": "1048576"}
SYNC_EACH = SMALL | {"flush.messages": "1"}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStorage]:
    made = FaultyStorage()
    monkeypatch.setattr(opening, "_storage", lambda spec: made)
    yield made
    made.close_all()


def sent(lane: Lane, rig: Rig, first: int, last: int) -> list[bytes]:
    """Send these numbers, each in a batch of its own, without waiting; returns the values."""
    values = [b"%06d" % number for number in range(first, last)]
    for value in values:
        lane.send(TOPIC_NAME, value)
        lane.writer.seal()
    return values


def refuse_syncs(storage: FaultyStorage, times: float = 1, part: str = ".log") -> None:
    storage.failures.append(Failure("fdatasync", part, times=times))


def test_with_flush_messages_1_a_failed_sync_delays_the_acknowledgement_and_nothing_else(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    with open_rig(tmp_path / "flights-0", SYNC_EACH) as rig:
        lane = rig.lane()
        first = sent(lane, rig, 0, 20)
        rig.run()
        reader = rig.reader()
        assert len(reader.fetch(1 << 20)) == 20
        refuse_syncs(storage)
        told: list[str] = []
        rig.keeper.on_rewritten = told.append
        second = sent(lane, rig, 20, 40)
        rig.run()
        assert rig.control.synced_offset == rig.control.high_watermark == 40
        assert rig.control.counters()["rewrites"] == 1
        assert [text[:64] for text in told] == ["offsets 20 to 39 may not be on the disk, a sync failed: [Errno 5"]
        third = sent(lane, rig, 40, 60)
        rig.run()
        assert [record.value for record in reader.fetch(1 << 20)] == second + third
        assert rig.values() == first + second + third
        assert storage.believed == []
        assert not (tmp_path / "flights-0" / "rewrite-needed").exists()
        assert rig.control.mapping.load(layout.CTL_SYNC_FAILED) == SyncFailed.NO
        reader.close()


def test_a_consumer_that_reads_from_files_finds_the_new_ones(tmp_path: Path, storage: FaultyStorage) -> None:
    with open_rig(tmp_path / "flights-0", SYNC_EACH | {"segment.bytes": "16777216"}) as rig:
        lane = rig.lane()
        reader, read, number = rig.reader(), [], 0
        while not reader.segment_chunks or number % 50:
            lane.send(TOPIC_NAME, b"%06d" % number + bytes(20_000))
            rig.run()
            number += 1
            if number > 60:
                read += reader.fetch(1)
        refuse_syncs(storage)
        for _ in range(40):
            lane.send(TOPIC_NAME, b"%06d" % number + bytes(20_000))
            rig.run()
            number += 1
        assert rig.control.counters()["rewrites"] == 1
        while records := reader.fetch(1):
            read += records
        assert [int(record.value[:6]) for record in read] == list(range(number))
        reader.close()


def test_a_sync_beside_the_owner_that_fails_is_made_good_too(tmp_path: Path, storage: FaultyStorage) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"flush.ms": "1"}) as rig:
        lane = rig.lane()
        stage, theirs = Channel.pair()
        owners_end = Channel(theirs)
        rig.spec = rig.spec_for(1)
        owner = OwnerAgent(rig.spec, owners_end)
        word_of_ready(stage)
        refuse_syncs(storage)
        values = sent(lane, rig, 0, 30)

        def rewritten() -> bool:
            owner.work(monotonic_ns())
            return rig.control.counters()["rewrites"] == 1

        assert wait_until(rewritten)
        message = stage.receive(1.0)
        assert isinstance(message, LogRewritten)
        assert "a sync failed: [Errno 5]" in message.message
        values += sent(lane, rig, 30, 40)
        while owner.work(monotonic_ns()):
            pass
        assert rig.values() == values
        assert storage.believed == []
        stage.close()
        owners_end.close()


def test_a_rolled_segment_whose_sync_fails_is_written_anew_with_the_one_after_it(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL) as rig:
        lane = rig.lane()
        values = sent(lane, rig, 0, 30)
        rig.run()
        rig.keeper.roll()
        values += sent(lane, rig, 30, 60)
        rig.run()
        refuse_syncs(storage, part=f"{0:020d}.timeindex")
        rig.keeper.sync()
        assert rig.control.synced_offset == 60
        assert sum(name.endswith(".log.rewrite") for name in storage.synced) == 2
        assert rig.values() == values
        rig.take_over(1)
        assert rig.values() == values


def test_a_disk_that_refuses_new_files_too_ends_the_owner_and_its_records_stay_readable_in_memory(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL) as rig:
        lane = rig.lane()
        values = sent(lane, rig, 0, 30)
        rig.run()
        refuse_syncs(storage, times=6)
        with pytest.raises(StorageError, match="offsets from 0 on may not be on the disk"):
            rig.keeper.sync()
        assert rig.control.mapping.load(layout.CTL_SYNC_FAILED) == SyncFailed.NOTED
        for epoch in (1, 2, 3, 4):
            with pytest.raises(StorageError, match="every opening tries it again"):
                rig.take_over(epoch)
            assert rig.control.state is OwnerState.OFFLINE
            assert "offsets from 0 on may not be on the disk" in rig.control.error_text
            assert rig.values() == values
        rig.take_over(5)  # the disk is well again
        assert "offsets 0 to 29" in rig.opened.log.rewritten
        assert rig.control.synced_offset == 0
        values += sent(lane, rig, 30, 40)
        rig.run()
        rig.keeper.sync()
        assert (rig.values(), rig.control.synced_offset) == (values, 40)
        assert storage.believed == []


def refuse_and_lose(rig: Rig, lane: Lane, storage: FaultyStorage) -> Path:
    """More records than the ring has, a failed sync, and a file that has lost what only it had."""
    for number in range(80):
        lane.send(TOPIC_NAME, b"%06d" % number + bytes(20_000))
        rig.run()
    refuse_syncs(storage, times=2)
    with pytest.raises(StorageError):
        rig.keeper.sync()
    path = rig.directory / f"{0:020d}.log"
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    return path


def test_what_neither_file_nor_memory_has_keeps_the_partition_offline_until_somebody_gives_it_up(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"segment.bytes": "16777216"}) as rig:
        lane = rig.lane()
        path = refuse_and_lose(rig, lane, storage)
        before = path.read_bytes()
        for epoch in (1, 2):
            with pytest.raises(StorageError, match=r"offset 4 .*checksum is wrong.*removing .*/rewrite-needed"):
                rig.take_over(epoch)
        assert path.read_bytes() == before
        newest = [int(record.value[:6]) for record in rig.read_all(70)]
        assert newest == list(range(70, 80))
        (rig.directory / "rewrite-needed").unlink()
        rig.take_over(3)
        assert rig.opened.end is None, "still over the ring, whose records do not follow those of the file"
        assert [int(value[:6]) for value in rig.values()] == list(range(4))


def test_killed_at_any_call_of_the_rewriting_a_successor_over_the_ring_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(directory: Path, calls: int) -> bool:
        """Whether the owner was killed; everything is checked in either case."""
        storage = FaultyStorage()
        monkeypatch.setattr(opening, "_storage", lambda spec: storage)
        with open_rig(directory, SMALL) as rig:
            lane = rig.lane()
            values = sent(lane, rig, 0, 10)
            rig.run()
            refuse_syncs(storage)
            values += sent(lane, rig, 10, 20)
            rig.run()
            storage.calls_left = 2 + calls  # fsync of the directory, the sync that fails
            killed = False
            try:
                rig.keeper.sync()
            except Killed:
                killed = True
            storage.calls_left = None
            values += sent(lane, rig, 20, 25)
            rig.take_over(1)
            rig.run()
            rig.keeper.sync()
            assert rig.values() == values
            assert rig.control.synced_offset == 25
            assert storage.believed == []
            assert not (directory / "rewrite-needed").exists()
        storage.close_all()
        return killed

    calls = 0
    while attempt(tmp_path / f"flights-{calls}", calls):
        calls += 1
    assert calls > 20


def test_a_disk_that_does_not_say_whether_the_note_is_there_has_given_nothing_up(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    """Regression: that counted as a note that somebody had removed, and what only the ring had was lost."""
    with open_rig(tmp_path / "flights-0", SMALL) as rig:
        values = sent(rig.lane(), rig, 0, 30)
        rig.run()
        refuse_syncs(storage, times=2)
        with pytest.raises(StorageError):
            rig.keeper.sync()
        note = (rig.directory / "rewrite-needed").rename(tmp_path / "note")
        looping = rig.directory / "rewrite-needed"
        looping.symlink_to(looping)
        with pytest.raises(OSError, match="rewrite-needed"):
            rig.take_over(1)
        assert rig.control.state is OwnerState.OFFLINE
        assert "rewrite-needed" in rig.control.error_text
        note.rename(looping)
        rig.take_over(2)
        assert rig.opened.end is not None, "started from the files alone"
        assert rig.values() == values


def test_a_ring_that_was_given_up_is_replaced_only_when_the_log_has_opened(
    tmp_path: Path, storage: FaultyStorage
) -> None:
    with open_rig(tmp_path / "flights-0", SMALL | {"segment.bytes": "16777216"}) as rig:
        refuse_and_lose(rig, rig.lane(), storage)
        (rig.directory / "rewrite-needed").unlink()
        storage.failures.append(Failure("open", ".log"))
        with pytest.raises(OSError, match="Input/output"):
            rig.take_over(1)
        assert rig.control.state is not OwnerState.REPLACED
        assert [int(record.value[:6]) for record in rig.read_all(70)] == list(range(70, 80))


def test_retention_leaves_a_segment_alone_that_a_sync_beside_it_holds(
    tmp_path: Path, storage: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it closed the segment's files, and the sync failed for it, or synced another file."""
    held, go_on = threading.Event(), threading.Event()
    fsync_dir = storage.fsync_dir

    def hanging(path: str) -> None:
        if threading.current_thread().name == "sync":
            held.set()
            assert go_on.wait(30)
        fsync_dir(path)

    with open_rig(tmp_path / "flights-0", SMALL | {"flush.ms": "1", "retention.bytes": "0"}) as rig:
        sent(rig.lane(), rig, 0, 30)
        rig.run()
        monkeypatch.setattr(storage, "fsync_dir", hanging)
        rig.keeper.sync_aside(monotonic_ns())
        rig.keeper.sync_aside(monotonic_ns() + 1_000_000_000)
        assert held.wait(30)
        rig.keeper.apply_retention(wall_ms())
        rig.keeper.roll()
        rig.keeper.apply_retention(wall_ms())
        start = rig.control.log_start_offset
        go_on.set()

        def synced() -> bool:
            rig.keeper.sync_aside(monotonic_ns())
            return rig.control.synced_offset == 30

        assert wait_until(synced)
        assert (rig.control.counters()["rewrites"], start) == (0, 0)
        rig.keeper.apply_retention(wall_ms())
        assert rig.control.log_start_offset == 30


@pytest.mark.parametrize("by", ["the owner", "its successor"])
def test_what_the_kernel_lost_of_the_files_comes_from_the_ring(tmp_path: Path, storage: FaultyStorage, by: str) -> None:
    with open_rig(tmp_path / "flights-0", SMALL) as rig:
        lane = rig.lane()
        values = sent(lane, rig, 0, 30)
        rig.run()
        rig.keeper.roll()
        values += sent(lane, rig, 30, 60)
        rig.run()
        logs = sorted(rig.directory.glob("*.log"))
        sound = [path.read_bytes() for path in logs]
        for path, data in zip(logs, sound, strict=True):
            path.write_bytes(bytes(len(data)))
        refuse_syncs(storage, times=1 if by == "the owner" else 2)
        if by == "the owner":
            rig.keeper.sync()
        else:
            with pytest.raises(StorageError):
                rig.keeper.sync()
            rig.take_over(1)
        assert [path.read_bytes() for path in logs] == sound
        assert rig.values() == values

"""Dumping and judging the files of a segment."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from shmlog.errors import InvalidRequestError
from shmlog.log.dump import BatchRow, Damage, dump_log, dump_offset_index, dump_snapshot, dump_time_index, verify
from shmlog.log.partition_log import PartitionLog
from shmlog.log.snapshot import ProducerEntry
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.storage import FaultyStorage

CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), index_interval_bytes=200)
BATCHES = 20
BASE = f"{0:020d}"
PRODUCERS = [ProducerEntry(7, 0, 5, 3, 1, 9)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A log of one closed segment with two records to a batch, and a snapshot."""
    directory = tmp_path / "flights-0"
    log = PartitionLog.open(str(directory), CONFIG, topic_id="A" * 22, storage=FaultyStorage())
    for number in range(BATCHES):
        records = [NewRecord(b"v%06d" % number, timestamp_ms=1000 + number), NewRecord(None, b"k")]
        log.append(encode_batch(records, base_offset=log.log_end_offset))
    log.roll(log.log_end_offset)
    log.write_snapshot(40, PRODUCERS)
    log.close(clean=True)
    return directory


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def test_sound_files_are_called_sound(directory: Path) -> None:
    verdicts = {path.name: verify(str(path)) for path in sorted(directory.glob("0*"))}
    assert len(verdicts) == 7
    assert all(verdict.sound for verdict in verdicts.values())
    log = verdicts[f"{BASE}.log"]
    assert (log.entries, log.records, log.first_offset, log.next_offset) == (20, 40, 0, 40)
    assert log.summary.endswith(": sound, 20 batches, 40 records, offsets 0 to 39")
    assert verdicts[f"{40:020d}.log"].summary.endswith(": sound, empty")


def test_a_dump_shows_every_batch_where_it_is(directory: Path) -> None:
    path = directory / f"{BASE}.log"
    rows = list(dump_log(str(path)))
    assert all(isinstance(row, BatchRow) for row in rows)
    size_bytes = path.stat().st_size // BATCHES
    assert [row.position for row in rows] == [number * size_bytes for number in range(BATCHES)]
    assert [row.header.base_offset for row in rows if isinstance(row, BatchRow)] == list(range(0, 40, 2))


def test_a_dump_shows_indexes_and_snapshots(directory: Path) -> None:
    entries = dump_offset_index(str(directory / f"{BASE}.index"))
    times = dump_time_index(str(directory / f"{BASE}.timeindex"))
    rows = {
        row.header.last_offset: row for row in dump_log(str(directory / f"{BASE}.log")) if isinstance(row, BatchRow)
    }
    assert len(entries) > 3
    assert all(rows[entry.offset].position == entry.position for entry in entries)
    assert all(rows[entry.offset].header.max_timestamp_ms == entry.timestamp_ms for entry in times)
    assert times[-1].timestamp_ms == 1000 + BATCHES - 1
    assert dump_snapshot(str(directory / f"{40:020d}.snapshot")) == PRODUCERS


def test_damage_anywhere_is_found_and_the_rest_is_still_read(directory: Path) -> None:
    path = directory / f"{BASE}.log"
    whole = path.read_bytes()
    size_bytes = len(whole) // BATCHES
    for byte in range(size_bytes):
        if 12 <= byte < 16:
            continue  # the leader epoch is outside the checksum
        damage(path, 5 * size_bytes + byte)
        verdict = verify(str(path))
        path.write_bytes(whole)
        assert f"corrupt at offset 10 (byte {5 * size_bytes}): " in verdict.summary
        assert verdict.summary.endswith(
            f"recoverable: 10 records in the first {5 * size_bytes} bytes, "
            "and 28 records in 14 sound batches after the damage"
        )
        assert (verdict.sound, verdict.next_offset, verdict.records) == (False, 10, 38)


def test_a_torn_tail_and_a_hole_of_zeros_are_rows_of_their_own(directory: Path) -> None:
    path = directory / f"{BASE}.log"
    whole = path.read_bytes()
    size_bytes = len(whole) // BATCHES
    path.write_bytes(whole[: 3 * size_bytes] + bytes(5 * size_bytes) + whole[8 * size_bytes : -1])
    rows = list(dump_log(str(path)))
    damages = [row for row in rows if isinstance(row, Damage)]
    assert [(row.position, row.expected_offset, row.resumes_at) for row in damages] == [
        (3 * size_bytes, 6, 8 * size_bytes),
        (19 * size_bytes, 38, None),
    ]
    assert "the file ends inside a batch" in damages[1].problem
    assert len(rows) == 3 + 1 + 11 + 1


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_an_index_is_compared_with_its_log(directory: Path, suffix: str) -> None:
    path = directory / f"{BASE}{suffix}"
    whole = path.read_bytes()
    for at in range(len(whole)):
        damage(path, at)
        verdict = verify(str(path))
        assert not verdict.sound, at
        assert verdict.summary.startswith(f"{path}: corrupt: entry ")
        path.write_bytes(whole)
    path.write_bytes(whole + b"\0")
    assert "not whole entries" in verify(str(path)).summary
    path.write_bytes(whole + bytes(24))
    assert not verify(str(path)).sound


def test_a_damaged_snapshot_is_found(directory: Path) -> None:
    path = directory / f"{40:020d}.snapshot"
    whole = path.read_bytes()
    for at in range(2, len(whole)):
        damage(path, at)
        assert not verify(str(path)).sound
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["notes.txt", "17.log", "recovery-point"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InvalidRequestError):
        verify(str(tmp_path / name))

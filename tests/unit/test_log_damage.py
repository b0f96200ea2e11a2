"""Damage to what had reached the disk: kept aside, written down, and nothing of it lost whatever happens meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.checkpoint import write_recovery_point
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import segment_path
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.known_log import look_at_segments
from shmlog.testing.storage import FaultyStorage, Killed

CONFIG = TopicConfig.from_mapping({})
CALLS_MAX = 500


def batch_at(offset: int) -> bytes:
    return encode_batch([NewRecord(b"value %06d" % offset, timestamp_ms=offset)], base_offset=offset)


BATCH_BYTES = len(batch_at(0))


def open_log(directory: Path, storage: FaultyStorage | None = None) -> PartitionLog:
    return PartitionLog.open(str(directory), CONFIG, topic_id="A" * 22, storage=storage)


def append(log: PartitionLog, count: int) -> None:
    for _ in range(count):
        log.append(batch_at(log.log_end_offset))


def log_file(directory: Path, base_offset: int) -> Path:
    return Path(segment_path(str(directory), base_offset, ".log"))


def spoil(directory: Path, base_offset: int, batch: int) -> None:
    """A length that cannot be."""
    data = bytearray(log_file(directory, base_offset).read_bytes())
    data[batch * BATCH_BYTES + 8] ^= 1
    log_file(directory, base_offset).write_bytes(data)


def write_damaged_log(directory: Path) -> dict[str, bytes]:
    """Three segments of five batches, up to offset 8 on the disk, offset 7 damaged; returns what must be kept."""
    log = open_log(directory)
    for segment in range(3):
        append(log, 5)
        if segment < 2:
            log.roll(log.log_end_offset)
    log.close(clean=False)
    write_recovery_point(FaultyStorage(), str(directory), 9)
    spoil(directory, 5, batch=2)
    return {f"{log_file(directory, base).name}.damaged": log_file(directory, base).read_bytes() for base in (5, 10)}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-3"


def test_what_had_reached_the_disk_is_kept_as_it_was_and_written_down(directory: Path) -> None:
    before = write_damaged_log(directory)
    open_log(directory).close(clean=True)
    assert {name: (directory / name).read_bytes() for name in before} == before
    ((topic, partition, place, found),) = damage.find(str(directory.parent))
    assert (topic, partition, place) == ("flights", 3, str(directory))
    assert (found.first_offset, found.end_offset, found.dropped_bytes) == (7, 9, 8 * BATCH_BYTES)
    assert found.kept == tuple(before)
    said = damage.sentence(topic, partition, str(directory), found)
    assert said.startswith("flights-3: offsets 7 to 8 had reached the disk and are lost (found ")
    assert f"{8 * BATCH_BYTES} bytes were cut off" in said
    assert "00000000000000000005.log.damaged, 00000000000000000010.log.damaged" in said
    assert said.endswith(f"rm {directory}/*.damaged")


def test_damage_is_told_until_what_was_kept_is_removed(directory: Path) -> None:
    before = write_damaged_log(directory)
    for _ in range(2):  # a start that finds nothing does not count as seen
        log = open_log(directory)
        assert log.damaged
        log.close(clean=True)
        assert len(damage.read(str(directory))) == 1
    for name in before:
        (directory / name).unlink()
    assert damage.read(str(directory)) == []


def test_a_torn_tail_that_never_was_safe_is_no_damage(directory: Path) -> None:
    log = open_log(directory)
    append(log, 5)
    log.close(clean=False)
    spoil(directory, 0, batch=4)
    log = open_log(directory)
    assert log.recovered
    assert not log.damaged
    log.close(clean=True)
    assert damage.read(str(directory)) == []
    assert not list(directory.glob("*.damaged"))


def test_a_file_that_became_shorter_is_damage_of_which_nothing_is_kept(directory: Path) -> None:
    log = open_log(directory)
    append(log, 5)
    log.close(clean=True)
    os.truncate(log_file(directory, 0), 3 * BATCH_BYTES)
    open_log(directory).close(clean=True)
    (found,) = damage.read(str(directory))
    assert (found.first_offset, found.end_offset, found.kept) == (3, 5, ())
    assert "no bytes of them were left to keep" in damage.sentence("flights", 3, str(directory), found)
    (note,) = directory.glob("*.damaged")
    note.unlink()
    assert damage.read(str(directory)) == []


def test_a_segment_that_is_damaged_twice_is_kept_twice(directory: Path) -> None:
    log = open_log(directory)
    append(log, 5)
    log.close(clean=True)
    kept = {}
    for name, end in (("00000000000000000000.log.damaged", 5), ("00000000000000000000.log.2.damaged", 6)):
        spoil(directory, 0, batch=2)
        kept[name] = log_file(directory, 0).read_bytes()
        log = open_log(directory)
        assert log.log_end_offset == 2
        append(log, end - 1)
        log.close(clean=True)
    assert {name: (directory / name).read_bytes() for name in kept} == kept
    assert [(one.end_offset, one.kept) for one in damage.read(str(directory))] == [
        (5, ("00000000000000000000.log.damaged",)),
        (6, ("00000000000000000000.log.2.damaged",)),
    ]


def test_a_recovery_killed_at_any_call_still_keeps_all_that_was_there(tmp_path: Path) -> None:
    for calls in range(CALLS_MAX):
        directory = tmp_path / f"flights-{calls}"
        before = write_damaged_log(directory)
        storage = FaultyStorage(calls_left=calls)
        try:
            open_log(directory, storage).close(clean=True)
            survived = True
        except Killed:
            survived = False
        storage.close_all()
        log = open_log(directory)
        assert log.damaged, calls
        log.close(clean=True)
        assert {path.name: path.read_bytes() for path in directory.glob("*.log.damaged")} == before, calls
        (found,) = damage.read(str(directory))
        assert (found.first_offset, found.end_offset, found.kept) == (7, 9, tuple(before)), calls
        if survived:
            assert calls > 30
            return
    raise AssertionError(f"still not done after {CALLS_MAX} calls")


def write_rolled_log(directory: Path) -> None:
    """Three segments of five batches, cleanly closed, with an index entry for each batch."""
    config = TopicConfig.from_mapping({"index.interval.bytes": "1"})
    log = PartitionLog.open(str(directory), config, topic_id="A" * 22)
    for segment in range(3):
        append(log, 5)
        if segment < 2:
            log.roll(log.log_end_offset)
    log.close(clean=True)


def test_damage_in_a_segment_that_is_not_the_last_is_left_in_place_and_told_for_as_long_as_it_lasts(
    directory: Path,
) -> None:
    write_rolled_log(directory)
    spoil(directory, 5, batch=4)
    before = log_file(directory, 5).read_bytes()
    for _ in range(2):
        log = open_log(directory)
        look_at_segments(log)
        log.close(clean=True)
        (found,) = damage.read(str(directory))
        assert (found.first_offset, found.end_offset, found.dropped_bytes) == (9, 10, 0)
        assert log_file(directory, 5).read_bytes() == before
        said = damage.sentence("flights", 3, str(directory), found)
        assert said.startswith("flights-3: offsets 9 to 9 had reached the disk and are damaged (found ")
        assert "in 00000000000000000005.log: the batch at byte " in said
        assert "nothing was cut, who reads them gets an error and can go on from offset 10" in said
        assert said.endswith(f"rm {directory}/*.damaged")
    log = open_log(directory)
    log.delete_segments([0, 5])
    assert damage.read(str(directory)) == []
    log.close(clean=True)


def test_a_segment_that_is_missing_is_damage_too(directory: Path) -> None:
    write_rolled_log(directory)
    log_file(directory, 5).unlink()
    log = open_log(directory)
    look_at_segments(log)
    log.close(clean=True)
    (found,) = damage.read(str(directory))
    assert (found.first_offset, found.end_offset, found.kept) == (5, 10, ("00000000000000000000.log",))
    assert "a file is missing, or foreign" in found.reason

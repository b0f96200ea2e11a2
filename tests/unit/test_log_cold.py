"""Reading a partition's files from another process: by offset, by time, while segments come and go."""

from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError, StorageError
from shmlog.log.cold import ColdReader
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import segment_path
from shmlog.model import OffsetAndTimestamp
from shmlog.record.batch import NewRecord, StoredRecord, decode_records, encode_batch
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.storage import FaultyStorage

NO_LIMIT = 2**62
CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), index_interval_bytes=200)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartitionLog]:
    opened = open_log(tmp_path / "flights-0")
    yield opened
    opened.close(clean=False)


def open_log(directory: Path) -> PartitionLog:
    return PartitionLog.open(str(directory), CONFIG, topic_id="A" * 22, storage=FaultyStorage())


def append(log: PartitionLog, timestamps_ms: list[int], value: bytes = b"value") -> None:
    """One batch with a record for every timestamp."""
    records = [NewRecord(value, timestamp_ms=timestamp_ms) for timestamp_ms in timestamps_ms]
    log.append(encode_batch(records, base_offset=log.log_end_offset))


def write_three_segments(log: PartitionLog) -> None:
    """Offsets 0-59, 60-119 and 120-179, three to a batch, at times 1000 + 10 x offset."""
    for segment in range(3):
        for batch in range(20):
            first = 60 * segment + 3 * batch
            append(log, [1000 + 10 * offset for offset in range(first, first + 3)])
        if segment < 2:
            log.roll(log.log_end_offset)


def decode(chunk: bytes) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    position = 0
    while position < len(chunk):
        records += decode_records(chunk, position)
        position += BatchHeader.parse(chunk, position).size_bytes
    return records


def read_all(reader: ColdReader, offset: int, limit: int, max_bytes: int = 500) -> list[int]:
    """Offsets of everything from the batch with `offset` on."""
    offsets: list[int] = []
    while (chunk := reader.read(offset, max_bytes, limit)) is not None:
        offsets += [record.offset for record in decode(chunk)]
        offset = offsets[-1] + 1
    return offsets


def test_reading_goes_through_all_segments_without_a_gap(log: PartitionLog) -> None:
    write_three_segments(log)
    reader = ColdReader(log.directory)
    assert read_all(reader, 0, 180) == list(range(180))
    assert reader.earliest() == 0
    reader.close()


def test_a_read_begins_with_the_batch_that_holds_the_offset(log: PartitionLog) -> None:
    write_three_segments(log)
    reader = ColdReader(log.directory)
    for offset in (179, 0, 59, 60, 61, 100, 2, 3):
        chunk = reader.read(offset, 1, 180)
        assert chunk is not None
        assert [record.offset for record in decode(chunk)] == list(range(offset - offset % 3, offset - offset % 3 + 3))
    reader.close()


def test_a_read_takes_no_more_than_asked_for_but_always_one_batch(log: PartitionLog) -> None:
    append(log, [1], b"v" * 10_000)
    for _ in range(50):
        append(log, [1])
    reader = ColdReader(log.directory)
    large = reader.read(0, 100, NO_LIMIT)
    assert large is not None
    assert len(large) == BatchHeader.parse(large).size_bytes > 10_000
    small = reader.read(1, 1000, NO_LIMIT)
    assert small is not None
    assert 1000 - 80 < len(small) <= 1000
    reader.close()


def test_nothing_at_or_beyond_the_limit_is_handed_out(log: PartitionLog) -> None:
    write_three_segments(log)
    reader = ColdReader(log.directory)
    assert read_all(reader, 0, 99) == list(range(99))
    assert reader.read(99, 500, 99) is None
    assert reader.read(150, 500, 99) is None
    reader.close()


def test_a_reader_at_the_end_sees_what_is_appended_and_rolled_later(log: PartitionLog) -> None:
    reader = ColdReader(log.directory)
    for offset in range(30):
        assert reader.read(offset, 500, NO_LIMIT) is None
        append(log, [1])
        chunk = reader.read(offset, 500, NO_LIMIT)
        assert chunk is not None
        assert [record.offset for record in decode(chunk)] == [offset]
        if offset % 7 == 6:
            log.roll(log.log_end_offset)
    reader.close()


def test_an_offset_before_the_first_segment_is_out_of_range_and_says_where_the_log_starts(log: PartitionLog) -> None:
    write_three_segments(log)
    log.delete_segments([0])
    reader = ColdReader(log.directory)
    with pytest.raises(OffsetOutOfRangeError, match=r"offset 59 is before the log's start, 60"):
        reader.read(59, 500, 180)
    assert reader.earliest() == 60
    assert read_all(reader, 60, 180) == list(range(60, 180))
    reader.close()


def test_a_reader_inside_a_dropped_segment_finishes_it_and_hears_what_is_gone(log: PartitionLog) -> None:
    write_three_segments(log)
    reader = ColdReader(log.directory)
    first = reader.read(0, 300, 180)
    assert first is not None
    log.delete_segments([0, 60], now_ms=0)
    log.remove_deleted(now_ms=2**60)
    position = decode(first)[-1].offset + 1
    assert read_all(reader, position, 60) == list(range(position, 60))
    with pytest.raises(OffsetOutOfRangeError, match=r"offset 60 is before the log's start, 120"):
        reader.read(60, 500, 180)
    assert read_all(reader, 120, 180) == list(range(120, 180))
    reader.close()


def test_a_segment_that_vanishes_between_listing_and_opening_is_looked_for_again(log: PartitionLog) -> None:
    write_three_segments(log)

    class RacingStorage(FaultyStorage):
        """Retention strikes after the first listing."""

        def listdir(self, path: str) -> list[str]:
            names = super().listdir(path)
            if log.log_start_offset == 0:
                log.delete_segments([0, 60])
            return names

    reader = ColdReader(log.directory, RacingStorage())
    with pytest.raises(OffsetOutOfRangeError, match="start, 120"):
        reader.read(70, 500, 180)
    assert read_all(reader, 120, 180) == list(range(120, 180))
    reader.close()


def test_a_deleted_topic_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="topic was deleted"):
        ColdReader(str(tmp_path / "gone-0")).read(0, 500, 10)


def test_bytes_that_are_no_batch_are_an_error_with_file_and_byte(log: PartitionLog) -> None:
    write_three_segments(log)
    path = Path(segment_path(log.directory, 60, ".log"))
    data = bytearray(path.read_bytes())
    at = 3 * BatchHeader.parse(data).size_bytes
    data[at + 16] = 9
    path.write_bytes(data)
    reader = ColdReader(log.directory)
    assert read_all(reader, 60, 69) == list(range(60, 69))
    with pytest.raises(CorruptRecordError, match=f"{path}: at byte {at} "):
        reader.read(69, 500, 180)
    reader.close()


def test_a_batch_that_claims_gigabytes_is_an_error_and_not_an_allocation(log: PartitionLog) -> None:
    write_three_segments(log)
    path = Path(segment_path(log.directory, 0, ".log"))
    data = bytearray(path.read_bytes())
    data[8:12] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)
    reader = ColdReader(log.directory)
    with pytest.raises(CorruptRecordError, match="claims 2147483659 bytes"):
        reader.read(0, 500, 180)
    reader.close()


def flip_every_entry(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 0x15 for byte in path.read_bytes()))


def reverse_entries(path: Path) -> None:
    entry_bytes = 12 if path.suffix == ".timeindex" else 8
    data = path.read_bytes()
    entries = [data[at : at + entry_bytes] for at in range(0, len(data), entry_bytes)]
    path.write_bytes(b"".join(reversed(entries)))


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def shift_second_fields(path: Path) -> None:
    """Every entry gets the position (or offset) of the one after it: a place that exists, but too far on."""
    layout = struct.Struct(">qi" if path.suffix == ".timeindex" else ">ii")
    entries = list(layout.iter_unpack(path.read_bytes()))
    shifted = [(this[0], following[1]) for this, following in pairwise(entries)]
    path.write_bytes(b"".join(layout.pack(*entry) for entry in [*shifted, *entries[-1:]]))


@pytest.mark.parametrize("damage", [Path.unlink, shift_second_fields, flip_every_entry, reverse_entries, zeros])
def test_a_damaged_index_costs_time_and_nothing_else(log: PartitionLog, damage: Callable[[Path], object]) -> None:
    write_three_segments(log)
    for path in [*Path(log.directory).glob("*.index"), *Path(log.directory).glob("*.timeindex")]:
        damage(path)
    reader = ColdReader(log.directory)
    for offset in range(180):
        chunk = reader.read(offset, 1, 180)
        assert chunk is not None
        assert decode(chunk)[0].offset == offset - offset % 3
        assert reader.offset_for_timestamp(1000 + 10 * offset, 180) == OffsetAndTimestamp(offset, 1000 + 10 * offset)
    reader.close()


def test_an_index_look_up_saves_reading_the_segment(log: PartitionLog) -> None:
    for _ in range(2000):
        append(log, [1])

    storage = FaultyStorage()
    reader = ColdReader(log.directory, storage)
    assert reader.read(1900, 100, NO_LIMIT) is not None
    assert storage.read_bytes < 2000 < log.active.size_bytes // 50
    reader.close()


def test_a_search_by_time_finds_the_first_record_that_is_not_older(log: PartitionLog) -> None:
    write_three_segments(log)
    reader = ColdReader(log.directory)
    assert reader.offset_for_timestamp(0, 180) == (0, 1000)
    assert reader.offset_for_timestamp(1001, 180) == (1, 1010)
    assert reader.offset_for_timestamp(1600, 180) == (60, 1600)
    assert reader.offset_for_timestamp(2790, 180) == (179, 2790)
    assert reader.offset_for_timestamp(2791, 180) is None
    assert reader.offset_for_timestamp(1600, 60) is None
    assert reader.offset_for_timestamp(1010, 1) is None
    log.delete_segments([0])
    assert reader.offset_for_timestamp(0, 180) == (60, 1600)


@given(
    batches=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=4), min_size=1, max_size=40),
    rolls=st.sets(st.integers(1, 39)),
    limit=st.integers(0, 160),
)
def test_offsets_and_times_agree_with_a_list(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], rolls: set[int], limit: int
) -> None:
    """Times go up and down within and across batches and segments."""
    log = open_log(tmp_path_factory.mktemp("log") / "t-0")
    times: list[int] = []
    first_of: list[int] = []
    for number, timestamps_ms in enumerate(batches):
        if number in rolls:
            log.roll(log.log_end_offset)
        first_of += [len(times)] * len(timestamps_ms)
        times += timestamps_ms
        append(log, timestamps_ms)
    reader = ColdReader(log.directory)
    limit = min(limit, len(times))
    for offset in range(len(times)):
        chunk = reader.read(offset, 1, limit)
        assert (decode(chunk)[0].offset if chunk else None) == (first_of[offset] if offset < limit else None)
    for wanted in range(42):
        first = next((offset for offset in range(limit) if times[offset] >= wanted), None)
        expected = None if first is None else OffsetAndTimestamp(first, times[first])
        assert reader.offset_for_timestamp(wanted, limit) == expected
    reader.close()
    log.close(clean=False)


def test_an_owner_never_imports_numpy() -> None:
    """Fifteen megabytes and a tenth of a second per process; only readers look things up."""
    program = (
        "import sys, tempfile, shmlog.log.partition_log as p\n"
        "from shmlog.settings import TopicConfig\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    p.PartitionLog.open(d + '/t-0', TopicConfig.from_mapping({}), topic_id='A' * 22).close(clean=True)\n"
        "print('numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"

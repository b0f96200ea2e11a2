"""What a cold reader remembers of a partition's segments is right however they come and go, and saves looking again."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import OffsetOutOfRangeError
from shmlog.log.cold import ColdReader
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment_times import SegmentTimes
from shmlog.model import OffsetAndTimestamp
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.compacted_log import CompactedLog
from shmlog.testing.storage import FaultyStorage


def open_log(directory: Path) -> PartitionLog:
    return PartitionLog.open(str(directory), TopicConfig.from_mapping({}), topic_id="A" * 22, storage=FaultyStorage())


def append(log: PartitionLog, timestamp_ms: int) -> None:
    log.append(encode_batch([NewRecord(b"value", timestamp_ms=timestamp_ms)], base_offset=log.log_end_offset))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartitionLog]:
    """Thirty segments of two records, at 1000, 1010 and so on; the last one is active."""
    made = open_log(tmp_path / "t-0")
    for number in range(30):
        if number:
            made.roll(made.log_end_offset)
        append(made, 1000 + 20 * number)
        append(made, 1010 + 20 * number)
    yield made
    made.close(clean=False)


class CountingStorage(FaultyStorage):
    """Counts listings, and notes which logs were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.listings = 0
        self.logs: list[int] = []

    def listdir(self, path: str) -> list[str]:
        self.listings += 1
        return super().listdir(path)

    def open(self, path: str, flags: int) -> int:
        if path.endswith(".log"):
            self.logs.append(int(Path(path).stem))
        return super().open(path, flags)


def test_seeks_list_the_directory_once_and_open_the_one_segment_they_want(log: PartitionLog) -> None:
    storage = CountingStorage()
    reader = ColdReader(log.directory, storage)
    for offset in (41, 7, 58, 0, 33):
        assert reader.read(offset, 1, 60) is not None
    assert (storage.listings, storage.logs) == (1, [40, 6, 58, 0, 32])
    reader.close()


def test_a_search_by_time_looks_at_older_segments_once(log: PartitionLog) -> None:
    storage = CountingStorage()
    reader = ColdReader(log.directory, storage)
    assert reader.offset_for_timestamp(1410, 60) == (41, 1410)
    assert set(storage.logs) == set(range(0, 42, 2))
    storage.logs.clear()
    for timestamp_ms, base in ((1410, 40), (1001, 0), (1205, 20), (1400, 40)):
        assert reader.offset_for_timestamp(timestamp_ms, 60) is not None
        assert storage.logs == [base]
        storage.logs.clear()
    assert storage.listings == 1
    reader.close()


def test_a_closed_reader_holds_no_file_and_still_knows_the_segments(log: PartitionLog) -> None:
    storage = CountingStorage()
    reader = ColdReader(log.directory, storage)
    assert reader.offset_for_timestamp(1410, 60) == (41, 1410)
    reader.close()
    assert storage.opened == set()
    storage.logs.clear()
    assert reader.offset_for_timestamp(1410, 60) == (41, 1410)
    assert (storage.logs, storage.listings) == ([40], 1)
    reader.close()


def test_segments_that_came_and_went_since_the_listing_are_noticed(log: PartitionLog) -> None:
    reader = ColdReader(log.directory)
    assert reader.offset_for_timestamp(5000, 60) is None
    log.roll(60)
    append(log, 5000)
    log.roll(61)
    append(log, 6000)
    assert reader.offset_for_timestamp(6000, 62) == (61, 6000)
    assert reader.offset_for_timestamp(4999, 62) == (60, 5000)
    chunk = reader.read(61, 1, 62)
    assert chunk is not None
    assert int.from_bytes(chunk[:8], "big") == 61
    log.delete_segments(range(0, 40, 2), now_ms=0)
    log.remove_deleted(2**60)
    assert reader.offset_for_timestamp(1000, 62) == (40, 1400)
    with pytest.raises(OffsetOutOfRangeError, match=r"offset 39 is before the log's start, 40"):
        reader.read(39, 1, 62)
    reader.close()


@given(
    steps=st.lists(
        st.one_of(st.integers(0, 30), st.just("roll"), st.just("drop"), st.just("look")), min_size=1, max_size=60
    )
)
def test_a_long_lived_reader_agrees_with_a_list(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """Numbers are timestamps of records, which go up and down."""
    log = open_log(tmp_path_factory.mktemp("log") / "t-0")
    reader = ColdReader(log.directory)
    times: list[int] = []
    for step in [*steps, "look"]:
        if isinstance(step, int):
            append(log, step)
            times.append(step)
        elif step == "roll":
            log.roll(log.log_end_offset)
        elif step == "drop" and len(log.sealed):
            log.delete_segments([log.log_start_offset], now_ms=0)
            log.remove_deleted(2**60)
        elif step == "look":
            start, end = log.log_start_offset, log.log_end_offset
            for wanted in range(0, 32, 3):
                first = next((offset for offset in range(start, end) if times[offset] >= wanted), None)
                expected = None if first is None else OffsetAndTimestamp(first, times[first])
                assert reader.offset_for_timestamp(wanted, end) == expected
            for offset in range(start, end, 5):
                chunk = reader.read(offset, 1, end)
                assert chunk is not None
                assert int.from_bytes(chunk[:8], "big") == offset
    reader.close()
    log.close(clean=False)


def test_a_segment_that_compaction_has_put_in_the_place_of_several_is_looked_at_again(tmp_path: Path) -> None:
    log = CompactedLog(tmp_path)
    times_ms = [1000, 2000, 3000, 4000]
    records = [NewRecord(b"value", b"%d" % time_ms, timestamp_ms=time_ms) for time_ms in times_ms]
    log.write_all([[encode_batch([record], base_offset=offset)] for offset, record in enumerate(records)])
    reader = ColdReader(str(tmp_path))
    assert reader.offset_for_timestamp(1000, 4) == (0, 1000), "and nothing is known of the other segments"
    log.compact(now_ms=10_000)
    assert log.bases == [0, 4]
    assert [reader.offset_for_timestamp(time_ms, 4) for time_ms in times_ms] == list(enumerate(times_ms))
    reader.close()


def test_nothing_is_believed_of_a_log_that_lost_a_segment_in_the_middle() -> None:
    times, newest = SegmentTimes(), {0: 10, 5: 30, 9: 12, 12: 40}
    whole, gap = array("q", [0, 5, 9, 12, 20]), array("q", [0, 9, 12, 20])
    times.follow(whole)
    assert list(times.candidates(whole, 15, newest.__getitem__)) == [5, 12]
    times.follow(gap)
    assert list(times.candidates(gap, 15, newest.__getitem__)) == [12]

"""The segment writer: Kafka's index rules, and errors that change nothing."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from shmlog.native.segment import SegmentWriter
from shmlog.record.batch import NewRecord, encode_batch

BASE_OFFSET = 1000


@dataclass
class Files:
    """The three files of a segment, open."""

    log: int
    index: int
    time_index: int

    def writer(self, **position: int) -> SegmentWriter:
        return SegmentWriter(self.log, self.index, self.time_index, base_offset=BASE_OFFSET, **position)

    def contents(self) -> tuple[bytes, list[tuple[int, int]], list[tuple[int, int]]]:
        return (
            read_all(self.log),
            list(struct.iter_unpack(">ii", read_all(self.index))),
            list(struct.iter_unpack(">qi", read_all(self.time_index))),
        )

    def clear(self) -> None:
        for fd in (self.log, self.index, self.time_index):
            os.ftruncate(fd, 0)


def read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def batch(base_offset: int, value_bytes: int = 0, *, count: int = 1, timestamp_ms: int = 0) -> bytes:
    records = [NewRecord(b"v" * value_bytes, timestamp_ms=timestamp_ms) for _ in range(count)]
    return encode_batch(records, base_offset=base_offset)


def run_of_batches(shapes: list[tuple[int, int, int]]) -> list[bytes]:
    """Batches of (value bytes, records, timestamp), one after the other from the base offset."""
    batches, offset = [], BASE_OFFSET
    for value_bytes, count, timestamp_ms in shapes:
        batches.append(batch(offset, value_bytes, count=count, timestamp_ms=timestamp_ms))
        offset += count
    return batches


def kafkas_indexes(
    shapes: list[tuple[int, int, int]], batches: list[bytes], interval: int
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """What Kafka's LogSegment would have put into both indexes, written down a second time from its description."""
    offset_index: list[tuple[int, int]] = []
    time_index: list[tuple[int, int]] = []
    position = last_indexed_position = 0
    youngest, youngest_at = -1, -1
    offset = BASE_OFFSET
    for (_, count, timestamp_ms), encoded in zip(shapes, batches, strict=True):
        last_offset = offset + count - 1
        if timestamp_ms > youngest:
            youngest, youngest_at = timestamp_ms, last_offset
        if position - last_indexed_position > interval:
            offset_index.append((last_offset - BASE_OFFSET, position))
            if not time_index or youngest > time_index[-1][0]:
                time_index.append((youngest, youngest_at - BASE_OFFSET))
            last_indexed_position = position
        position += len(encoded)
        offset += count
    return offset_index, time_index


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("log", "index", "timeindex")]
    yield Files(*fds)
    for fd in fds:
        os.close(fd)


shapes_of_batches = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 5), st.integers(0, 50)), min_size=1, max_size=40
)


@given(shapes=shapes_of_batches, interval=st.sampled_from([0, 100, 4096]), cuts=st.sets(st.integers(1, 39)))
def test_index_entries_equal_kafkas_rules_however_the_batches_are_grouped(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int, int]], interval: int, cuts: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("segment")
    fds = [os.open(directory / name, os.O_RDWR | os.O_CREAT) for name in ("log", "index", "timeindex")]
    try:
        written = Files(*fds)
        writer = written.writer(index_interval_bytes=interval)
        batches = run_of_batches(shapes)
        edges = [0, *sorted(cut for cut in cuts if cut < len(batches)), len(batches)]
        for start, end in itertools.pairwise(edges):
            writer.append(b"".join(batches[start:end]))
        log, index, time_index = written.contents()
        expected_index, expected_time_index = kafkas_indexes(shapes, batches, interval)
        assert log == b"".join(batches)
        assert index == expected_index
        assert time_index == expected_time_index
        assert writer.next_offset == BASE_OFFSET + sum(count for _, count, _ in shapes)
        assert writer.max_timestamp_ms == max(timestamp_ms for _, _, timestamp_ms in shapes)
        assert (writer.size_bytes, writer.index_bytes, writer.time_index_bytes) == tuple(
            os.fstat(fd).st_size for fd in fds
        )
    finally:
        for fd in fds:
            os.close(fd)


def test_the_first_batch_is_never_indexed_and_an_entry_needs_more_than_the_interval(files: Files) -> None:
    writer = files.writer(index_interval_bytes=500)
    first = batch(BASE_OFFSET, 500 - len(batch(BASE_OFFSET)) - 2)
    assert len(first) == 500
    writer.append(first)
    writer.append(batch(BASE_OFFSET + 1))  # 500 bytes since the beginning: not more than 500
    assert files.contents()[1] == []
    writer.append(batch(BASE_OFFSET + 2))
    assert files.contents()[1] == [(2, 500 + len(batch(BASE_OFFSET + 1)))]


def test_a_closing_segment_gets_its_largest_timestamp_once(files: Files) -> None:
    writer = files.writer()
    writer.append_final_time_index()
    assert files.contents()[2] == []
    writer.append(batch(BASE_OFFSET, timestamp_ms=7))
    writer.append(batch(BASE_OFFSET + 1, timestamp_ms=5))
    writer.append_final_time_index()
    writer.append_final_time_index()
    assert files.contents()[2] == [(7, 0)]


def test_adopting_writes_the_indexes_that_appending_wrote_and_not_the_log(files: Files) -> None:
    batches = b"".join(run_of_batches([(700, 2, n % 7) for n in range(40)]))
    appended = files.writer()
    appended.append(batches)
    _, index, time_index = files.contents()
    files.clear()
    adopted = files.writer()
    adopted.adopt(batches)
    assert files.contents() == (b"", index, time_index)
    assert adopted.size_bytes == appended.size_bytes
    assert adopted.bytes_since_index == appended.bytes_since_index


@pytest.mark.parametrize(
    "wrong",
    [
        b"x" * 61,
        batch(BASE_OFFSET)[:-1],
        batch(BASE_OFFSET) + b"\0",
        batch(BASE_OFFSET - 1),
        batch(BASE_OFFSET + 5) + batch(BASE_OFFSET),
        batch(BASE_OFFSET)[:16] + b"\1" + batch(BASE_OFFSET)[17:],
    ],
    ids=["garbage", "cut", "more", "before the segment", "backwards", "magic 1"],
)
def test_anything_but_whole_batches_that_continue_the_segment_is_refused_unwritten(files: Files, wrong: bytes) -> None:
    writer = files.writer()
    with pytest.raises(ValueError):
        writer.append(wrong)
    assert files.contents() == (b"", [], [])
    assert writer.next_offset == BASE_OFFSET


def test_an_offset_too_far_from_the_base_is_refused(files: Files) -> None:
    writer = files.writer()
    with pytest.raises(OverflowError):
        writer.append(batch(BASE_OFFSET + 2**31))
    assert files.contents()[0] == b""


@pytest.mark.parametrize("full", ["log", "index", "time_index"])
def test_after_a_full_disk_nothing_has_moved_and_the_same_call_can_be_repeated(files: Files, full: str) -> None:
    batches = run_of_batches([(900, 1, n) for n in range(30)])
    head, tail = b"".join(batches[:3]), b"".join(batches[3:])
    dev_full = os.open("/dev/full", os.O_WRONLY)
    real = getattr(files, full)
    try:
        spare = os.dup(real)
        writer = files.writer()
        writer.append(head)
        before = state_of(writer)
        os.dup2(dev_full, real)
        with pytest.raises(OSError, match="No space left"):
            writer.append(tail)
        assert state_of(writer) == before
        os.dup2(spare, real)
        os.close(spare)
    finally:
        os.close(dev_full)
    writer.append(tail)
    expected_index, expected_time_index = kafkas_indexes([(900, 1, n) for n in range(30)], batches, 4096)
    assert files.contents() == (b"".join(batches), expected_index, expected_time_index)


def test_a_short_write_is_continued_and_a_file_size_limit_is_an_error(files: Files) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    batches = b"".join(run_of_batches([(900, 1, n) for n in range(30)]))
    writer = files.writer()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the kernel writes 10,000 bytes, then refuses
        with pytest.raises(OSError, match="File too large"):
            writer.append(batches)
        assert (writer.size_bytes, os.fstat(files.log).st_size) == (0, 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    writer.append(batches)
    assert files.contents()[0] == batches


def state_of(writer: SegmentWriter) -> tuple[int, ...]:
    return (
        writer.next_offset,
        writer.size_bytes,
        writer.index_bytes,
        writer.time_index_bytes,
        writer.bytes_since_index,
        writer.max_timestamp_ms,
        writer.max_timestamp_offset,
        writer.last_time_index_ms,
    )

"""One segment opened for reading, with look-ups by offset and by time that do not believe a damaged index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from shmlog.errors import CorruptRecordError
from shmlog.log.offset_index import OffsetIndex
from shmlog.log.segment import INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, segment_path
from shmlog.log.storage import Storage
from shmlog.log.time_index import TimeIndex, TimestampOffset
from shmlog.model import OffsetAndTimestamp
from shmlog.native.records import Record, decode_batches
from shmlog.record.expansion import expand
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

HEADERS_BYTES_FIRST, HEADERS_BYTES_MAX = 4 * 1024, 64 * 1024
"""Headers are read in pieces that grow: whoever has an index entry wants the next few, who has none wants them all."""
Index = TypeVar("Index", OffsetIndex, TimeIndex)


class ColdSegment:
    """A segment's files. The log stays readable after retention has dropped it, until `close`.

    An index entry is used only if the batch that it points to is the one that it names; otherwise the search begins
    at the segment's first byte, which is slow and right.
    """

    def __init__(self, storage: Storage, directory: str, base_offset: int) -> None:
        """Raises FileNotFoundError when the segment has vanished."""
        self.base_offset = base_offset
        self.path = segment_path(directory, base_offset, LOG_SUFFIX)
        self._storage = storage
        self._directory = directory
        self._log_fd = storage.open(self.path, os.O_RDONLY)

    def close(self) -> None:
        self._storage.close(self._log_fd)

    def is_replaced(self) -> bool:
        """Whether the log was written to a new file meanwhile (see log/rewrite.py); positions are the same there."""
        return self._storage.is_replaced(self._log_fd, self.path)

    def pread(self, size_bytes: int, position: int) -> bytes:
        return self._storage.pread(self._log_fd, size_bytes, position)

    def pread_into(self, buffer: memoryview, position: int) -> int:
        return self._storage.pread_into(self._log_fd, buffer, position)

    def position_for(self, offset: int) -> int:
        """A byte position where a batch begins, at or before the batch with `offset`."""
        index = self._index(INDEX_SUFFIX, OffsetIndex)
        entry = index.lookup(offset) if index is not None else None
        if entry is None:
            return 0
        header = self._header_at(entry.position)
        return entry.position if header is not None and header.last_offset == entry.offset else 0

    def first_at_or_after(
        self, timestamp_ms: int, limit_offset: int, start_offset: int = 0
    ) -> OffsetAndTimestamp | None:
        """The segment's first record from `start_offset` on that is not older than `timestamp_ms`; None without one
        before `limit_offset`."""
        for position, header in self.headers(self._position_for_time(timestamp_ms)):
            if header.base_offset >= limit_offset:
                return None
            if header.max_timestamp_ms >= timestamp_ms and header.next_offset > start_offset:
                for record in self._records(header, position):
                    if record.timestamp_ms >= timestamp_ms and record.offset >= start_offset:
                        return OffsetAndTimestamp(record.offset, record.timestamp_ms)
            if header.next_offset >= limit_offset:
                return None  # what lies beyond may still be being written
        return None

    def newest_ms(self) -> int:
        """The largest timestamp of a segment that is not written to any more; -1 if no record has one."""
        index = self._index(TIME_INDEX_SUFFIX, TimeIndex)
        start = self._position_of(index.last() if index is not None else None)
        return max((header.max_timestamp_ms for _, header in self.headers(start)), default=-1)

    def _records(self, header: BatchHeader, position: int) -> list[Record]:
        """The records of one batch, none of a control batch."""
        plain, _ = expand(self.pread(header.size_bytes, position), self.path, header.size_bytes)
        topic, _, partition = os.path.basename(self._directory).rpartition("-")
        number = int(partition) if partition.isdigit() else 0
        return decode_batches(plain, topic, number, header.base_offset, header.next_offset, header.record_count)[0]

    def _position_for_time(self, timestamp_ms: int) -> int:
        """A byte position where a batch begins, with only older records before it."""
        index = self._index(TIME_INDEX_SUFFIX, TimeIndex)
        return self._position_of(index.last_before(timestamp_ms) if index is not None else None)

    def _position_of(self, entry: TimestampOffset | None) -> int:
        """Where the batch begins that a time index entry is about; 0 without an entry, or if there is no such batch."""
        if entry is None:
            return 0
        start = self.position_for(entry.offset)
        for position, header in self.headers(start):
            if header.last_offset == entry.offset:
                return position if header.max_timestamp_ms == entry.timestamp_ms else 0
            if header.last_offset > entry.offset:
                break
        return 0

    def _index(self, suffix: str, kind: Callable[[int, int, int], Index]) -> Index | None:
        """One of the index files as it is now; None when it is not there."""
        try:
            fd = self._storage.open(segment_path(self._directory, self.base_offset, suffix), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return kind(fd, self._storage.size_bytes(fd), self.base_offset)
        finally:
            self._storage.close(fd)

    def _header_at(self, position: int) -> BatchHeader | None:
        if position < 0:
            return None
        try:
            return BatchHeader.parse(self.pread(HEADER_BYTES, position))
        except CorruptRecordError:
            return None

    def headers(self, position: int) -> Iterator[tuple[int, BatchHeader]]:
        """Position and header of every batch from `position` on, up to the first that is not all there.

        Raises CorruptRecordError, naming file and byte, for bytes that are no batch.
        """
        size_bytes = self._storage.size_bytes(self._log_fd)
        chunk, chunk_at, chunk_bytes = b"", position, HEADERS_BYTES_FIRST
        while position + HEADER_BYTES <= size_bytes:
            if position + HEADER_BYTES > chunk_at + len(chunk):
                chunk, chunk_at = self.pread(chunk_bytes, position), position
                chunk_bytes = min(2 * chunk_bytes, HEADERS_BYTES_MAX)
                if len(chunk) < HEADER_BYTES:
                    return
            try:
                header = BatchHeader.parse(chunk, position - chunk_at)
            except CorruptRecordError as error:
                raise CorruptRecordError(f"{self.path}: at byte {position} {error}") from error
            if position + header.size_bytes > size_bytes:
                return
            yield position, header
            position += header.size_bytes

"""What can be learned of a segment from its files, without reading its records."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import Final

from shmlog.errors import CorruptRecordError
from shmlog.log.segment import INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, SegmentFiles, SegmentInfo, segment_path
from shmlog.log.storage import Storage
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

_TIME_ENTRY: Final = struct.Struct(">qi")


@dataclass(frozen=True, slots=True)
class CompactionFacts:
    """What compaction needs to know of a segment; see machines.compaction."""

    base_offset: int
    size_bytes: int
    index_bytes: int
    time_index_bytes: int
    first_timestamp_ms: int
    """Of its first batch, the largest; -1 if that has none."""
    max_timestamp_ms: int
    """As in SegmentInfo of a sealed segment."""


def compaction_facts(storage: Storage, directory: str, base_offset: int) -> CompactionFacts:
    """Facts of a segment, the active one included. An index that is missing has no bytes. Raises OSError."""
    info = sealed_info(storage, directory, base_offset)
    index_bytes, time_index_bytes = (
        _size_bytes(storage, segment_path(directory, base_offset, suffix))
        for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX)
    )
    first_ms = _first_ms(storage, info.path)
    return CompactionFacts(base_offset, info.size_bytes, index_bytes, time_index_bytes, first_ms, info.max_timestamp_ms)


def sealed_info(storage: Storage, directory: str, base_offset: int) -> SegmentInfo:
    """Facts of a closed segment; its largest timestamp is the last entry of its time index."""
    path = segment_path(directory, base_offset, LOG_SUFFIX)
    log_fd = storage.open(path, os.O_RDONLY)
    try:
        size_bytes = storage.size_bytes(log_fd)
        created_ms = _begun_ms(storage, log_fd)
        max_timestamp_ms = _last_time_entry_ms(storage, segment_path(directory, base_offset, TIME_INDEX_SUFFIX))
        if max_timestamp_ms < 0:
            max_timestamp_ms = storage.modified_ms(log_fd)
    finally:
        storage.close(log_fd)
    return SegmentInfo(base_offset, size_bytes, max_timestamp_ms, created_ms, path)


def first_timestamp_ms(storage: Storage, files: SegmentFiles, size_bytes: int) -> int:
    """When a segment was begun, as well as its files tell: its first batch's time, but not after the last write."""
    return _begun_ms(storage, files.log_fd) if size_bytes else storage.modified_ms(files.log_fd)


def _size_bytes(storage: Storage, path: str) -> int:
    try:
        fd = storage.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        return storage.size_bytes(fd)
    finally:
        storage.close(fd)


def _first_ms(storage: Storage, path: str) -> int:
    """The largest timestamp of a log's first batch; -1 without a batch, or one with a timestamp."""
    log_fd = storage.open(path, os.O_RDONLY)
    try:
        return BatchHeader.parse(storage.pread(log_fd, HEADER_BYTES, 0)).max_timestamp_ms
    except CorruptRecordError:
        return -1
    finally:
        storage.close(log_fd)


def _begun_ms(storage: Storage, log_fd: int) -> int:
    modified_ms = storage.modified_ms(log_fd)
    try:
        first = BatchHeader.parse(storage.pread(log_fd, HEADER_BYTES, 0))
    except CorruptRecordError:
        return modified_ms
    return min(modified_ms, first.max_timestamp_ms) if first.max_timestamp_ms >= 0 else modified_ms


def _last_time_entry_ms(storage: Storage, path: str) -> int:
    """Timestamp of the last time index entry; -1 when there is none, which in Kafka means the file's own time."""
    try:
        fd = storage.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return -1
    try:
        count = storage.size_bytes(fd) // _TIME_ENTRY.size
        if not count:
            return -1
        timestamp_ms, _ = _TIME_ENTRY.unpack(storage.pread(fd, _TIME_ENTRY.size, (count - 1) * _TIME_ENTRY.size))
        return int(timestamp_ms)
    finally:
        storage.close(fd)

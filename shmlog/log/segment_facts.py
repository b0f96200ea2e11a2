"""What can be learned of a segment from its files, without reading its records."""

from __future__ import annotations

import os
import struct
from typing import Final

from shmlog.errors import CorruptRecordError
from shmlog.log.segment import LOG_SUFFIX, TIME_INDEX_SUFFIX, SegmentFiles, SegmentInfo, segment_path
from shmlog.log.storage import Storage
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

_TIME_ENTRY: Final = struct.Struct(">qi")


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

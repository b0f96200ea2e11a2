"""Putting a writer at the end of a segment: from its indexes when they fit its log, by rebuilding them when not.

Both ways end in the same state that the writer had when it wrote the last batch, because the missing part is given
to `SegmentWriter.adopt`, which follows the rules that made the first index.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

from shmlog.errors import CorruptRecordError
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.segment import INDEX_SUFFIX, REBUILD_SUFFIX, TIME_INDEX_SUFFIX, SegmentFiles, segment_path
from shmlog.log.storage import Storage
from shmlog.native.scan import check_batches
from shmlog.native.segment import SegmentWriter
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

CHUNK_BYTES = 1 << 20
NO_CHECKSUMS = 2**63 - 1
"""As "checksums from this offset on": structure and offsets are looked at only."""

FIND_BYTES_MAX = 1 << 20
"""A batch is looked for this far behind the index entry before it; entries are closer together than that."""

_INDEX_ENTRY: Final = struct.Struct(">ii")
_TIME_ENTRY: Final = struct.Struct(">qi")


@dataclass(slots=True)
class Walk:
    """How far the batches of a segment are sound."""

    valid_bytes: int
    next_offset: int
    problem: str
    """What is wrong with the batch at `valid_bytes`; "" when all bytes are sound."""


@dataclass(slots=True)
class OpenSegment:
    files: SegmentFiles
    writer: SegmentWriter
    walk: Walk


def adopt_batches(
    storage: Storage,
    files: SegmentFiles,
    writer: SegmentWriter,
    end_position: int,
    crc_from_offset: int,
    dense_from_offset: int | None = None,
) -> Walk:
    """Feed the writer what the log file holds from its position up to `end_position`, as far as it is sound.

    Holes before `dense_from_offset` are legal; None: before what the log's checkpoint says.
    """
    if dense_from_offset is None:
        dense_from_offset = dense_from(storage, files.directory)
    position, expected, size = writer.size_bytes, writer.next_offset, CHUNK_BYTES
    while position < end_position:
        chunk = storage.pread(files.log_fd, min(size, end_position - position), position)
        valid, expected, wanted, problem = check_batches(chunk, expected, crc_from_offset, dense_from_offset)
        try:
            writer.adopt(memoryview(chunk)[:valid])
        except OverflowError:
            _adopt_while_in_range(writer, memoryview(chunk)[:valid])
            problem = f"its offsets are too far from the segment's first, {files.base_offset}"
            return Walk(writer.size_bytes, writer.next_offset, problem)
        position += valid
        if problem:
            return Walk(position, expected, problem)
        if valid == 0 and (wanted > end_position - position or len(chunk) < min(size, end_position - position)):
            return Walk(position, expected, "the file ends inside it")
        size = max(CHUNK_BYTES, wanted)
    return Walk(position, expected, "")


def _adopt_while_in_range(writer: SegmentWriter, batches: memoryview) -> None:
    """One batch after the other, up to the first that the segment's indexes cannot name."""
    at = 0
    with contextlib.suppress(OverflowError):
        while at < len(batches):
            size_bytes = BatchHeader.parse(batches, at).size_bytes
            writer.adopt(batches[at : at + size_bytes])
            at += size_bytes


def resume(storage: Storage, files: SegmentFiles, size_bytes: int, index_interval_bytes: int) -> OpenSegment | None:
    """A writer at byte `size_bytes` of a log whose bytes are sound; None when the indexes do not belong to this log.

    Reads the last index entries and the batches after them, nothing else. Entries for bytes beyond `size_bytes` are
    ignored and will be overwritten; entries that are missing at the end are added. Of a segment that goes on, see
    cut_time_index, too.
    """
    count = storage.size_bytes(files.index_fd) // _INDEX_ENTRY.size
    while count and _index_entry(storage, files, count - 1)[1] >= size_bytes:
        count -= 1
    position, last_indexed, next_offset, has_time = 0, files.base_offset - 1, files.base_offset, False
    if count:
        relative, position = _index_entry(storage, files, count - 1)
        header = _header_at(storage, files, position)
        last_indexed = files.base_offset + relative
        if position <= 0 or header is None or header.last_offset != last_indexed:
            return None
        next_offset = header.base_offset
        has_time = header.max_timestamp_ms >= 0
    time_count = storage.size_bytes(files.time_index_fd) // _TIME_ENTRY.size
    while time_count and files.base_offset + _time_entry(storage, files, time_count - 1)[1] > last_indexed:
        time_count -= 1
    if has_time and not time_count:
        return None
    timestamp_ms, timestamp_offset = -1, -1
    if time_count:
        timestamp_ms, relative = _time_entry(storage, files, time_count - 1)
        timestamp_offset = files.base_offset + relative
        found = _find_batch(storage, files, count, timestamp_offset)
        if found is None or found.max_timestamp_ms != timestamp_ms:
            return None
    writer = SegmentWriter(
        files.log_fd,
        files.index_fd,
        files.time_index_fd,
        base_offset=files.base_offset,
        next_offset=next_offset,
        size_bytes=position,
        index_bytes=count * _INDEX_ENTRY.size,
        time_index_bytes=time_count * _TIME_ENTRY.size,
        index_interval_bytes=index_interval_bytes,
        max_timestamp_ms=timestamp_ms,
        max_timestamp_offset=timestamp_offset,
        last_time_index_ms=timestamp_ms,
    )
    walk = adopt_batches(storage, files, writer, size_bytes, NO_CHECKSUMS)
    return None if walk.problem else OpenSegment(files, writer, walk)


def cut_time_index(
    storage: Storage, directory: str, segment: OpenSegment, index_interval_bytes: int
) -> OpenSegment | None:
    """The resumed segment, with a time index that ends where its writer's does; None as resume.

    Who was killed in a roll leaves the last entry of a segment that is not rolled now, or half of that entry, and
    nothing may ever be written in its place. As in rebuild, the file is replaced and not shortened.
    """
    files, kept_bytes = segment.files, segment.writer.time_index_bytes
    if storage.size_bytes(files.time_index_fd) <= kept_bytes:
        return segment
    path = segment_path(directory, files.base_offset, TIME_INDEX_SUFFIX)
    try:
        kept = storage.pread(files.time_index_fd, kept_bytes, 0)
        fresh = storage.open(path + REBUILD_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        old, files.time_index_fd = files.time_index_fd, fresh
        storage.close(old)
        storage.pwrite(fresh, kept, 0)
        storage.rename(path + REBUILD_SUFFIX, path)
    except OSError:
        files.close()
        raise
    return resume(storage, files, segment.writer.size_bytes, index_interval_bytes)


def resume_sealed(storage: Storage, files: SegmentFiles, index_interval_bytes: int) -> OpenSegment | None:
    """Like resume at the end of a segment that is not active any more, whose indexes must therefore be complete."""
    index_bytes = storage.size_bytes(files.index_fd)
    time_index_bytes = storage.size_bytes(files.time_index_fd)
    time_count = time_index_bytes // _TIME_ENTRY.size
    last = _time_entry(storage, files, time_count - 1) if time_count else None
    segment = resume(storage, files, storage.size_bytes(files.log_fd), index_interval_bytes)
    if segment is None:
        return None
    writer = segment.writer
    writer.append_final_time_index()
    fits = (index_bytes, time_index_bytes) == (writer.index_bytes, writer.time_index_bytes) and (
        last is None or last == (writer.max_timestamp_ms, writer.max_timestamp_offset - files.base_offset)
    )
    return segment if fits else None


def rebuild(
    storage: Storage,
    directory: str,
    base_offset: int,
    index_interval_bytes: int,
    crc_from_offset: int,
    end_position: int | None = None,
    dense_from_offset: int | None = None,
) -> OpenSegment:
    """Check a segment's batches from its beginning and make both indexes anew, under their old names.

    Stops at `end_position` or at the end of the file, or at the first batch that is not sound (see its `walk`; of
    `dense_from_offset` adopt_batches).

    The old index files are replaced, not shortened: readers may have them mapped.
    """
    files = SegmentFiles.open(storage, directory, base_offset, create=False)
    try:
        for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX):
            path = segment_path(directory, base_offset, suffix)
            fresh = storage.open(path + REBUILD_SUFFIX, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if suffix == INDEX_SUFFIX:
                old, files.index_fd = files.index_fd, fresh
            else:
                old, files.time_index_fd = files.time_index_fd, fresh
            storage.close(old)
        writer = SegmentWriter(
            files.log_fd,
            files.index_fd,
            files.time_index_fd,
            base_offset=base_offset,
            index_interval_bytes=index_interval_bytes,
        )
        if end_position is None:
            end_position = storage.size_bytes(files.log_fd)
        walk = adopt_batches(storage, files, writer, end_position, crc_from_offset, dense_from_offset)
        for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX):
            path = segment_path(directory, base_offset, suffix)
            storage.rename(path + REBUILD_SUFFIX, path)
    except (OSError, OverflowError):
        files.close()
        raise
    return OpenSegment(files, writer, walk)


def _index_entry(storage: Storage, files: SegmentFiles, number: int) -> tuple[int, int]:
    data = storage.pread(files.index_fd, _INDEX_ENTRY.size, number * _INDEX_ENTRY.size)
    relative, position = _INDEX_ENTRY.unpack(data)
    return relative, position


def _time_entry(storage: Storage, files: SegmentFiles, number: int) -> tuple[int, int]:
    data = storage.pread(files.time_index_fd, _TIME_ENTRY.size, number * _TIME_ENTRY.size)
    timestamp_ms, relative = _TIME_ENTRY.unpack(data)
    return timestamp_ms, relative


def _header_at(storage: Storage, files: SegmentFiles, position: int) -> BatchHeader | None:
    """The batch header at a byte of the log; None when there is none."""
    if position < 0:
        return None
    try:
        return BatchHeader.parse(storage.pread(files.log_fd, HEADER_BYTES, position))
    except CorruptRecordError:
        return None


def _find_batch(storage: Storage, files: SegmentFiles, index_count: int, last_offset: int) -> BatchHeader | None:
    """The batch that ends at `last_offset`, looked for where the offset index says; None when it is not there."""
    relative = last_offset - files.base_offset
    number = bisect_right(range(index_count), relative, key=lambda k: _index_entry(storage, files, k)[0])
    position = _index_entry(storage, files, number - 1)[1] if number else 0
    searched_from = position
    while position - searched_from <= FIND_BYTES_MAX:
        header = _header_at(storage, files, position)
        if header is None or header.last_offset > last_offset:
            return None
        if header.last_offset == last_offset:
            return header
        position += header.size_bytes
    return None

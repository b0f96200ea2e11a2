"""Looking for damage in segments that nobody writes to any more: every batch, and every entry of their indexes.

A disk may give back other bytes than it was given, years later. Readers notice when they come to them; this comes
first. What is read is dropped from the page cache before and after, so that it is the disk that is looked at, and
readers keep the cache for what they need. Nothing here changes a file: log/mending does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shmlog.errors import CorruptRecordError
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.dump import BATCH_BYTES_MAX, next_sound
from shmlog.log.segment import INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, segment_path
from shmlog.log.storage import Storage
from shmlog.native.scan import check_batches
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

CHUNK_BYTES = 1 << 20
_INDEX_ENTRY: Final = struct.Struct(">ii")
_TIME_ENTRY: Final = struct.Struct(">qi")

Pace = Callable[[int], None]
"""Told how many bytes are about to be read; returns when they may be."""


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment that is not its log's last: the next file begins with the offset `following`."""

    directory: str
    base_offset: int
    following: int

    def path(self, suffix: str = LOG_SUFFIX) -> str:
        return segment_path(self.directory, self.base_offset, suffix)


@dataclass(frozen=True, slots=True)
class Flaw:
    """From byte `position` on, a segment's file does not hold the batches that it should.

    They begin with `first_offset`; a sound one follows with `end_offset`, in this file or as the next one's first. For
    an index (see `suffix`) the offsets are the segment's, and `position` is 0.
    """

    segment: SealedSegment
    suffix: str
    position: int
    first_offset: int
    end_offset: int
    problem: str

    @property
    def path(self) -> str:
        return self.segment.path(self.suffix)


def sealed_segments(directory: str, base_offsets: list[int]) -> list[SealedSegment]:
    """All of a log's segments but the last one, which may be written to."""
    return [SealedSegment(directory, *pair) for pair in pairwise(base_offsets)]


def log_flaws(storage: Storage, segment: SealedSegment, pace: Pace) -> Iterator[Flaw]:
    """What is wrong with the batches of a segment: checksums, structure, offsets that are not dense.

    Raises FileNotFoundError when retention has taken it, OSError when the disk gives nothing back.
    """
    fd = storage.open(segment.path(), os.O_RDONLY)
    try:
        size_bytes = storage.size_bytes(fd)
        dense_from_offset = dense_from(storage, segment.directory)
        position, expected, size = 0, segment.base_offset, CHUNK_BYTES
        while position < size_bytes:
            asked = min(size, size_bytes - position)
            chunk = _from_disk(storage, fd, asked, position, pace)
            if len(chunk) < asked:
                size_bytes = position + len(chunk)
            valid, expected, wanted, problem = check_batches(chunk, expected, 0, dense_from_offset)
            position, size = position + valid, max(CHUNK_BYTES, wanted)
            if not problem and wanted > BATCH_BYTES_MAX:  # before so much is read
                problem = f"the batch claims {wanted} bytes"
            elif not problem and 0 < size_bytes - position < wanted:
                problem = "the file ends inside it"
            if not problem:
                continue
            # At this very byte, where one with a later offset follows; else one with this offset has another trouble.
            resumes_at = next_sound(fd, position, size_bytes, expected + 1)
            if resumes_at is None:
                yield Flaw(segment, LOG_SUFFIX, position, expected, segment.following, problem)
                return
            header = BatchHeader.parse(storage.pread(fd, HEADER_BYTES, resumes_at))
            yield Flaw(segment, LOG_SUFFIX, position, expected, header.base_offset, problem)
            position, expected, size = resumes_at, header.base_offset, CHUNK_BYTES
        if expected != segment.following and not expected < segment.following <= dense_from_offset:
            problem = f"it ends with offset {expected - 1}, and the next file begins with {segment.following}"
            yield Flaw(segment, LOG_SUFFIX, size_bytes, expected, segment.following, problem)
    finally:
        storage.close(fd)


def _from_disk(storage: Storage, fd: int, size_bytes: int, position: int, pace: Pace) -> bytes:
    pace(size_bytes)
    os.posix_fadvise(fd, position, size_bytes, os.POSIX_FADV_DONTNEED)  # what is dirty or in use by others stays
    chunk = storage.pread(fd, size_bytes, position)
    os.posix_fadvise(fd, position, size_bytes, os.POSIX_FADV_DONTNEED)
    return chunk


# --- indexes ----------------------------------------------------------------------------------------------------------


def index_flaws(storage: Storage, segment: SealedSegment) -> Iterator[Flaw]:
    """The first entry that does not lead to its batch, in the indexes of a segment whose log is sound.

    Readers look at the batch before they believe an entry, so this costs time, and never a record.
    """
    fd = storage.open(segment.path(), os.O_RDONLY)
    try:
        entries, problem = _read_index(storage, segment, INDEX_SUFFIX, _INDEX_ENTRY)
        number = -1 if problem else _first_wrong_offset(storage, segment, fd, entries)
        if number >= 0:
            problem = (
                f"entry {number} names byte {entries[number][1]} for offset {segment.base_offset + entries[number][0]}"
            )
        if problem:
            yield Flaw(segment, INDEX_SUFFIX, 0, segment.base_offset, segment.following, problem)
            return  # the other one is looked at with the help of this one
        times, problem = _read_index(storage, segment, TIME_INDEX_SUFFIX, _TIME_ENTRY)
        number = -1 if problem else _first_wrong_time(storage, segment, fd, times, entries)
        if number >= 0:
            problem = (
                f"entry {number} names time {times[number][0]} for offset {segment.base_offset + times[number][1]}"
            )
        if problem:
            yield Flaw(segment, TIME_INDEX_SUFFIX, 0, segment.base_offset, segment.following, problem)
    finally:
        storage.close(fd)


def _read_index(
    storage: Storage, segment: SealedSegment, suffix: str, entry: struct.Struct
) -> tuple[list[tuple[int, int]], str]:
    try:
        fd = storage.open(segment.path(suffix), os.O_RDONLY)
    except FileNotFoundError:
        return [], "it is missing"
    try:
        data = storage.pread(fd, storage.size_bytes(fd), 0)
    finally:
        storage.close(fd)
    ragged = len(data) % entry.size
    entries = [(first, second) for first, second in entry.iter_unpack(data[: len(data) - ragged])]
    return entries, f"its {len(data)} bytes are not whole entries of {entry.size}" if ragged else ""


def _first_wrong_offset(storage: Storage, segment: SealedSegment, fd: int, entries: list[tuple[int, int]]) -> int:
    """Which entry of an offset index is wrong; -1: none."""
    previous = -1
    for number, (relative, position) in enumerate(entries):
        header = _header_at(storage, fd, position)
        if relative <= previous or header is None or header.last_offset != segment.base_offset + relative:
            return number
        previous = relative
    return -1


def _first_wrong_time(
    storage: Storage, segment: SealedSegment, fd: int, times: list[tuple[int, int]], entries: list[tuple[int, int]]
) -> int:
    """Which entry of a time index is wrong; -1: none. From batch to batch, with the offset index's steps."""
    position, step, previous = 0, 0, -1
    for number, (timestamp_ms, relative) in enumerate(times):
        while step < len(entries) and entries[step][0] <= relative:
            position, step = max(position, entries[step][1]), step + 1
        header = _header_at(storage, fd, position)
        while header is not None and header.last_offset < segment.base_offset + relative:
            position += header.size_bytes
            header = _header_at(storage, fd, position)
        found = None if header is None else (header.last_offset - segment.base_offset, header.max_timestamp_ms)
        if timestamp_ms <= previous or found != (relative, timestamp_ms):
            return number
        previous = timestamp_ms
    return -1


def _header_at(storage: Storage, fd: int, position: int) -> BatchHeader | None:
    try:
        return BatchHeader.parse(storage.pread(fd, HEADER_BYTES, position)) if position >= 0 else None
    except CorruptRecordError:
        return None

"""Where a log ends that somebody may be writing, or has left in the middle of a write."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.errors import CorruptRecordError
from shmlog.log.cold_segment import ColdSegment
from shmlog.log.segment import OFFSET_MAX

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The offset after the last whole batch, and why what follows is none; "" if nothing but half a batch does."""

    offset: int
    problem: str


def find_end(segment: ColdSegment) -> LogEnd:
    """The end of the log whose last segment this is: its last index entry, and the batches after that.

    Half a batch at the end is still being written, and zeros up to the end of the file are room that Kafka took in
    advance (`log.preallocate`). Checksums are not looked at.
    """
    position, offset = segment.position_for(OFFSET_MAX), segment.base_offset
    try:
        for at, header in segment.headers(position):
            position, offset = at + header.size_bytes, header.next_offset
    except CorruptRecordError as error:
        return LogEnd(offset, "" if _is_zero_from(segment, position) else str(error))
    return LogEnd(offset, "")


def _is_zero_from(segment: ColdSegment, position: int) -> bool:
    while chunk := segment.pread(CHUNK_BYTES, position):
        if chunk.count(0) != len(chunk):
            return False
        position += len(chunk)
    return True

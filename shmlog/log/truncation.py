"""Cutting a follower's log back to what its leader's log has, and beginning it anew. Only while it is not open.

Nothing of it is damage: what goes was never acknowledged, or its leader has it no more. So the recovery point goes
first; an opening that finds less than that would otherwise take the rest for lost. Killed anywhere in between, the log
opens as a beginning of what it was, and is cut again. Indexes, snapshots and the marker of a clean end are left to the
opening, which believes none of them without a look.
"""

from __future__ import annotations

import os
from bisect import bisect_left

from shmlog.log.checkpoint import read_recovery_point, write_leader_epochs, write_recovery_point
from shmlog.log.cold_segment import ColdSegment
from shmlog.log.compaction_checkpoint import lower_first_dirty
from shmlog.log.log_start import lower_log_start, write_log_start
from shmlog.log.segment import (
    LOG_SUFFIX,
    SegmentFiles,
    for_each_file,
    list_base_offsets,
    segment_path,
)
from shmlog.log.storage import Storage
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

SET_ASIDE = ".set-aside-"
"""With the leader epoch behind it, what is added to the names of files whose records their leader does not know."""


def truncate(storage: Storage, directory: str, end_offset: int) -> None:
    """End the log at `end_offset`, or in front of the batch that holds it; at its first segment's base at the least.

    Durable when it returns. Raises OSError, CorruptRecordError if bytes before `end_offset` are no batches.
    """
    _lower_recovery_point(storage, directory, end_offset)
    lower_first_dirty(storage, directory, end_offset)
    bases = list_base_offsets(storage, directory)
    kept = max(1, bisect_left(bases, end_offset))
    for base_offset in reversed(bases[kept:]):
        for_each_file(directory, base_offset, storage.unlink)
    storage.fsync_dir(directory)
    position = batch_position(storage, directory, bases[kept - 1], end_offset)
    fd = storage.open(segment_path(directory, bases[kept - 1], LOG_SUFFIX), os.O_RDWR)
    try:
        if storage.size_bytes(fd) > position:
            storage.truncate(fd, position)
            storage.fdatasync(fd)
    finally:
        storage.close(fd)


def begin_anew(storage: Storage, directory: str, start_offset: int, set_aside: str = "") -> None:
    """Drop everything that the log holds; it is empty then, and begins at `start_offset`. Durable. Raises OSError.

    With `set_aside` the segments' bytes stay, under their names with this behind: for whoever may miss them.
    """
    lower_log_start(storage, directory, start_offset)
    _begin_at(storage, directory, start_offset, set_aside)


def forget(storage: Storage, directory: str, start_offset: int, end_offset: int) -> None:
    """begin_anew() of a log that ends at `end_offset`, and of which not even a beginning may stay: see replica_log.

    Until it is through, the log begins at its end, so that an opening finds nothing in it. Durable. Raises OSError.
    """
    write_log_start(storage, directory, end_offset)
    _begin_at(storage, directory, start_offset, "")
    lower_log_start(storage, directory, start_offset)


def _begin_at(storage: Storage, directory: str, start_offset: int, set_aside: str) -> None:
    _lower_recovery_point(storage, directory, 0)
    lower_first_dirty(storage, directory, 0)
    write_leader_epochs(storage, directory, [])
    for base_offset in reversed(list_base_offsets(storage, directory)):
        if set_aside:
            path = segment_path(directory, base_offset, LOG_SUFFIX)
            storage.rename(path, path + set_aside)
        for_each_file(directory, base_offset, storage.unlink)
        storage.fsync_dir(directory)  # before the next one: what is left never lacks its beginning
    SegmentFiles.open(storage, directory, start_offset, create=True).close()
    storage.fsync_dir(directory)


def _lower_recovery_point(storage: Storage, directory: str, end_offset: int) -> None:
    if read_recovery_point(storage, directory) > end_offset:
        write_recovery_point(storage, directory, end_offset)


def batch_position(storage: Storage, directory: str, base_offset: int, offset: int) -> int:
    """The byte of a segment at which the batch with `offset` begins; the file's end if it is not in there.

    Raises OSError, CorruptRecordError if bytes before it are no batches.
    """
    segment = ColdSegment(storage, directory, base_offset)
    try:
        position = segment.position_for(offset)
        while head := segment.pread(HEADER_BYTES, position):
            header = BatchHeader.parse(head)
            if header.next_offset > offset:
                break
            position += header.size_bytes
        return position
    finally:
        segment.close()

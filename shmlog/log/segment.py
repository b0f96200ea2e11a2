"""The files of one segment: their names, their descriptors, what is known about them."""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shmlog.log.storage import Storage

LOG_SUFFIX = ".log"
INDEX_SUFFIX = ".index"
TIME_INDEX_SUFFIX = ".timeindex"
SUFFIXES = (LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX)
"""The files of a segment, the one that matters first."""
SNAPSHOT_SUFFIX = ".snapshot"
DELETED_SUFFIX = ".deleted"
"""Renamed to this at once when retention drops a segment; the bytes go away after `file.delete.delay.ms`."""
REBUILD_SUFFIX = ".rebuild"
"""An index that is being rebuilt; renamed over the old one, because readers may have that mapped."""
CLEANED_SUFFIX = ".cleaned"
"""Of a file that compaction has made, to be put in the place of segments: see cleaned_suffix() and log/swap.py."""
REWRITE_SUFFIX = ".rewrite"
"""A file that takes the place of one whose sync failed; renamed over it."""

OFFSET_MAX = 2**63 - 1
SWAPPED_SUFFIX = ".swapped"
"""Behind the name of the compaction checkpoint that holds when segments were swapped."""
NAME_DIGITS = 20
"""Of a base offset in a file name."""


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What retention needs to know of a segment. The last one listed is active."""

    base_offset: int
    size_bytes: int
    max_timestamp_ms: int
    """Largest record timestamp, -1 in an empty segment; the file's own time if no record has one."""
    created_ms: int
    """Wall clock when it was begun; after a restart the best estimate: its first record's time or the file's."""
    path: str
    """Of the `.log` file."""


def segment_path(directory: str, base_offset: int, suffix: str) -> str:
    """Path of one of a segment's files: 20 digits and a suffix."""
    return os.path.join(directory, f"{base_offset:020d}{suffix}")


def cleaned_suffix(suffix: str, cleaning: int) -> str:
    """Of what cleaning number `cleaning` has made, to become a file with that suffix."""
    return f"{suffix}.{cleaning}{CLEANED_SUFFIX}"


def for_each_file(directory: str, base_offset: int, act: Callable[[str], None]) -> None:
    """The log first: without it nobody looks at the indexes. Files that are not there are passed over."""
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            act(segment_path(directory, base_offset, suffix))


def base_offset_of(file_name: str, suffix: str) -> int | None:
    """The base offset in a file name with that suffix; None for any other file, and for a number that is no offset."""
    found = offsets_of([file_name[:NAME_DIGITS]]) if file_name[NAME_DIGITS:] == suffix else []
    return found[0] if found else None


def offsets_of(stems: Iterable[str]) -> list[int]:
    """The offsets that stand in front of the suffixes of file names, ascending, without numbers that are no offsets."""
    found = [int(stem) for stem in stems if stem.isdigit() and stem.isascii() and len(stem) == NAME_DIGITS]
    found.sort()
    del found[bisect_right(found, OFFSET_MAX) :]
    return found


def list_base_offsets(storage: Storage, directory: str, suffix: str = LOG_SUFFIX) -> list[int]:
    """Base offsets of all segments of a partition directory, ascending."""
    return offsets_of([name[:NAME_DIGITS] for name in storage.listdir(directory) if name[NAME_DIGITS:] == suffix])


def synced_count(base_offsets: Sequence[int], recovery_point: int) -> int:
    """How many of a log's segments, the active one not counted, hold nothing beyond the recovery point."""
    return max(0, bisect_right(base_offsets, recovery_point) - 1)


def log_file_bytes(storage: Storage, directory: str, base_offset: int) -> int:
    """Size of a segment's log file. Raises OSError."""
    fd = storage.open(segment_path(directory, base_offset, LOG_SUFFIX), os.O_RDONLY)
    try:
        return storage.size_bytes(fd)
    finally:
        storage.close(fd)


@dataclass(slots=True)
class SegmentFiles:
    """Open descriptors of one segment, closed by `close`."""

    storage: Storage
    directory: str
    base_offset: int
    log_fd: int
    index_fd: int
    time_index_fd: int

    @classmethod
    def open(cls, storage: Storage, directory: str, base_offset: int, *, create: bool) -> SegmentFiles:
        """Open the three files for reading and writing; indexes that are missing are created empty.

        With `create` the log is created too; a leftover of an earlier attempt that never got a byte is taken over, one
        with bytes raises FileExistsError. On an error nothing stays open.
        """
        fds: list[int] = []
        try:
            for suffix in SUFFIXES:
                flags = os.O_RDWR
                if create or suffix != LOG_SUFFIX:
                    flags |= os.O_CREAT
                fds.append(storage.open(segment_path(directory, base_offset, suffix), flags))
                if create and storage.size_bytes(fds[-1]):
                    if suffix == LOG_SUFFIX:
                        raise FileExistsError(f"{segment_path(directory, base_offset, suffix)} already holds batches")
                    storage.truncate(fds[-1], 0)
        except OSError:
            for fd in fds:
                storage.close(fd)
            raise
        return cls(storage, directory, base_offset, *fds)

    def sync(self) -> None:
        """fdatasync of all three."""
        for fd in (self.log_fd, self.index_fd, self.time_index_fd):
            self.storage.fdatasync(fd)

    def close(self) -> None:
        for fd in (self.log_fd, self.index_fd, self.time_index_fd):
            self.storage.close(fd)

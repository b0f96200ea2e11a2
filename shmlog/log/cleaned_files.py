"""Files that compaction writes beside a segment's, for whoever owns the directory to put in its place.

    00000000000000000000.log.7.cleaned .index.7.cleaned .timeindex.7.cleaned

They have the base offset of the first segment that they stand for, and the number of their cleaning, so that no two
cleanings ever have a file in common; nobody reads them under these names. Those of a cleaning that was broken off mean
nothing: whoever writes the log removes them.

    cleaning.7.cleaned

is there, empty, from before the cleaning reads anything. Whoever opens the log removes it with the others, so it says
that the log was not cut, nor begun anew, since then: what comes in such a place may have the same offsets and sizes.
"""

from __future__ import annotations

import contextlib
import os

from shmlog.log.segment import SUFFIXES, SegmentFiles, cleaned_suffix, segment_path
from shmlog.log.storage import Storage


def cleaned_path(directory: str, base_offset: int, suffix: str, cleaning: int) -> str:
    """Path of a cleaned segment's log or index before it is in its place; `suffix` as of the segment's own file."""
    return segment_path(directory, base_offset, cleaned_suffix(suffix, cleaning))


def mark_path(directory: str, cleaning: int) -> str:
    """Path of the file that says that the log was not opened again since the cleaning began."""
    return os.path.join(directory, cleaned_suffix("cleaning", cleaning))


def create_mark(storage: Storage, directory: str, cleaning: int) -> None:
    """Before anything is read. Raises OSError, FileExistsError if the number was used before."""
    storage.close(storage.open(mark_path(directory, cleaning), os.O_RDWR | os.O_CREAT | os.O_EXCL))


def remove_mark(storage: Storage, directory: str, cleaning: int) -> None:
    """After a cleaning that comes to nothing."""
    with contextlib.suppress(FileNotFoundError):
        storage.unlink(mark_path(directory, cleaning))


def create_cleaned(storage: Storage, directory: str, base_offset: int, cleaning: int) -> SegmentFiles:
    """Three new empty files. Raises FileExistsError if the number was used before; on an error nothing stays open."""
    fds: list[int] = []
    try:
        for suffix in SUFFIXES:
            path = cleaned_path(directory, base_offset, suffix, cleaning)
            fds.append(storage.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    except OSError:
        for fd in fds:
            storage.close(fd)
        raise
    return SegmentFiles(storage, directory, base_offset, *fds)


def remove_cleaned(storage: Storage, directory: str, base_offset: int, cleaning: int) -> None:
    """Remove a cleaned segment that is not wanted, as far as it is there."""
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            storage.unlink(cleaned_path(directory, base_offset, suffix, cleaning))

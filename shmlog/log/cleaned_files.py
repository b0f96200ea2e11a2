"""Files that compaction writes beside a segment's, for whoever owns the directory to put in its place.

    00000000000000000000.log.cleaned .index.cleaned .timeindex.cleaned

They have the base offset of the first segment that they stand for, and nobody reads them under these names. Those of a
cleaning that was broken off mean nothing: whoever opens the log, and the next cleaning, removes them.
"""

from __future__ import annotations

import contextlib
import os

from shmlog.log.segment import CLEANED_SUFFIX, SUFFIXES, SegmentFiles, segment_path
from shmlog.log.storage import Storage


def cleaned_path(directory: str, base_offset: int, suffix: str) -> str:
    """Path of a cleaned segment's log or index before it is in its place; `suffix` as of the segment's own file."""
    return segment_path(directory, base_offset, suffix) + CLEANED_SUFFIX


def create_cleaned(storage: Storage, directory: str, base_offset: int) -> SegmentFiles:
    """Three new empty files; what a cleaning before left under their names goes. On an error nothing stays open."""
    remove_cleaned(storage, directory, base_offset)
    fds: list[int] = []
    try:
        for suffix in SUFFIXES:
            path = cleaned_path(directory, base_offset, suffix)
            fds.append(storage.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    except OSError:
        for fd in fds:
            storage.close(fd)
        raise
    return SegmentFiles(storage, directory, base_offset, *fds)


def remove_cleaned(storage: Storage, directory: str, base_offset: int) -> None:
    """Remove a cleaned segment that is not wanted, as far as it is there."""
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            storage.unlink(cleaned_path(directory, base_offset, suffix))

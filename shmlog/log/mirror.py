"""A log's segment files copied into another directory, byte for byte, and what of a directory is sound.

Only the `.log` files: whoever opens a copy as a partition makes the indexes anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from shmlog.log.segment import LOG_SUFFIX, REWRITE_SUFFIX, list_base_offsets, log_file_bytes, segment_path
from shmlog.log.storage import Storage
from shmlog.native.scan import check_batches

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SoundLog:
    """What a replay of the log in `directory` from offset 0 can reach: whole batches with right checksums and dense
    offsets. `sizes`: bytes of each segment by base offset, ascending; a segment without any is left out."""

    directory: str
    sizes: dict[int, int]
    end_offset: int


def look_for_sound(storage: Storage, directory: str) -> SoundLog:
    """Read all of it. A directory that is not there has nothing. Raises OSError."""
    sizes: dict[int, int] = {}
    expected = 0
    try:
        bases = list_base_offsets(storage, directory)
    except FileNotFoundError:
        bases = []
    for base_offset in bases:
        if base_offset != expected:
            break
        size_bytes, expected, is_whole = _sound_bytes(storage, directory, base_offset)
        if size_bytes:
            sizes[base_offset] = size_bytes
        if not is_whole:
            break
    return SoundLog(directory, sizes, expected)


def _sound_bytes(storage: Storage, directory: str, base_offset: int) -> tuple[int, int, bool]:
    """Of one segment: sound bytes, the offset after them, whether that is all of it."""
    fd = storage.open(segment_path(directory, base_offset, LOG_SUFFIX), os.O_RDONLY)
    try:
        position, expected, wanted, end = 0, base_offset, CHUNK_BYTES, storage.size_bytes(fd)
        while position < end:
            chunk = storage.pread(fd, min(wanted, end - position), position)
            valid, expected, needed, problem = check_batches(chunk, expected, 0)
            position += valid
            if problem or (valid == 0 and len(chunk) == end - position) or not chunk:
                break
            wanted = max(CHUNK_BYTES, needed)
        return position, expected, position == end
    finally:
        storage.close(fd)


def first_difference(storage: Storage, one: SoundLog, other: SoundLog) -> str:
    """ "" if one of the two is how the other begins; else the file of `one` in which they differ. Raises OSError."""
    shorter, longer = (one, other) if one.end_offset <= other.end_offset else (other, one)
    last = max(shorter.sizes, default=0)
    for base_offset, size_bytes in shorter.sizes.items():
        there = longer.sizes.get(base_offset, 0)
        is_as_long = size_bytes == there or (base_offset == last and size_bytes < there)
        if not is_as_long or not _is_same(storage, shorter, longer, base_offset, size_bytes):
            return segment_path(one.directory, base_offset, LOG_SUFFIX)
    return ""


def _is_same(storage: Storage, one: SoundLog, other: SoundLog, base_offset: int, size_bytes: int) -> bool:
    fds: list[int] = []
    try:
        paths = [segment_path(log.directory, base_offset, LOG_SUFFIX) for log in (one, other)]
        fds.extend(storage.open(path, os.O_RDONLY) for path in paths)
        for at in range(0, size_bytes, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size_bytes - at)
            if storage.pread(fds[0], length, at) != storage.pread(fds[1], length, at):
                return False
        return True
    finally:
        for fd in fds:
            storage.close(fd)


class Mirror:
    """Brings what one directory has into another. `sizes`: what of it is there already, as SoundLog says.

    Bytes that are there beyond that are written over where the source has some, and stay where it has none.
    """

    def __init__(self, storage: Storage, source: str, target: str, sizes: dict[int, int]) -> None:
        self._storage = storage
        self._source = source
        self._target = target
        self._sizes = dict(sizes)
        self._suspect: int | None = None  # the segment over which the disk refused: no sync of that file is believed

    def bring(self, active_base_offset: int, active_bytes: int) -> None:
        """Copy up to this point of the source, durably. Raises OSError; it may be called again then."""
        if self._storage.mkdir(self._target):
            self._storage.fsync_dir(os.path.dirname(self._target))
        for base_offset in list_base_offsets(self._storage, self._source):
            if base_offset > active_base_offset:
                break
            size_bytes = active_bytes
            if base_offset < active_base_offset:
                size_bytes = log_file_bytes(self._storage, self._source, base_offset)
            if self._suspect == base_offset:
                self._write(base_offset, REWRITE_SUFFIX, 0, size_bytes)
            elif self._sizes.get(base_offset, 0) < size_bytes:
                self._suspect = base_offset
                self._write(base_offset, "", self._sizes.get(base_offset, 0), size_bytes)
            self._suspect = None
            self._sizes[base_offset] = size_bytes

    def _write(self, base_offset: int, suffix: str, start: int, end: int) -> None:
        """Bytes start..end of a segment, into its file or, with a suffix, into another one that takes its place."""
        path = segment_path(self._target, base_offset, LOG_SUFFIX)
        source = self._storage.open(segment_path(self._source, base_offset, LOG_SUFFIX), os.O_RDONLY)
        try:
            flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if suffix else 0)
            target = self._storage.open(path + suffix, flags)
            try:
                for at in range(start, end, CHUNK_BYTES):
                    self._storage.pwrite(target, self._storage.pread(source, min(CHUNK_BYTES, end - at), at), at)
                self._storage.fdatasync(target)
            finally:
                self._storage.close(target)
        finally:
            self._storage.close(source)
        if suffix:
            self._storage.rename(path + suffix, path)
        if start == 0:
            self._storage.fsync_dir(self._target)

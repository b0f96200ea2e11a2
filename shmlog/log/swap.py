"""Putting compacted segments in the place of those that they were made from.

check      that nothing has changed since, and that all of it is on the disk
note       what is to be done, in `compaction-swap`; from here on the next opening finishes it
rename     each `.cleaned` file over the oldest segment that it stands for, the log before its indexes
sync       the directory
drop       the other segments that it stands for
note       how far the log is compacted, and that there is nothing more to do

A log never lacks what it holds: the new file is there before any old one goes, and a reader that comes in between finds
the same record in one of them, by offset (see log/cold.py). Only who has the log open for writing does this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from shmlog.errors import StorageError
from shmlog.log.checkpoint import VERSION, read_numbers
from shmlog.log.compaction_checkpoint import (
    CompactionCheckpoint,
    read_compaction_checkpoint,
    write_compaction_checkpoint,
)
from shmlog.log.segment import CLEANED_SUFFIX, LOG_SUFFIX, SUFFIXES, for_each_file, log_file_bytes, segment_path
from shmlog.log.storage import Storage, replace_file

NOTE = "compaction-swap"


@dataclass(frozen=True, slots=True)
class CleanedGroup:
    """A compacted segment: the base offsets and log sizes (bytes) of those that it stands for, oldest first.

    It has the base offset of the first one, and `size_bytes` itself.
    """

    base_offsets: tuple[int, ...]
    sizes_bytes: tuple[int, ...]
    size_bytes: int

    @property
    def base_offset(self) -> int:
        return self.base_offsets[0]


@dataclass(frozen=True, slots=True)
class CleanedSegments:
    """What a cleaning has made of a log, whose segments before `first_dirty_offset` have each key at most once then."""

    groups: tuple[CleanedGroup, ...]
    first_dirty_offset: int
    delete_horizon_ms: int = 0
    """As in CompactionCheckpoint."""


def require_same(
    storage: Storage, directory: str, cleaned: CleanedSegments, base_offsets: Sequence[int], synced_offset: int
) -> None:
    """Raise StorageError, which says what is different, unless `cleaned` fits the log as it is.

    `base_offsets` are all its segments', the active one's last; what is before `synced_offset` is on the disk.
    """
    if cleaned.first_dirty_offset > min(synced_offset, base_offsets[-1]):
        raise StorageError(
            f"{directory} was cleaned up to offset {cleaned.first_dirty_offset}, and what can be replaced ends at"
            f" {min(synced_offset, base_offsets[-1])}: clean it again later"
        )
    for group in cleaned.groups:
        number = base_offsets.index(group.base_offset) if group.base_offset in base_offsets else -1
        there = tuple(base_offsets[number : number + len(group.base_offsets)]) if number >= 0 else ()
        if there != group.base_offsets or there[-1] >= base_offsets[-1]:
            raise StorageError(
                f"{directory} has no segments {', '.join(map(str, group.base_offsets))} in a row any more:"
                " clean it again"
            )
        sizes = tuple(log_file_bytes(storage, directory, base_offset) for base_offset in group.base_offsets)
        if sizes != group.sizes_bytes:
            raise StorageError(
                f"the segments from {group.base_offset} on in {directory} have {sizes} bytes, and had"
                f" {group.sizes_bytes} when they were cleaned: clean them again"
            )
        _check_cleaned(storage, directory, group)


def _check_cleaned(storage: Storage, directory: str, group: CleanedGroup) -> None:
    for suffix in SUFFIXES:
        path = segment_path(directory, group.base_offset, suffix + CLEANED_SUFFIX)
        try:
            fd = storage.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise StorageError(f"{path} is not there: the log was opened again meanwhile; clean it again") from None
        try:
            size_bytes = storage.size_bytes(fd)
        finally:
            storage.close(fd)
        if suffix == LOG_SUFFIX and size_bytes != group.size_bytes:
            raise StorageError(f"{path} has {size_bytes} bytes, not {group.size_bytes}: clean the log again")


def swap(storage: Storage, directory: str, cleaned: CleanedSegments, drop: Callable[[int], None] | None = None) -> None:
    """Put the files of `cleaned`, which was checked, in their places. Durable when it returns.

    `drop` takes a segment's files out of the log, so that readers keep them for a while; without it they go at once.
    Raises OSError; then the log is to be opened again, which finishes it.
    """
    before = read_compaction_checkpoint(storage, directory)
    dense_from_offset = max(before.dense_from_offset, cleaned.first_dirty_offset)
    if dense_from_offset > before.dense_from_offset:
        write_compaction_checkpoint(storage, directory, replace(before, dense_from_offset=dense_from_offset))
    replace_file(
        storage, os.path.join(directory, NOTE), _encode(cleaned)
    )  # makes the cleaned files' names durable, too
    _carry_out(storage, directory, cleaned, drop)


def finish(storage: Storage, directory: str) -> str:
    """Before a log is opened: finish what the owner before had begun; says so in a sentence, "" if there is nothing.

    Raises OSError.
    """
    cleaned = _decode(read_numbers(storage, os.path.join(directory, NOTE)))
    if cleaned is None:
        return ""
    _carry_out(storage, directory, cleaned, None)
    return f"finished putting {len(cleaned.groups)} compacted segments in their places"


def _carry_out(storage: Storage, directory: str, cleaned: CleanedSegments, drop: Callable[[int], None] | None) -> None:
    for group in cleaned.groups:
        for suffix in SUFFIXES:
            path = segment_path(directory, group.base_offset, suffix)
            with contextlib.suppress(FileNotFoundError):  # it has its place already
                storage.rename(path + CLEANED_SUFFIX, path)
    storage.fsync_dir(directory)
    for group in cleaned.groups:
        for base_offset in group.base_offsets[1:]:
            if drop is None:
                for_each_file(directory, base_offset, storage.unlink)
            else:
                drop(base_offset)
    storage.fsync_dir(directory)
    now = read_compaction_checkpoint(storage, directory)
    after = CompactionCheckpoint(cleaned.first_dirty_offset, now.dense_from_offset, cleaned.delete_horizon_ms)
    write_compaction_checkpoint(storage, directory, after)
    storage.unlink(os.path.join(directory, NOTE))
    storage.fsync_dir(directory)


def _encode(cleaned: CleanedSegments) -> bytes:
    lines = [f"{VERSION}", f"{cleaned.first_dirty_offset} {cleaned.delete_horizon_ms} {len(cleaned.groups)}"]
    lines += [_line(group.base_offsets) for group in cleaned.groups]
    return ("\n".join(lines) + "\n").encode()


def _line(base_offsets: Iterable[int]) -> str:
    numbers = [str(base_offset) for base_offset in base_offsets]
    return " ".join([str(len(numbers)), *numbers])


def _decode(numbers: list[int]) -> CleanedSegments | None:
    if len(numbers) < 3:
        return None
    first_dirty_offset, delete_horizon_ms, count, *rest = numbers
    groups: list[CleanedGroup] = []
    while rest and len(groups) < count:
        bases = tuple(rest[1 : 1 + rest[0]])
        if not bases or len(bases) < rest[0]:
            return None
        groups.append(CleanedGroup(bases, (), 0))
        rest = rest[1 + rest[0] :]
    is_whole = len(groups) == count and not rest
    return CleanedSegments(tuple(groups), first_dirty_offset, delete_horizon_ms) if is_whole else None

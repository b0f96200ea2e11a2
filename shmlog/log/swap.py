"""Putting compacted segments in the place of those that they were made from.

check      that nothing has changed since, and that all of it is on the disk
note       what is to be done, in `compaction-swap`; from here on the next opening finishes it
rename     each cleaned file over the oldest segment that it stands for, the log before its indexes
sync       the directory
drop       the other segments that it stands for
note       how far the log is compacted, and that there is nothing more to do

A log never lacks what it holds: the new file is there before any old one goes, and a reader that comes in between finds
the same record in one of them, by offset (see log/cold.py). Only who has the log open for writing does this. Cleaned
files carry the number of their cleaning in their names: an order that comes late, from a worker that was stopped, finds
its own files or none. Nobody but the writer of the log removes such files, so none vanishes in the middle.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import VERSION, read_numbers
from shmlog.log.cleaned_files import mark_path
from shmlog.log.compaction_checkpoint import (
    COMPACTION_CHECKPOINT,
    CompactionCheckpoint,
    read_compaction_checkpoint,
    write_compaction_checkpoint,
)
from shmlog.log.segment import (
    CLEANED_SUFFIX,
    LOG_SUFFIX,
    SUFFIXES,
    SWAPPED_SUFFIX,
    cleaned_suffix,
    for_each_file,
    log_file_bytes,
    segment_path,
)
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

    cleaning: int
    """The number in the names of its files, which no other cleaning has."""
    groups: tuple[CleanedGroup, ...]
    cleaned_from: int
    """The first dirty offset before: a log that was compacted otherwise since is not the one that was cleaned."""
    first_dirty_offset: int
    delete_horizon_ms: int = 0
    """As in CompactionCheckpoint."""


def swap(
    storage: Storage,
    directory: str,
    cleaned: CleanedSegments,
    base_offsets: Sequence[int],
    synced_offset: int,
    drop: Callable[[int], None],
) -> None:
    """All of it. `base_offsets`, `synced_offset` as for require_same(), `drop` as for carry_out().

    Raises StorageError, and has changed nothing; after an OSError the log is to be opened again.
    """
    try:
        require_same(storage, directory, cleaned, base_offsets, synced_offset)
        prepare(storage, directory, cleaned)
    except StorageError:
        remove_cleaned(storage, directory)
        raise
    carry_out(storage, directory, cleaned, drop)
    remove_cleaned(storage, directory)


def require_same(
    storage: Storage, directory: str, cleaned: CleanedSegments, base_offsets: Sequence[int], synced_offset: int
) -> None:
    """Raise StorageError, which says what is different, unless `cleaned` fits the log as it is.

    `base_offsets` are all its segments', the active one's last; what is before `synced_offset` is on the disk.
    """
    now = read_compaction_checkpoint(storage, directory)
    if now.first_dirty_offset != cleaned.cleaned_from:
        raise StorageError(
            f"{directory} was compacted up to offset {now.first_dirty_offset}, and up to {cleaned.cleaned_from} when it"
            " was cleaned: clean it again"
        )
    if cleaned.first_dirty_offset > min(synced_offset, base_offsets[-1]):
        raise StorageError(
            f"{directory} was cleaned up to offset {cleaned.first_dirty_offset}, and what can be replaced ends at"
            f" {min(synced_offset, base_offsets[-1])}: clean it again later"
        )
    _require_there(storage, mark_path(directory, cleaned.cleaning))
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
        _check_cleaned(storage, directory, group, cleaned.cleaning)


def _check_cleaned(storage: Storage, directory: str, group: CleanedGroup, cleaning: int) -> None:
    for suffix in SUFFIXES:
        path = segment_path(directory, group.base_offset, cleaned_suffix(suffix, cleaning))
        size_bytes = _require_there(storage, path)
        if suffix == LOG_SUFFIX and size_bytes != group.size_bytes:
            raise StorageError(f"{path} has {size_bytes} bytes, not {group.size_bytes}: clean the log again")


def _require_there(storage: Storage, path: str) -> int:
    """The file's size; StorageError without it."""
    try:
        fd = storage.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise StorageError(f"{path} is not there: the log was opened again meanwhile; clean it again") from None
    try:
        return storage.size_bytes(fd)
    finally:
        storage.close(fd)


def prepare(storage: Storage, directory: str, cleaned: CleanedSegments) -> None:
    """Note what is to be done with `cleaned`, which was checked. Raises StorageError; then the log stays as it is.

    What takes room on the disk is done here, so that `carry_out` does not find it full.
    """
    try:
        _note(storage, directory, cleaned)
    except OSError as error:
        raise StorageError(f"what compaction has made of {directory} cannot be used now: {error}") from error


def _note(storage: Storage, directory: str, cleaned: CleanedSegments) -> None:
    before = read_compaction_checkpoint(storage, directory)
    dense_from_offset = max(before.dense_from_offset, cleaned.first_dirty_offset)
    if dense_from_offset > before.dense_from_offset:
        write_compaction_checkpoint(storage, directory, replace(before, dense_from_offset=dense_from_offset))
    after = CompactionCheckpoint(cleaned.first_dirty_offset, dense_from_offset, cleaned.delete_horizon_ms)
    write_compaction_checkpoint(storage, directory, after, SWAPPED_SUFFIX)
    replace_file(storage, os.path.join(directory, NOTE), _encode(cleaned))  # and makes the cleaned files' names durable


def carry_out(
    storage: Storage, directory: str, cleaned: CleanedSegments, drop: Callable[[int], None] | None = None
) -> None:
    """Put the files of `cleaned`, which was prepared, in their places. Durable when it returns.

    `drop` takes a segment's files out of the log, so that readers keep them for a while; without it they go at once.
    Raises OSError; then the log is to be opened again, which finishes it.
    """
    for group in cleaned.groups:
        for suffix in SUFFIXES:
            made = segment_path(directory, group.base_offset, cleaned_suffix(suffix, cleaned.cleaning))
            with contextlib.suppress(FileNotFoundError):  # it has its place already
                storage.rename(made, segment_path(directory, group.base_offset, suffix))
    storage.fsync_dir(directory)
    for group in cleaned.groups:
        for base_offset in group.base_offsets[1:]:
            if drop is None:
                for_each_file(directory, base_offset, storage.unlink)
            else:
                drop(base_offset)
    checkpoint = os.path.join(directory, COMPACTION_CHECKPOINT)
    with contextlib.suppress(FileNotFoundError):
        storage.rename(checkpoint + SWAPPED_SUFFIX, checkpoint)
    storage.fsync_dir(directory)
    storage.unlink(os.path.join(directory, NOTE))
    storage.fsync_dir(directory)


def finish(storage: Storage, directory: str) -> str:
    """Before a log is opened: finish what the owner before had prepared; says so in a sentence, "" if it had nothing.

    Raises OSError, CorruptRecordError if the disk has damaged the note: segments may be in their places already that
    stand for others which are still there, and that would be taken for damage of the log.
    """
    note = os.path.join(directory, NOTE)
    try:
        storage.close(storage.open(note, os.O_RDONLY))
    except FileNotFoundError:
        return ""
    cleaned = _decode(read_numbers(storage, note))
    if cleaned is None:
        raise CorruptRecordError(
            f"{note} is damaged, and says which segments compaction was replacing in this log: take it from a copy of"
            " the directory; or move the directory away, if the topic has another replica; or remove the file: then"
            " what does not fit together is cut off, and kept in files *.damaged"
        )
    carry_out(storage, directory, cleaned)
    return f"finished putting {len(cleaned.groups)} compacted segments in their places"


def remove_cleaned(storage: Storage, directory: str) -> None:
    """Remove what cleanings left that were refused, or died. Raises OSError."""
    for name in storage.listdir(directory):
        if name.endswith(CLEANED_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                storage.unlink(os.path.join(directory, name))


def _encode(cleaned: CleanedSegments) -> bytes:
    lines = [f"{VERSION}", f"{cleaned.cleaning} {len(cleaned.groups)}"]
    lines += [_line(group.base_offsets) for group in cleaned.groups]
    return ("\n".join(lines) + "\n").encode()


def _line(base_offsets: Iterable[int]) -> str:
    numbers = [str(base_offset) for base_offset in base_offsets]
    return " ".join([str(len(numbers)), *numbers])


def _decode(numbers: list[int]) -> CleanedSegments | None:
    """As far as carry_out needs it."""
    if len(numbers) < 2:
        return None
    cleaning, count, *rest = numbers
    groups: list[CleanedGroup] = []
    while rest and len(groups) < count:
        bases = tuple(rest[1 : 1 + rest[0]])
        if not bases or len(bases) < rest[0]:
            return None
        groups.append(CleanedGroup(bases, (), 0))
        rest = rest[1 + rest[0] :]
    return CleanedSegments(cleaning, tuple(groups), 0, 0) if len(groups) == count and not rest else None

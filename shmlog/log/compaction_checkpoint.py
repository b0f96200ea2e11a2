"""How far compaction has come in one replica's log, and where that log may have holes: `compaction-checkpoint`.

0\\n<first dirty offset> <dense from offset> <delete horizon ms>\\n

Each replica has its own, because each is cleaned by itself. A log without the file was never cleaned.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.log.storage import Storage, read_file, replace_file

COMPACTION_CHECKPOINT = "compaction-checkpoint"
VERSION = 0
_FIELDS = 3
_DIGITS_MAX = 18
"""No offset and no time has more; a longer number is damage."""


@dataclass(frozen=True, slots=True)
class CompactionCheckpoint:
    """What is known of a log's compaction. Offsets count records, times milliseconds since 1970."""

    first_dirty_offset: int
    """Everything before it was cleaned: of each key at most one record is there."""
    dense_from_offset: int
    """Before it offsets may be missing: between batches, inside them, at the end of a segment. From here on a missing
    offset is damage. Written before the first cleaned segment takes its place, so it may be ahead of the other one."""
    delete_horizon_ms: int = 0
    """When the youngest of the tombstones before `first_dirty_offset` may go; 0: there are none."""


NEVER_CLEANED = CompactionCheckpoint(0, 0)


def read_compaction_checkpoint(storage: Storage, directory: str) -> CompactionCheckpoint:
    """What the file says; NEVER_CLEANED when there is none.

    Raises ForeignVersionError for another version, and CorruptRecordError, naming the file, for anything that is not
    this format: without it nobody can tell the holes that cleaning left from lost records.
    """
    path = os.path.join(directory, COMPACTION_CHECKPOINT)
    try:
        words = read_file(storage, path).split()
    except FileNotFoundError:
        return NEVER_CLEANED
    if not all(word.isdigit() and len(word) <= _DIGITS_MAX for word in words) or not words:
        raise _damaged(path)
    version, *numbers = (int(word) for word in words)
    if version != VERSION:
        raise ForeignVersionError(f"{path} has version {version}, this shmlog reads version {VERSION}")
    if len(numbers) != _FIELDS:
        raise _damaged(path)
    return CompactionCheckpoint(*numbers)


def dense_from(storage: Storage, directory: str) -> int:
    """Before this offset holes are compaction's, from there on damage. Raises as read_compaction_checkpoint."""
    return read_compaction_checkpoint(storage, directory).dense_from_offset


def write_compaction_checkpoint(
    storage: Storage, directory: str, checkpoint: CompactionCheckpoint, suffix: str = ""
) -> None:
    """Durable when it returns; a crash leaves the old file or this one. `suffix`: behind the file's name."""
    offsets = f"{checkpoint.first_dirty_offset} {checkpoint.dense_from_offset} {checkpoint.delete_horizon_ms}"
    replace_file(storage, os.path.join(directory, COMPACTION_CHECKPOINT + suffix), f"{VERSION}\n{offsets}\n".encode())


def lower_first_dirty(storage: Storage, directory: str, end_offset: int) -> None:
    """The log ends at `end_offset` now: what comes there instead is dirty. Durable when it returns.

    Holes stay allowed as far as they were, for what is killed in between.
    """
    now = read_compaction_checkpoint(storage, directory)
    if now.first_dirty_offset > end_offset:
        write_compaction_checkpoint(storage, directory, replace(now, first_dirty_offset=end_offset))


def _damaged(path: str) -> CorruptRecordError:
    return CorruptRecordError(
        f"{path} is damaged, and says which offsets compaction removed from this log; write it again by hand: "
        f'"{VERSION}", and on the next line "0 N 0", N being the base offset of the newest segment'
    )

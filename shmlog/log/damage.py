"""What a recovery cut away although it had been on the disk: kept aside and written down until a person has seen it.

    00000000000000000010.log.damaged     the segment as it was, before it was cut
    00000000000000000014.json.damaged    the note: which offsets are gone, why, and where what is left of them is kept

Damage in a segment that is not the last one is left in place. The note of it is told for as long as the segment lasts.
Removing a partition's *.damaged files says that it was seen; nothing else ever removes them but deleting the topic.
"""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import orjson

from shmlog.log.segment import LOG_SUFFIX, segment_path
from shmlog.log.storage import Storage, replace_file

DAMAGED_SUFFIX = ".damaged"
NOTE_SUFFIX = ".json" + DAMAGED_SUFFIX
COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Offsets from `first_offset` up to, not including, `end_offset` had reached the disk and are gone.

    `dropped_bytes` were cut off; `kept` are the names of the files that still have them: copies beside the log, or the
    segment itself where nothing was cut. `found_ms` is wall time.
    """

    first_offset: int
    end_offset: int
    dropped_bytes: int
    kept: tuple[str, ...]
    reason: str
    found_ms: int

    @property
    def is_in_place(self) -> bool:
        """Whether nothing was cut: the damage is still in the log."""
        return bool(self.kept) and not any(name.endswith(DAMAGED_SUFFIX) for name in self.kept)


def keep_aside(storage: Storage, directory: str, base_offsets: Iterable[int]) -> tuple[str, ...]:
    """Copy logs before they are cut, durably, so that a person can still save what is sound behind the damage.

    Returns the names of the copies. A copy that begins with all that is there now is not made again: a recovery that
    was killed while it cut would otherwise put what it left in the place of what there was.
    """
    names = tuple(_keep(storage, directory, base_offset) for base_offset in base_offsets)
    storage.fsync_dir(directory)
    return names


def write_down(storage: Storage, directory: str, damage: Damage) -> None:
    """Leave a note, durably, unless an interrupted recovery has left the same one."""
    for number in itertools.count(1):
        path = os.path.join(directory, _numbered(f"{damage.first_offset:020d}", number) + NOTE_SUFFIX)
        there = _read(path)
        if there is None:  # or it cannot be read: then it says nothing
            replace_file(storage, path, orjson.dumps(_fields(damage)))
            return
        same = (there.first_offset, there.end_offset) == (damage.first_offset, damage.end_offset)
        if same and set(damage.kept) <= set(there.kept):
            return


def find(log_dir: str) -> list[tuple[str, int, str, Damage]]:
    """What nobody has said to have seen yet in the partitions of a log directory: topic, partition, the partition's
    directory and damage, in order. Partitions whose directories may not be read are left out."""
    found: list[tuple[str, int, str, Damage]] = []
    for entry in sorted(os.listdir(log_dir)):
        topic, dash, rest = entry.rpartition("-")
        partition, _, replica = rest.partition(".r")
        if dash and partition.isdigit() and (replica.isdigit() or partition == rest):
            directory = os.path.join(log_dir, entry)
            found += [(topic, int(partition), directory, damage) for damage in read(directory)]
    return found


def read(directory: str) -> list[Damage]:
    """The notes in a partition's directory by first offset and age, but those whose kept files are all removed."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        names = set(os.listdir(directory))
        ordered = sorted((name[:20], len(name), name) for name in names if name.endswith(NOTE_SUFFIX))
        notes = [_read(os.path.join(directory, name)) for _, _, name in ordered]
        return [note for note in notes if note is not None and (not note.kept or names & set(note.kept))]
    return []


def sentence(topic: str, partition: int, directory: str, damage: Damage) -> str:
    """One damage for people: what is gone, what is kept, and how to say that it was seen."""
    when = datetime.fromtimestamp(damage.found_ms / 1000).astimezone().isoformat(" ", "seconds")
    seen = f"once you have seen to it: rm {shlex.quote(directory)}/*{DAMAGED_SUFFIX}"
    if damage.is_in_place:
        return (
            f"{topic}-{partition}: offsets {damage.first_offset} to {damage.end_offset - 1} had reached the disk and"
            f" are damaged (found {when}: {damage.reason}); nothing was cut, who reads them gets an error and can go on"
            f" from offset {damage.end_offset}: put the file back from a copy while the cluster is down, or do without;"
            f" {seen}"
        )
    kept = (
        f"{damage.dropped_bytes} bytes were cut off; the files as they were are kept as {', '.join(damage.kept)}"
        if damage.kept
        else "no bytes of them were left to keep"
    )
    return (
        f"{topic}-{partition}: offsets {damage.first_offset} to {damage.end_offset - 1} had reached the disk and are"
        f" lost (found {when}: {damage.reason}); {kept}; {seen}"
    )


def _keep(storage: Storage, directory: str, base_offset: int) -> str:
    path = segment_path(directory, base_offset, LOG_SUFFIX)
    source = storage.open(path, os.O_RDONLY)
    try:
        for number in itertools.count(1):
            copy = _numbered(path, number) + DAMAGED_SUFFIX
            if os.path.basename(copy) not in storage.listdir(directory):
                _copy(storage, source, copy)
                return os.path.basename(copy)
            there = storage.open(copy, os.O_RDONLY)
            try:
                if _begins_with(storage, there, source):
                    return os.path.basename(copy)
            finally:
                storage.close(there)
    finally:
        storage.close(source)
    raise AssertionError("some number is free")


def _numbered(path: str, number: int) -> str:
    return path if number == 1 else f"{path}.{number}"


def _copy(storage: Storage, source: int, path: str) -> None:
    """Under another name until it is whole; log/listing.sweep removes what a killed one leaves."""
    fd = storage.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        position = 0
        while chunk := storage.pread(source, COPY_BYTES, position):
            storage.pwrite(fd, chunk, position)
            position += len(chunk)
        storage.fdatasync(fd)
    finally:
        storage.close(fd)
    storage.rename(path + ".tmp", path)


def _begins_with(storage: Storage, whole: int, beginning: int) -> bool:
    position = 0
    while chunk := storage.pread(beginning, COPY_BYTES, position):
        if storage.pread(whole, len(chunk), position) != chunk:
            return False
        position += len(chunk)
    return True


def _fields(damage: Damage) -> dict[str, object]:
    return {name: getattr(damage, name) for name in Damage.__slots__}


def _read(path: str) -> Damage | None:
    """The note at `path`; None if it is not there or says nothing that can be read."""
    try:
        with open(path, "rb") as file:
            fields = orjson.loads(file.read())
        return Damage(**{**fields, "kept": tuple(fields["kept"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None

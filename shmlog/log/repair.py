"""Putting a log in order that nobody has open: indexes that fit their logs, and an end behind the last sound batch.

An owner does the same when it opens a log of ours. This is for people: for logs of Kafka, for single directories, and
to see beforehand what would be done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.clock import wall_ms
from shmlog.log import damage
from shmlog.log.checkpoint import read_recovery_point, write_recovery_point
from shmlog.log.dump import Damage, dump_log, verify
from shmlog.log.index_repair import NO_CHECKSUMS, rebuild
from shmlog.log.kafka_directory import sparse_until
from shmlog.log.segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    list_base_offsets,
    log_file_bytes,
    segment_path,
)
from shmlog.log.snapshot import drop_snapshots_after
from shmlog.log.storage import Storage


@dataclass(frozen=True, slots=True)
class Repair:
    """Something in a file that is not as it should be. `done`: what is done about it; "" if that is not possible here.

    `cut_bytes` go from the end of the file; of those that were batches once a copy is kept beside it.
    """

    path: str
    problem: str
    done: str
    cut_bytes: int = 0


def repairs(storage: Storage, directory: str, index_interval_bytes: int, *, dry_run: bool) -> Iterator[Repair]:
    """Put right what can be, oldest segment first, and say each once it is done; with `dry_run` only say it.

    The caller has made sure that nobody writes there. Raises OSError, and InvalidRequestError without any segment.
    """
    bases = list_base_offsets(storage, directory)
    for base_offset in bases:
        is_last = base_offset == bases[-1]
        path = segment_path(directory, base_offset, LOG_SUFFIX)
        sound = _look(path, base_offset)
        cut_bytes = log_file_bytes(storage, directory, base_offset) - sound.size_bytes
        if cut_bytes and is_last:
            if not dry_run:
                _cut(storage, directory, base_offset, sound, cut_bytes)
            kept = f"the file as it was is kept as {os.path.basename(path)}{damage.DAMAGED_SUFFIX}"
            done = f"cut {cut_bytes} bytes, the log ends at offset {sound.next_offset}; {kept}"
            if not sound.problem:
                done = f"cut {cut_bytes} bytes that were reserved and never written"
            yield Repair(path, sound.problem or "room is reserved at its end", done, cut_bytes)
        elif sound.problem:
            yield Repair(path, sound.problem, "")
            continue
        problems = {
            suffix: _index_problem(directory, base_offset, suffix) for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX)
        }
        if any(problems.values()) and not dry_run:
            _rebuild(storage, directory, base_offset, index_interval_bytes, sound.size_bytes, is_last=is_last)
        for suffix, problem in problems.items():
            if problem:
                yield Repair(segment_path(directory, base_offset, suffix), problem, "made anew from its log")


@dataclass(frozen=True, slots=True)
class _Sound:
    """How far a log is sound, and what is wrong behind that."""

    size_bytes: int
    next_offset: int
    problem: str


def _look(path: str, base_offset: int) -> _Sound:
    size_bytes, next_offset = 0, base_offset
    for row in dump_log(path):
        if isinstance(row, Damage):
            return _Sound(
                size_bytes, next_offset, f"at byte {row.position}, offset {row.expected_offset}: {row.problem}"
            )
        size_bytes, next_offset = row.position + row.header.size_bytes, row.header.next_offset
    return _Sound(size_bytes, next_offset, "")


def _index_problem(directory: str, base_offset: int, suffix: str) -> str:
    path = segment_path(directory, base_offset, suffix)
    if not os.path.exists(path):
        return "it is missing"
    verdict = verify(path)
    return "" if verdict.sound else verdict.summary.removeprefix(f"{path}: corrupt: ").partition(", which its log")[0]


def _cut(storage: Storage, directory: str, base_offset: int, sound: _Sound, cut_bytes: int) -> None:
    """In the order of a recovery: a copy, a note of it, the recovery point, the cut."""
    if sound.problem:
        kept = damage.keep_aside(storage, directory, [base_offset])
        note = damage.Damage(sound.next_offset, sound.next_offset + 1, cut_bytes, kept, sound.problem, wall_ms())
        damage.write_down(storage, directory, note)
    if read_recovery_point(storage, directory) > sound.next_offset:
        write_recovery_point(storage, directory, sound.next_offset)
    fd = storage.open(segment_path(directory, base_offset, LOG_SUFFIX), os.O_RDWR)
    try:
        storage.truncate(fd, sound.size_bytes)
        storage.fdatasync(fd)
    finally:
        storage.close(fd)
    snapshots = list_base_offsets(storage, directory, SNAPSHOT_SUFFIX)
    drop_snapshots_after(storage, directory, snapshots, sound.next_offset)


def _rebuild(
    storage: Storage, directory: str, base_offset: int, index_interval_bytes: int, size_bytes: int, *, is_last: bool
) -> None:
    dense_from_offset = sparse_until(storage, directory)
    segment = rebuild(
        storage, directory, base_offset, index_interval_bytes, NO_CHECKSUMS, size_bytes, dense_from_offset
    )
    try:
        if not is_last:
            segment.writer.append_final_time_index()
        segment.files.sync()
    finally:
        segment.files.close()
    storage.fsync_dir(directory)

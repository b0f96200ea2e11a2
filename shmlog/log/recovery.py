"""Opening a partition's segments after a stop: what is trusted, what is checked, what is cut off.

    clean   the marker fits: everything is trusted, the writer is placed by the indexes
    warm    a successor over a surviving ring: `written` says where the writer goes on; nothing is scanned
    cold    segments before the recovery point were synced and are trusted; every byte after it is checked, and the log
            ends at the first batch that is not sound

Of trusted segments nothing but the names is looked at here, however many there are: see log/sealed.py.

Offsets are dense where nothing was compacted, so there a batch is sound only if its base offset follows the batch
before: that also covers the twelve bytes at the front that are outside the checksum, except the leader epoch.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

from shmlog.clock import wall_ms
from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import CleanShutdown
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.damage import Damage, keep_aside, write_down
from shmlog.log.failed_sync import FailedSync, InterruptedSync, marker_path, noting_failure
from shmlog.log.index_repair import NO_CHECKSUMS, OpenSegment, Walk, cut_time_index, rebuild, resume
from shmlog.log.rewrite import Memory
from shmlog.log.sealed_check import rebuilt_note
from shmlog.log.segment import (
    INDEX_SUFFIX,
    LOG_SUFFIX,
    SUFFIXES,
    TIME_INDEX_SUFFIX,
    SegmentFiles,
    log_file_bytes,
    segment_path,
    synced_count,
)
from shmlog.log.storage import Storage


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Where the owner before stood, from the surviving control page: the page cache still has all it wrote."""

    segment_base_offset: int
    written_file_bytes: int
    """Position in that segment's file that is known to be written; always between two batches."""
    memory: Memory | None = None
    """The surviving ring, as far as it has bytes of segments: better than files whose sync failed."""
    sync_failed: bool = False
    """A sync of the owner before failed, or may have, and there need not be a note of it in the directory."""
    interrupted: InterruptedSync | None = None
    """Set when nobody knows whether a sync of the owner before failed."""
    ring_end_offset: int = 0
    """Where the ring ends: its batches up to there will be written, so the log counts as ending there."""


@dataclass(slots=True)
class Recovered:
    """The active segment, open for writing, and what had to be done to get there."""

    active: OpenSegment
    base_offsets: list[int]
    notes: list[str]


def recover_warm(
    storage: Storage, directory: str, base_offsets: list[int], warm: WarmStart, index_interval_bytes: int
) -> Recovered:
    """Take over where the owner before stood. Newer segments that never got a byte are the start of a roll: dropped.

    Raises CorruptRecordError when the files do not hold what the control page says they do.
    """
    if warm.segment_base_offset not in base_offsets:
        raise CorruptRecordError(
            f"{directory} has no segment {warm.segment_base_offset}, which the surviving ring was being written to"
        )
    end = bisect_right(base_offsets, warm.segment_base_offset)
    for base_offset in base_offsets[end:]:
        _drop_empty(storage, directory, base_offset)
    kept = base_offsets[:end]
    active, rebuilt = _resume_or_rebuild(
        storage, directory, kept[-1], warm.written_file_bytes, index_interval_bytes, trusted=True
    )
    return Recovered(active, kept, [rebuilt] if rebuilt else [])


def recover_clean(
    storage: Storage, directory: str, base_offsets: list[int], marker: CleanShutdown, index_interval_bytes: int
) -> Recovered:
    """Open a log that was closed properly: only the active segment's indexes may need work now."""
    base_offset = base_offsets[-1]
    before = _index_sizes(storage, directory, base_offset)
    expected = (marker.index_bytes, marker.time_index_bytes)
    active, note = _resume_or_rebuild(
        storage, directory, base_offset, marker.active_size_bytes, index_interval_bytes, trusted=before == expected
    )
    writer = active.writer
    if not note and (writer.index_bytes, writer.time_index_bytes) != expected:
        active.files.close()
        active = rebuild(storage, directory, base_offset, index_interval_bytes, NO_CHECKSUMS)
        note = rebuilt_note(directory, base_offset, were_there=True)
    return Recovered(active, base_offsets, [note] if note else [])


def recover_cold(
    storage: Storage,
    directory: str,
    base_offsets: list[int],
    recovery_point: int,
    index_interval_bytes: int,
    failed: FailedSync | None = None,
    without_index: Collection[int] = (),
) -> Recovered:
    """Check everything from the recovery point on, and end the log at the first batch that is not sound.

    What is kept of checked segments that are not active is synced. `base_offsets` is not empty. Raises StorageError,
    and cuts nothing, when a sync had `failed` and what was acknowledged then is not there any more.
    """
    notes: list[str] = []
    dense_from_offset = dense_from(storage, directory)
    for number in range(synced_count(base_offsets, recovery_point), len(base_offsets)):
        base_offset = base_offsets[number]
        following = base_offsets[number + 1] if number + 1 < len(base_offsets) else None
        if base_offset in without_index:
            notes.append(rebuilt_note(directory, base_offset, were_there=False))
        segment = rebuild(storage, directory, base_offset, index_interval_bytes, recovery_point)
        walk = segment.walk
        is_hole = following is not None and walk.next_offset < following <= dense_from_offset
        if not walk.problem and following is not None and walk.next_offset != following and not is_hole:
            walk = Walk(
                walk.valid_bytes, walk.next_offset, f"it is missing: the next file begins at offset {following}"
            )
        if failed is not None and walk.next_offset < failed.acknowledged_offset and (walk.problem or following is None):
            segment.files.close()
            raise _lost(directory, walk, failed)
        if walk.problem:
            later = base_offsets[number + 1 :]
            kept = ""
            if walk.next_offset < recovery_point:  # not a torn tail: what was safe on the disk is damaged
                kept = _note_damage(storage, directory, segment, walk, later, recovery_point)
            with noting_failure(storage, directory, recovery_point):
                cut = _cut(storage, directory, segment, walk, later)
            notes.append(cut + kept)
            return Recovered(segment, base_offsets[: number + 1], notes)
        if following is None:
            if walk.next_offset < recovery_point:
                _note_damage(storage, directory, segment, walk, [], recovery_point)
            return Recovered(segment, base_offsets, notes)
        segment.writer.append_final_time_index()
        if failed is None:  # else it is written anew, and this file is not to be believed
            with noting_failure(storage, directory, recovery_point):
                segment.files.sync()
        segment.files.close()
    raise StorageError(f"{directory} has lost its segments while it was opened: somebody removes files there")


def _lost(directory: str, walk: Walk, failed: FailedSync) -> StorageError:
    return StorageError(
        f"{directory} has lost offsets {walk.next_offset} to {failed.acknowledged_offset - 1}: the disk refused them "
        f"({failed.reason}), and they are not in the files now ({walk.problem or 'the log ends before them'}); to go "
        f"on without them and whatever lies behind them, remove {marker_path(directory)}"
    )


def _note_damage(
    storage: Storage, directory: str, segment: OpenSegment, walk: Walk, later: list[int], recovery_point: int
) -> str:
    """Before anything is cut: what had reached the disk and is damaged is kept aside, and a note says what is gone."""
    base_offset = segment.files.base_offset
    kept: tuple[str, ...] = ()
    dropped_bytes = storage.size_bytes(segment.files.log_fd) - walk.valid_bytes
    if walk.problem:
        kept = keep_aside(storage, directory, [base_offset, *later])
        dropped_bytes += sum(log_file_bytes(storage, directory, offset) for offset in later)
    reason = f"in {base_offset:020d}{LOG_SUFFIX} the batch at byte {walk.valid_bytes} is not sound: {walk.problem}"
    damage = Damage(
        first_offset=walk.next_offset,
        end_offset=recovery_point,
        dropped_bytes=dropped_bytes,
        kept=kept,
        reason=reason if walk.problem else f"{base_offset:020d}{LOG_SUFFIX} is shorter than it was",
        found_ms=wall_ms(),
    )
    write_down(storage, directory, damage)
    return f"; what was there is kept in {', '.join(kept)}" if kept else ""


def _cut(storage: Storage, directory: str, segment: OpenSegment, walk: Walk, later: list[int]) -> str:
    """Shorten a segment to its sound part, drop the segments after it, and say so."""
    files = segment.files
    dropped = storage.size_bytes(files.log_fd) - walk.valid_bytes
    if dropped:
        storage.truncate(files.log_fd, walk.valid_bytes)
        storage.fdatasync(files.log_fd)
    later_bytes = sum(_drop(storage, directory, base_offset) for base_offset in reversed(later))
    sentence = (
        f"{segment_path(directory, files.base_offset, LOG_SUFFIX)}: the batch at offset {walk.next_offset} "
        f"(byte {walk.valid_bytes}) is not sound: {walk.problem}; dropped {dropped} bytes"
    )
    if later:
        sentence += f" and {len(later)} later segments with {later_bytes} bytes"
    return f"{sentence}; the log now ends at offset {walk.next_offset}"


def _resume_or_rebuild(
    storage: Storage, directory: str, base_offset: int, size_bytes: int, index_interval_bytes: int, *, trusted: bool
) -> tuple[OpenSegment, str]:
    """The segment with its writer at `size_bytes`, and a note if its indexes had to be made anew.

    Indexes that are not `trusted` are made anew without a look at them.
    """
    path = segment_path(directory, base_offset, LOG_SUFFIX)
    is_missing = -1 in _index_sizes(storage, directory, base_offset)
    note = rebuilt_note(directory, base_offset, were_there=False) if is_missing else ""
    files = SegmentFiles.open(storage, directory, base_offset, create=False)
    there = storage.size_bytes(files.log_fd)
    if there < size_bytes:
        files.close()
        raise CorruptRecordError(f"{path} has {there} bytes, but {size_bytes} were written to it")
    segment = resume(storage, files, size_bytes, index_interval_bytes) if trusted and not note else None
    if segment is not None:
        segment = cut_time_index(storage, directory, segment, index_interval_bytes)
    if segment is None:
        files.close()
        segment = rebuild(storage, directory, base_offset, index_interval_bytes, NO_CHECKSUMS, size_bytes)
        note = note or rebuilt_note(directory, base_offset, were_there=True)
    if segment.walk.problem:
        segment.files.close()
        raise CorruptRecordError(
            f"{path}: the batch at offset {segment.walk.next_offset} (byte {segment.walk.valid_bytes}) "
            f"is not sound: {segment.walk.problem}"
        )
    return segment, note


def _index_sizes(storage: Storage, directory: str, base_offset: int) -> tuple[int, int]:
    """Bytes of both index files; -1 for one that is missing."""
    sizes = []
    for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX):
        try:
            fd = storage.open(segment_path(directory, base_offset, suffix), os.O_RDONLY)
        except FileNotFoundError:
            sizes.append(-1)
            continue
        sizes.append(storage.size_bytes(fd))
        storage.close(fd)
    return sizes[0], sizes[1]


def _drop(storage: Storage, directory: str, base_offset: int) -> int:
    """Remove a segment's files; returns how many bytes of batches went."""
    files = SegmentFiles.open(storage, directory, base_offset, create=False)
    size_bytes = storage.size_bytes(files.log_fd)
    files.close()
    for suffix in SUFFIXES:
        storage.unlink(segment_path(directory, base_offset, suffix))
    return size_bytes


def _drop_empty(storage: Storage, directory: str, base_offset: int) -> None:
    files = SegmentFiles.open(storage, directory, base_offset, create=False)
    size_bytes = storage.size_bytes(files.log_fd)
    files.close()
    if size_bytes:
        raise CorruptRecordError(
            f"{segment_path(directory, base_offset, LOG_SUFFIX)} holds {size_bytes} bytes, "
            "but the surviving ring was being written to an older segment"
        )
    _drop(storage, directory, base_offset)

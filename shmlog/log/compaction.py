"""Compaction of a log's sealed segments into new files, which somebody else puts in their place.

    mark     that it begins: see log/cleaned_files.py
    map      over the dirty segments, oldest first, until all keys are in the map, or it is full
    copy     group by group what stays of all segments before the map's end, into <base>.log.cleaned and its indexes
    sync     each group's files

Nothing but `.cleaned` files is written. The log stays as it is when anything cannot be read: nobody knows which keys
are in a damaged batch. A map that gets full ends the cleaning at that batch; the rest is for the next one, which finds
what is clean then in the log's own files. So memory is bounded, and so is what an interruption costs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Protocol

from shmlog.errors import StorageError
from shmlog.log.cleaned_files import cleaned_path, create_cleaned, create_mark, remove_cleaned, remove_mark
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.producer_ends import producer_ends
from shmlog.log.segment import LOG_SUFFIX
from shmlog.log.segment_pass import CHUNK_BYTES, Budget, SegmentPass
from shmlog.log.storage import Storage
from shmlog.log.swap import CleanedGroup, CleanedSegments
from shmlog.native.compaction import SLOT_BYTES, BatchFilter, OffsetMap, Walked
from shmlog.native.segment import SegmentWriter
from shmlog.record.expansion import pack
from shmlog.record.header import BatchHeader
from shmlog.record.layout import CODEC_MASK

SEED_BYTES = 16


class Decision(Protocol):
    """What is to be cleaned; machines.compaction says what these mean."""

    @property
    def first_dirty_offset(self) -> int: ...
    @property
    def end_offset(self) -> int: ...
    @property
    def groups(self) -> Sequence[Sequence[int]]: ...
    @property
    def delete_retention_ms(self) -> int: ...
    @property
    def index_interval_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a cleaning wrote and counted."""

    segments: CleanedSegments
    """To be put in place, oldest first, so that no tombstone goes before what it deletes. Segments that would come out
    as they are, are not among them."""
    is_complete: bool
    """False: the map was full; there is more to clean behind `segments.first_dirty_offset`."""
    keys: int
    """In the map."""
    records_read: int
    records_kept: int
    tombstones_kept: int
    tombstones_dropped: int
    keyless_dropped: int
    bytes_read: int
    """Of segments, in both passes."""
    bytes_written: int
    """To the logs of cleaned segments, also of those that came out as they were."""


def clean(
    storage: Storage,
    directory: str,
    decision: Decision,
    memory: bytearray | memoryview,
    *,
    cleaning: int,
    now_ms: int,
    budget: Budget = lambda read, written: None,
) -> Cleaned:
    """Write what stays of a log's segments to `.cleaned` files; everything else in the directory is only read.

    `cleaning` is a number that no other cleaning of this log has. `memory` is for the keys, SLOT_BYTES each, nine of
    ten slots; a megabyte or two come on top, or what the largest batches need. `budget` is called after each chunk that
    is read or written, and may raise.
    Whatever is raised, the files written so far are removed. Raises CorruptRecordError, naming file, offset and byte,
    for what cannot be read; UnsupportedCompressionTypeError; StorageError for a segment that would get too large;
    OSError, FileNotFoundError among them if a segment was deleted. The memory is the caller's again then, too.
    """
    offset_map = OffsetMap(memory, os.urandom(SEED_BYTES), decision.end_offset - decision.first_dirty_offset)
    try:
        create_mark(storage, directory, cleaning)
        return _clean(storage, directory, decision, offset_map, cleaning, now_ms, budget)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_mark(storage, directory, cleaning)
        raise
    finally:
        offset_map.release()  # an error's traceback keeps the map, and would keep a mapping from being closed


def _clean(
    storage: Storage,
    directory: str,
    decision: Decision,
    offset_map: OffsetMap,
    cleaning: int,
    now_ms: int,
    budget: Budget,
) -> Cleaned:
    checkpoint = read_compaction_checkpoint(storage, directory)
    counted = _Counted(budget)
    reading = SegmentPass(storage, directory, checkpoint.dense_from_offset, counted.add)
    ends = dict(pairwise([*chain.from_iterable(decision.groups), decision.end_offset]))
    mapping = _Mapping(offset_map, checkpoint.dense_from_offset, decision.first_dirty_offset)
    for base_offset, end_offset in ends.items():
        if end_offset > decision.first_dirty_offset and not reading.over(base_offset, end_offset, mapping):
            break
    map_end = max(decision.end_offset, decision.first_dirty_offset)
    if offset_map.is_full:
        map_end = offset_map.end_offset
        _require_progress(directory, decision, offset_map)
    batch_filter = BatchFilter(
        offset_map,
        first_dirty_offset=decision.first_dirty_offset,
        map_end_offset=map_end,
        end_offset=decision.end_offset,
        now_ms=now_ms,
        delete_retention_ms=decision.delete_retention_ms,
        producers=producer_ends(storage, directory, ends, reading),
    )
    groups: list[CleanedGroup] = []
    begun: list[int] = []
    try:
        for group in decision.groups:
            bases = tuple(base_offset for base_offset in group if base_offset < map_end)
            if bases:
                begun.append(bases[0])
                copying = _Copying(
                    storage, directory, bases, batch_filter, checkpoint.dense_from_offset, counted, cleaning
                )
                size_bytes = copying.run(reading, ends, decision.index_interval_bytes)
                if size_bytes:
                    groups.append(CleanedGroup(bases, tuple(copying.sizes_bytes), size_bytes))
                else:
                    remove_cleaned(storage, directory, bases[0], cleaning)
    except BaseException:  # an interrupt, too, leaves nothing behind
        with contextlib.suppress(OSError):
            for base_offset in begun:
                remove_cleaned(storage, directory, base_offset, cleaning)
        raise
    return Cleaned(
        CleanedSegments(
            cleaning, tuple(groups), checkpoint.first_dirty_offset, map_end, batch_filter.delete_horizon_ms
        ),
        is_complete=not offset_map.is_full,
        keys=offset_map.key_count,
        records_read=batch_filter.records_read,
        records_kept=batch_filter.records_kept,
        tombstones_kept=batch_filter.tombstones_kept,
        tombstones_dropped=batch_filter.tombstones_dropped,
        keyless_dropped=batch_filter.keyless_dropped,
        bytes_read=counted.read,
        bytes_written=counted.written,
    )


def _require_progress(directory: str, decision: Decision, offset_map: OffsetMap) -> None:
    if offset_map.end_offset <= decision.first_dirty_offset:
        raise StorageError(
            f"{directory} cannot be compacted: one batch, at offset {offset_map.end_offset}, has more keys than the"
            f" {offset_map.key_count_max} that there is memory for, at {SLOT_BYTES} bytes each: give it more"
        )


@dataclass(slots=True)
class _Counted:
    budget: Budget
    read: int = 0
    written: int = 0

    def add(self, read: int, written: int) -> None:
        self.read += read
        self.written += written
        self.budget(read, written)


@dataclass(frozen=True, slots=True)
class _Mapping:
    """The first pass."""

    offset_map: OffsetMap
    dense_from_offset: int
    from_offset: int

    def take(self, data: memoryview, next_offset: int, packed: memoryview | None) -> Walked:
        del packed
        return self.offset_map.add_batches(data, next_offset, self.dense_from_offset, self.from_offset)


@dataclass(slots=True)
class _Copying:
    """The second pass, for one group of segments."""

    storage: Storage
    directory: str
    base_offsets: tuple[int, ...]
    batch_filter: BatchFilter
    dense_from_offset: int
    counted: _Counted
    cleaning: int
    sizes_bytes: list[int] = field(default_factory=list)
    """Of the logs that were read."""
    _out: memoryview = field(default_factory=lambda: memoryview(bytearray(CHUNK_BYTES)))
    _filled: int = 0
    _writer: SegmentWriter = field(init=False)

    def run(self, reading: SegmentPass, ends: dict[int, int], index_interval_bytes: int) -> int:
        """Write and sync the group; returns its bytes, 0 when it is one segment that came out as it was."""
        changed_before = self.batch_filter.batches_changed
        files = create_cleaned(self.storage, self.directory, self.base_offsets[0], self.cleaning)
        try:
            self._writer = SegmentWriter(
                files.log_fd,
                files.index_fd,
                files.time_index_fd,
                base_offset=files.base_offset,
                index_interval_bytes=index_interval_bytes,
            )
            for base_offset in self.base_offsets:
                reading.over(base_offset, ends[base_offset], self)
                self.sizes_bytes.append(reading.size_bytes)
            if not self._writer.size_bytes and not self._filled:
                self._put(self.batch_filter.empty_last_batch())  # no file without a batch: readers need no rule for it
            self._flush()
            if len(self.base_offsets) == 1 and self.batch_filter.batches_changed == changed_before:
                return 0
            self._writer.append_final_time_index()
            files.sync()
            return self._writer.size_bytes
        finally:
            files.close()

    def take(self, data: memoryview, next_offset: int, packed: memoryview | None) -> Walked:
        if packed is not None:
            return self._take_packed(data, next_offset, packed)
        done = 0
        while True:
            out = self._out[self._filled :]
            walked = self.batch_filter.filter_batches(data[done:], out, next_offset, self.dense_from_offset)
            self._filled += walked.filled_bytes
            done, next_offset = done + walked.done_bytes, walked.next_offset
            if not walked.wanted_room_bytes:
                return walked._replace(done_bytes=done)
            self._make_room(walked.wanted_room_bytes)

    def _take_packed(self, data: memoryview, next_offset: int, packed: memoryview) -> Walked:
        """A batch that is compressed goes as it is, or what stays of it is compressed again."""
        changed_before = self.batch_filter.batches_changed
        out = memoryview(bytearray(len(data)))
        walked = self.batch_filter.filter_batches(data, out, next_offset, self.dense_from_offset)
        if walked.wanted_room_bytes:
            out = memoryview(bytearray(walked.wanted_room_bytes))
            walked = self.batch_filter.filter_batches(data, out, next_offset, self.dense_from_offset)
        if self.batch_filter.batches_changed == changed_before:
            self._put(packed)
        elif walked.filled_bytes and BatchHeader.parse(out).record_count:
            self._put(pack(out[: walked.filled_bytes], BatchHeader.parse(packed).attributes & CODEC_MASK))
        else:
            self._put(out[: walked.filled_bytes])
        return walked

    def _put(self, batch: bytes | memoryview) -> None:
        self._make_room(len(batch))
        self._out[self._filled : self._filled + len(batch)] = batch
        self._filled += len(batch)

    def _make_room(self, size_bytes: int) -> None:
        if len(self._out) - self._filled < size_bytes:
            self._flush()
        if len(self._out) < size_bytes:
            self._out = memoryview(bytearray(size_bytes))

    def _flush(self) -> None:
        try:
            self._writer.append(self._out[: self._filled])
        except OverflowError as error:
            path = cleaned_path(self.directory, self.base_offsets[0], LOG_SUFFIX, self.cleaning)
            raise StorageError(f"{path} would become larger than a segment can be; lower segment.bytes") from error
        self.counted.add(0, self._filled)
        self._filled = 0

"""Reading a partition's files while its owner writes them: for consumers that lag behind the ring.

Data is read with pread, never mapped: a file that shrinks or a disk that fails is then an error here and not a
SIGBUS. Only whole batches below the limit that the caller gives (the high watermark) are handed out; whatever an
owner is in the middle of writing lies beyond it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from contextlib import suppress
from itertools import chain

from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError, StorageError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.log.checkpoint import EpochStart, read_leader_epochs
from shmlog.log.cold_segment import ColdSegment
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.segment import list_base_offsets
from shmlog.log.segment_times import SegmentTimes
from shmlog.log.storage import OsStorage, Storage
from shmlog.model import OffsetAndTimestamp
from shmlog.native.scan import select_batches
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

BATCH_BYTES_MAX = MAX_MESSAGE_BYTES_MAX + HEADER_BYTES
"""A batch that claims more is damage, not a reason to reserve memory."""
SEEK_BYTES = 32 * 1024
"""Read first at a new place: who seeks may want one record, and who reads on loses nothing."""
LISTINGS_MAX = 10
"""So often in a row retention may take away the segment that is about to be opened."""


class ColdReader:
    """Reads one partition's segments from any process. Not thread-safe; keeps one segment open and
    a buffer of the largest read until `close`, and what it knows of the others beyond that.

    Reading on from where the last read ended costs a pread and a look at the name; anything else an index look-up more.
    The directory is listed when a segment turns out to be gone, or to have an end. So a reader must not outlive a log
    that was cut: begin a new one with every attachment.
    """

    def __init__(self, directory: str, storage: Storage | None = None, *, sparse_until: int = 0) -> None:
        """Does not touch the directory yet. Holes before `sparse_until` are legal, whatever the checkpoint says."""
        self.directory = directory
        self._storage = storage if storage is not None else OsStorage()
        self._base_offsets = array("q")
        self._times = SegmentTimes()
        self._segment: ColdSegment | None = None
        self._buffer = memoryview(bytearray())
        self._position = 0
        self._next_offset = -1  # what lies at _position; -1: unknown
        self._sparse_until = sparse_until
        self._dense_from_offset = 0  # as known when the segment was opened: holes before it are compaction's

    @property
    def segment_base_offset(self) -> int:
        """Where the segment begins that the last read() was from; -1 before the first, and after close()."""
        return self._segment.base_offset if self._segment is not None else -1

    def earliest(self) -> int:
        """The first offset that is in the files now. Raises StorageError when there are none: the topic is gone."""
        return self._list()[0]

    def read(self, offset: int, max_bytes: int, limit_offset: int) -> bytes | None:
        """Whole batches, the first one with `offset` in it, all of them beginning before `limit_offset`.

        At most `max_bytes`, but always one batch. None when there is nothing at `offset` yet. Raises
        OffsetOutOfRangeError before the first segment, CorruptRecordError (naming file and byte) for bytes that are
        no batches, StorageError when the files are gone. Checksums are for the decoder to look at.
        """
        if offset >= limit_offset:
            return None
        size = max_bytes
        if self._segment is None or offset != self._next_offset:
            segment = self._segment_of(offset)
            self._position = segment.position_for(offset)
            size = min(max_bytes, SEEK_BYTES)
        while self._segment is not None:
            buffer = self._room_for(size)
            data = buffer[: self._segment.pread_into(buffer, self._position)]
            if self._segment.is_replaced():  # looked at after reading: what was read may be what the disk refused
                self._position = self._segment_of(offset).position_for(offset)
                continue
            start, end, next_offset, wanted, problem = select_batches(
                data, offset, limit_offset, self._dense_from_offset
            )
            if end > start:
                self._check_first(data[start:], offset, start)
                self._position += end
                self._next_offset = next_offset
                return bytes(data[start:end])
            if wanted > BATCH_BYTES_MAX:
                problem = f"a batch claims {wanted} bytes"
            if problem:
                raise CorruptRecordError(f"{self._segment.path}: at byte {self._position + end} {problem}")
            self._position += end
            if wanted == 0:
                return None
            if end == 0 and len(data) < size and not self._advance(offset):
                return None
            size = wanted if end == 0 and wanted > size else max_bytes
        return None

    def is_hole(self, limit_offset: int) -> bool:
        """After read() found nothing below `limit_offset`: whether compaction or an import left nothing there."""
        return self._segment is not None and limit_offset <= self._dense_from_offset

    def offset_for_timestamp(
        self, timestamp_ms: int, limit_offset: int, start_offset: int = 0
    ) -> OffsetAndTimestamp | None:
        """The first record of at least `timestamp_ms` from `start_offset` on, before `limit_offset`; None without one.

        Raises as `read` does, and CorruptRecordError when the checksum of a batch it has to look into is wrong.
        """
        if not self._base_offsets:
            self._list()
        after = -1
        for _ in range(LISTINGS_MAX):
            try:
                found, after = self._search(timestamp_ms, limit_offset, after, start_offset)
            except FileNotFoundError:
                self._list()
                continue
            if found is not None:
                return found if found.offset < limit_offset else None
            if after >= limit_offset or self._list()[-1] <= after:
                return None
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

    def leader_epochs(self) -> list[EpochStart]:
        """What the checkpoint beside the segments says now; see log.checkpoint.read_leader_epochs."""
        return read_leader_epochs(self._storage, self.directory)

    def _search(
        self, timestamp_ms: int, limit_offset: int, after: int, start_offset: int
    ) -> tuple[OffsetAndTimestamp | None, int]:
        """Search the segments that were listed and begin behind `after`; returns where the last of them begins, too."""
        last = self._base_offsets[-1]
        for base_offset in chain(self._times.candidates(self._base_offsets, timestamp_ms, self._newest_ms), (last,)):
            if base_offset >= limit_offset:
                return None, base_offset
            if base_offset > after:
                found = self._opened(base_offset).first_at_or_after(timestamp_ms, limit_offset, start_offset)
                if found is not None:
                    return found, base_offset
        return None, last

    def _newest_ms(self, base_offset: int) -> int:
        return self._opened(base_offset).newest_ms()

    def _opened(self, base_offset: int) -> ColdSegment:
        """That segment, opened anew: its name may be another file's by now. Raises FileNotFoundError."""
        self._close_segment()
        self._segment = ColdSegment(self._storage, self.directory, base_offset)
        self._dense_from_offset = max(self._sparse_until, dense_from(self._storage, self.directory))
        return self._segment

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment, self._next_offset = None, -1

    def close(self) -> None:
        """Let go of the file and the memory; the reader can be used again."""
        self._close_segment()
        self._buffer = memoryview(bytearray())

    def _check_first(self, batch: memoryview, offset: int, start: int) -> None:
        """What is read first holds the offset that was asked for, or that was compacted away, or one is missing."""
        assert self._segment is not None
        base_offset = BatchHeader.parse(batch).base_offset
        if base_offset > max(offset, self._dense_from_offset):
            first = self._list()[0]
            if first > offset:
                raise self._before_start(offset)
            raise CorruptRecordError(
                f"{self._segment.path}: at byte {self._position + start} a batch begins with offset {base_offset}, and"
                f" offset {offset} is nowhere before it"
            )

    def _before_start(self, offset: int) -> OffsetOutOfRangeError:
        first = self._base_offsets[0]
        return OffsetOutOfRangeError(f"offset {offset} is before the log's start, {first}, in {self.directory}")

    def _room_for(self, size_bytes: int) -> memoryview:
        """Memory for one read, kept for the next one."""
        if len(self._buffer) < size_bytes:
            self._buffer = memoryview(bytearray(size_bytes))
        return self._buffer[:size_bytes]

    def _list(self) -> array[int]:
        try:
            self._base_offsets = array("q", list_base_offsets(self._storage, self.directory))
        except FileNotFoundError as error:
            raise StorageError(f"{self.directory} is gone: its topic was deleted") from error
        if not self._base_offsets:
            raise StorageError(f"{self.directory} holds no segments")
        self._times.follow(self._base_offsets)
        return self._base_offsets

    def _segment_of(self, offset: int) -> ColdSegment:
        """Open the last segment that is known to begin at or before `offset`; what is in newer ones, `read` gets to."""
        is_listed = False
        for _ in range(LISTINGS_MAX):
            number = bisect_right(self._base_offsets, offset) - 1
            if number >= 0:
                with suppress(FileNotFoundError):
                    return self._opened(self._base_offsets[number])
            elif is_listed:
                raise self._before_start(offset)
            self._list()
            is_listed = True
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

    def _advance(self, offset: int) -> bool:
        """Go on in the segment after the one that is open, which has nothing at or after `offset`; False without one.

        Compaction puts one file in the place of several, the new one before the old ones go. So when the segment is not
        there any more as it was opened, what follows it may be in an older one: that is looked up by offset.
        """
        before, is_gone = self._segment, False
        assert before is not None
        for _ in range(LISTINGS_MAX):
            bases = self._list()
            is_gone = is_gone or before.base_offset not in bases or before.is_replaced()
            number = bisect_right(bases, offset) - 1 if is_gone else bisect_right(bases, before.base_offset)
            if number < 0:
                raise self._before_start(offset)
            if number == len(bases):
                return False
            try:
                self._position = self._opened(bases[number]).position_for(offset)
            except FileNotFoundError:
                is_gone = True  # and `before` is closed
                continue
            return True
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

"""Reading a partition's files while its owner writes them: for consumers that lag behind the ring.

Data is read with pread, never mapped: a file that shrinks or a disk that fails is then an error here and not a
SIGBUS. Only whole batches below the limit that the caller gives (the high watermark) are handed out; whatever an
owner is in the middle of writing lies beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator

from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError, StorageError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.log.cold_segment import ColdSegment
from shmlog.log.segment import list_base_offsets
from shmlog.log.storage import OsStorage, Storage
from shmlog.model import OffsetAndTimestamp
from shmlog.native.scan import select_batches
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

BATCH_BYTES_MAX = MAX_MESSAGE_BYTES_MAX + HEADER_BYTES
"""A batch that claims more is damage, not a reason to reserve memory."""
LISTINGS_MAX = 10
"""So often in a row retention may take away the segment that is about to be opened."""


class ColdReader:
    """Reads one partition's segments from any process. Not thread-safe; keeps one segment open and
    a buffer of the largest read until `close`.

    Reading on from where the last read ended costs a pread and a look at the name; anything else an index look-up more.
    """

    def __init__(self, directory: str, storage: Storage | None = None) -> None:
        """Does not touch the directory yet."""
        self.directory = directory
        self._storage = storage if storage is not None else OsStorage()
        self._base_offsets: list[int] = []
        self._segment: ColdSegment | None = None
        self._buffer = memoryview(bytearray())
        self._position = 0
        self._next_offset = -1  # what lies at _position; -1: unknown

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
        if self._segment is None or offset != self._next_offset:
            segment = self._segment_of(offset)
            self._position = segment.position_for(offset)
        size = max_bytes
        while self._segment is not None:
            buffer = self._room_for(size)
            data = buffer[: self._segment.pread_into(buffer, self._position)]
            if self._segment.is_replaced():  # looked at after reading: what was read may be what the disk refused
                self._reopen()
                continue
            start, end, next_offset, wanted, problem = select_batches(data, offset, limit_offset)
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
            if end == 0 and len(data) < size and not self._advance(self._segment.base_offset):
                return None
            size = max(size, wanted)
        return None

    def offset_for_timestamp(self, timestamp_ms: int, limit_offset: int) -> OffsetAndTimestamp | None:
        """The first record before `limit_offset` that is as young as `timestamp_ms` or younger; None without one.

        Raises as `read` does, and CorruptRecordError when the checksum of a batch it has to look into is wrong.
        """
        for segment in self._each_segment():
            if segment.base_offset >= limit_offset:
                return None
            found = segment.first_at_or_after(timestamp_ms, limit_offset)
            if found is not None:
                return found if found.offset < limit_offset else None
        return None

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self._next_offset = -1
        self._buffer = memoryview(bytearray())

    def _check_first(self, batch: memoryview, offset: int, start: int) -> None:
        """The log has no gaps: what is read first holds the offset that was asked for, or something is missing."""
        assert self._segment is not None
        base_offset = BatchHeader.parse(batch).base_offset
        if base_offset > offset:
            first = self._list()[0]
            if first > offset:
                raise OffsetOutOfRangeError(f"offset {offset} is before the log's start, {first}, in {self.directory}")
            raise CorruptRecordError(
                f"{self._segment.path}: at byte {self._position + start} a batch begins with offset {base_offset}, and"
                f" offset {offset} is nowhere before it"
            )

    def _room_for(self, size_bytes: int) -> memoryview:
        """Memory for one read, kept for the next one."""
        if len(self._buffer) < size_bytes:
            self._buffer = memoryview(bytearray(size_bytes))
        return self._buffer[:size_bytes]

    def _list(self) -> list[int]:
        try:
            self._base_offsets = list_base_offsets(self._storage, self.directory)
        except FileNotFoundError as error:
            raise StorageError(f"{self.directory} is gone: its topic was deleted") from error
        if not self._base_offsets:
            raise StorageError(f"{self.directory} holds no segments")
        return self._base_offsets

    def _segment_of(self, offset: int) -> ColdSegment:
        """Open the last segment that begins at or before `offset`, unless it is open already."""
        for _ in range(LISTINGS_MAX):
            bases = self._list()
            base_offset = max((base for base in bases if base <= offset), default=None)
            if base_offset is None:
                raise OffsetOutOfRangeError(
                    f"offset {offset} is before the log's start, {bases[0]}, in {self.directory}"
                )
            if self._open(base_offset):
                assert self._segment is not None
                return self._segment
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

    def _advance(self, base_offset: int) -> bool:
        """Go on at the beginning of the segment after `base_offset`; False when there is none."""
        for _ in range(LISTINGS_MAX):
            following = min((base for base in self._list() if base > base_offset), default=None)
            if following is None:
                return False
            if self._open(following):
                self._position = 0
                return True
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

    def _open(self, base_offset: int) -> bool:
        """Make that segment the open one; False when it has vanished."""
        if self._segment is not None and self._segment.base_offset == base_offset:
            return True
        try:
            opened = ColdSegment(self._storage, self.directory, base_offset)
        except FileNotFoundError:
            return False
        if self._segment is not None:
            self._segment.close()
        self._segment, self._next_offset = opened, -1
        return True

    def _reopen(self) -> None:
        """The same segment in its present file, if there is one."""
        assert self._segment is not None
        try:
            opened = ColdSegment(self._storage, self.directory, self._segment.base_offset)
        except FileNotFoundError:
            return
        self._segment.close()
        self._segment = opened

    def _each_segment(self) -> Iterator[ColdSegment]:
        """Every segment from the oldest on, open one after the other; those that vanish meanwhile are passed over."""
        base_offset = -1
        while True:
            following = min((base for base in self._list() if base > base_offset), default=None)
            if following is None:
                return
            base_offset = following
            try:
                segment = ColdSegment(self._storage, self.directory, base_offset)
            except FileNotFoundError:
                continue
            try:
                yield segment
            finally:
                segment.close()

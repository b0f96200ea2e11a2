"""A partition's log as its leader has it, for a follower to copy: out of the ring, or of the files when it lags.

Whatever it is read from, it comes in pieces of one segment each, so that the copy can begin its segments where the
leader did. In the ring the control page tells where that is (segment_turns); in the files it is what their names say.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from shmlog.errors import CorruptRecordError, LeaderNotAvailableError
from shmlog.log.checkpoint import EpochStart, read_leader_epochs
from shmlog.log.cold import ColdReader
from shmlog.log.segment import list_base_offsets
from shmlog.log.storage import OsStorage
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.native.scan import select_batches
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.segment_turns import SegmentTurns

SETTLED = (OwnerState.RUN, OwnerState.CLOSING, OwnerState.CLOSED, OwnerState.OFFLINE)
"""States in which the page says where the log begins and ends, and the leader's checkpoint has its epoch."""


class Piece(NamedTuple):
    """Whole batches of the segment that begins at `base_offset`; none if that has just begun."""

    base_offset: int
    batches: bytes

    @property
    def first_offset(self) -> int:
        """Of the first batch, or of the one that will come first."""
        return int.from_bytes(self.batches[:8], "big") if self.batches else self.base_offset


class LeaderLog:
    """Reads up to what the leader has written to its file. Holds the leader up in nothing.

    Maps its shared memory with the first attach() that finds some. Damage and disk trouble on the leader's side raise
    what log.cold.ColdReader.read does, and OSError.
    """

    def __init__(self, tag: str, partition_id: int, directory: str) -> None:
        self.directory = directory
        self._tag = tag
        self._partition_id = partition_id
        self._storage = OsStorage()
        self._attachment: MappedPartition | None = None
        self._turns: SegmentTurns | None = None
        self._files = ColdReader(directory)
        self._in_ring = False  # the ring's cursor stands behind what read() gave last, and all of `_ready`
        self._was_overrun = False  # the leader was faster: back to the ring only where it is hot
        self._base_offset = -1  # of the segment in which the ring's cursor stands
        self._begun: deque[int] = deque()  # segments that begin at or behind it
        self._ready: deque[Piece] = deque()

    # --- shared memory ------------------------------------------------------------------------------------------------

    def attach(self) -> ControlPage | None:
        """The leader's control page; None while there is none that is whole. Raises ForeignVersionError."""
        if self._attachment is None:
            try:
                self._attachment = MappedPartition(self._tag, self._partition_id, up_to_written=True)
            except (FileNotFoundError, ValueError, CorruptRecordError):  # not made yet, or only half
                return None
            self._turns = SegmentTurns(self._attachment.page.mapping)
            self._files = ColdReader(self.directory)
        return self._attachment.page

    def is_current(self) -> bool:
        """Whether what is mapped is still the partition's; a system call. False without anything."""
        return self._attachment is not None and self._attachment.is_current()

    def detach(self) -> None:
        """Let go of the leader's memory and files. What was read and not handed out is forgotten."""
        self.forget_place()
        self._files.close()
        if self._attachment is not None:
            self._attachment.close()
        self._attachment = self._turns = None

    def forget_place(self) -> None:
        """Look up the next offset that is read, wherever it is."""
        self._in_ring = False
        self._ready.clear()

    @property
    def leader_epoch(self) -> int:
        """Of the leader that is attached, as it says now; -1 without one."""
        return self._attachment.page.leader_epoch if self._attachment is not None else -1

    # --- reading ------------------------------------------------------------------------------------------------------

    def has_news(self, offset: int) -> bool:
        """Whether more than what ends at `offset` is written."""
        return self._attachment is not None and self._attachment.page.written_offset > offset

    def read(self, offset: int, max_bytes: int) -> Piece | None:
        """What is at `offset`, about `max_bytes`, one batch at least; None if nothing is written there yet.

        Raises OffsetOutOfRangeError if the leader's files begin behind `offset`.
        """
        assert self._attachment is not None, "a leader is attached first"
        if not self._ready and not self._read_ring(offset, max_bytes):
            self._in_ring = False
            self._read_files(offset, max_bytes)
        return self._ready.popleft() if self._ready else None

    def _read_ring(self, offset: int, max_bytes: int) -> bool:
        """Whether the ring had it, or has nothing yet."""
        assert self._attachment is not None
        assert self._turns is not None
        if self._attachment.ring is None or self._attachment.ring.has_moved():
            self._in_ring = False
            try:
                self._attachment.renew_ring()
            except LeaderNotAvailableError:
                return False
        ring = self._attachment.ring
        if ring is None:
            return False
        if not self._in_ring:
            base_offset = self._turns.newest()
            if base_offset is None or offset < base_offset or (self._was_overrun and not ring.is_hot(offset)):
                return False
            if not ring.seek(offset):
                return False
            self._in_ring, self._was_overrun = True, False
            self._base_offset = base_offset
            self._begun.clear()
            self._files.close()  # an open file keeps a deleted segment on the disk
            if offset == base_offset:
                self._ready.append(Piece(base_offset, b""))
        chunk = ring.read(max_bytes)
        if not isinstance(chunk, bytes):
            self._was_overrun = not ring.has_moved()
            return False
        begun = self._turns.look()
        if begun is None:
            return False
        self._begun.extend(begun)
        self._split(chunk, ring.next_offset)
        return True

    def _split(self, chunk: bytes, end_offset: int) -> None:
        """Hand out the ring's bytes, which end at `end_offset`, by the segments that they are in."""
        while self._begun and self._begun[0] <= end_offset:
            base_offset = self._begun.popleft()
            before = select_batches(chunk, base_offset)[0]
            if before:
                self._ready.append(Piece(self._base_offset, chunk[:before]))
            chunk, self._base_offset = chunk[before:], base_offset
            if not chunk:
                self._ready.append(Piece(base_offset, b""))
        if chunk:
            self._ready.append(Piece(self._base_offset, chunk))

    def _read_files(self, offset: int, max_bytes: int) -> None:
        assert self._attachment is not None
        self._ready.clear()
        limit = self._attachment.page.written_offset
        if offset < limit:
            chunk = self._files.read(offset, max_bytes, limit)
            if chunk:
                self._ready.append(Piece(self._files.segment_base_offset, chunk))

    # --- what it is ---------------------------------------------------------------------------------------------------

    def epochs(self) -> list[EpochStart]:
        """The leader's checkpoint of its epochs; [] when it cannot be told. Raises OSError."""
        return read_leader_epochs(self._storage, self.directory)

    def has_segment(self, base_offset: int) -> bool:
        """Whether a segment of the leader begins there. Raises OSError."""
        return base_offset in list_base_offsets(self._storage, self.directory)

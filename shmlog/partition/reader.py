"""The one read path: out of the ring while its bytes are hot, out of the segments when they are not.

    position in the ring?  --yes-->  copy whole batches, validated against the owner's intent
          ^                          overrun meanwhile, or a new ring generation: look again
          | no
    segments by offset     -------->  copy whole batches with pread; then ask the ring again

Readers hold nobody up: the owner overwrites what it likes, and who falls behind reads files. The position is an offset
and nothing else, so it survives ring generations, owners and whole clusters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from typing import Final, Protocol, TypeVar

from shmlog.errors import (
    CorruptRecordError,
    LeaderNotAvailableError,
    LogTruncationError,
    OffsetOutOfRangeError,
    ShmlogError,
    StorageError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.columns import RecordColumns, decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.partition.leader_files import SETTLED, LeaderFiles, LeaderPage, OpenFiles
from shmlog.record.expansion import expand

T = TypeVar("T", bound=Sized)

Decoder = Callable[[bytes, str, int, int, int, int, bool], tuple[T, int, int, int]]
"""decode_batches, or something with its arguments."""

LONG_MAX: Final = 2**63 - 1
ATTEMPTS_PER_FETCH: Final = 8
"""Chunks without a record for the application (control batches, overruns) that one fetch steps over."""
GRACE_S: Final = 1.0
"""Regions may be half-made, and files lack what is written, this long: owners make, rename and delete as we look."""


class Page(LeaderPage, Protocol):
    """What a reader looks at in a partition's ctl region (memory.control_page.ControlPage)."""

    @property
    def high_watermark(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...
    @property
    def trace_stride(self) -> int: ...


class Ring(Protocol):
    """A cursor in one generation of a ring (native.ring.RingReader)."""

    @property
    def trace_stride(self) -> int:
        """As of the last read()."""

    @property
    def log_start_offset(self) -> int: ...
    def seek(self, offset: int) -> bool:
        """Go to the batch that holds `offset`; False if the ring does not have it."""

    def read(self, max_bytes: int) -> bytes | int:
        """Whole batches, b"" at the high watermark; anything but bytes: overrun, look again."""

    def is_hot(self, offset: int) -> bool:
        """Whether `offset` is so far inside the ring that coming back from the segments is worthwhile."""

    def has_moved(self) -> bool:
        """Whether the owner writes to another ring by now."""


class Attachment(Protocol):
    """The partition's shared memory as it was mapped (attachment.MappedPartition)."""

    @property
    def page(self) -> Page: ...
    @property
    def ring(self) -> Ring | None:
        """None until the owner has made one."""

    def is_current(self) -> bool:
        """Whether the names still stand for what is mapped here; False after a cluster came back from nothing."""

    def renew_ring(self) -> None:
        """Map the ring generation that is current now."""

    def close(self) -> None:
        """Unmap everything."""


class PartitionReader:
    """Reads one partition from `position` on. Not for several threads at once.

    `attach` maps the partition's shared memory and raises FileNotFoundError while there is none; `open_files` opens the
    files of its leader (see LeaderFiles). Counters: `ring_chunks`, `segment_chunks`, `bytes_read`, `attachments`.
    """

    def __init__(
        self,
        partition: TopicPartition,
        attach: Callable[[], Attachment],
        open_files: OpenFiles,
        position: int = 0,
    ) -> None:
        self.partition = partition
        self.position = position
        """Offset of the next record that fetch() gives."""
        self.leader_epoch = -1
        """What lies before `position` was written under this leader epoch or earlier ones; -1: nobody has said."""
        self.ring_chunks = 0
        self.segment_chunks = 0
        self.bytes_read = 0
        self.attachments = 0
        self.trace_stride = 0
        """As of the last fetch() that gave records: those with offsets that are multiples of it are traced; 0: none."""
        self._attach = attach
        self._files = LeaderFiles(open_files)
        self._attachment: Attachment | None = None
        self._agreed_epoch = -1  # the leader whose log has what lies before `position`, as far as we know
        self._held_up = False  # by a leader that is not ready to say whether it has
        self._in_ring = False  # the ring's cursor stands at `position`, or behind `_rest`, which begins there
        self._rest = b""  # compressed batches that were read, and not expanded yet
        self._rest_limit = LONG_MAX
        self._overrun = False  # the owner was faster: back to the ring only where it is hot
        self._odd_since = -1.0  # since when, on the monotonic clock, something is as it may only be for a moment

    # --- reading ------------------------------------------------------------------------------------------------------

    def seek(self, offset: int, leader_epoch: int = -1) -> None:
        """Go on at `offset`; whether it is in the log shows at the next fetch.

        With the `leader_epoch` of the record before it, also whether that is still the same record.
        """
        if leader_epoch != self.leader_epoch or offset > self.position:
            self._agreed_epoch = -1
        self.position, self.leader_epoch = offset, leader_epoch
        self._forget_place()

    def _forget_place(self) -> None:
        """Look `position` up again."""
        self._in_ring = self._overrun = False
        self._rest = b""

    def fetch(self, max_bytes: int, *, check_crcs: bool = True) -> list[Record]:
        """The records at `position` in about `max_bytes` of batches (one batch at least), and move past them.

        Compressed batches count as what they expand to. Empty when there is nothing to read now, or no owner. Raises
        OffsetOutOfRangeError, LogTruncationError, CorruptRecordError, UnsupportedCompressionTypeError,
        UnknownTopicOrPartitionError once the topic is deleted; the position then stays.
        """
        return self._fetch(decode_batches, max_bytes, check_crcs) or []

    def fetch_columns(self, max_bytes: int, *, check_crcs: bool = True) -> RecordColumns:
        """As fetch(), without an object for any record."""
        return self._fetch(decode_columns, max_bytes, check_crcs) or RecordColumns()

    def _fetch(self, decode: Decoder[T], max_bytes: int, check_crcs: bool) -> T | None:
        for _ in range(ATTEMPTS_PER_FETCH):
            attachment = self._attached()
            if attachment is None:
                return None
            chunk, limit = self._next_chunk(attachment, max_bytes)
            if not chunk:
                self._look_at_state(attachment)
                return None
            records = self._decode(decode, chunk, limit, max_bytes, check_crcs)
            if records:
                return records
        return None

    def has_data(self) -> bool:
        """Whether fetch() would find something: the second look before a sleep."""
        if self._attachment is None or self._files.are_unknown:
            return False
        page = self._attachment.page
        return page.high_watermark > self.position and (not self._held_up or page.state in SETTLED)

    def _next_chunk(self, attachment: Attachment, max_bytes: int) -> tuple[bytes, int]:
        """Whole batches at `position`, and the offset below which they begin; b"" when there is nothing now."""
        if self._rest:
            chunk, self._rest = self._rest, b""
            return chunk, self._rest_limit
        hot = self._from_ring(attachment, max_bytes)
        if hot is not None:
            return hot, LONG_MAX
        limit = attachment.page.high_watermark
        return self._from_segments(attachment, max_bytes, limit), limit

    def _from_ring(self, attachment: Attachment, max_bytes: int) -> bytes | None:
        """A chunk at `position`, b"" when it stands at the high watermark, None if the ring does not have it."""
        ring = attachment.ring
        if ring is None or ring.has_moved():
            attachment.renew_ring()
            self._in_ring = False
            ring = attachment.ring
            if ring is None:
                return None
        if not self._in_ring:
            if not self._agrees(attachment.page):
                return b""
            if self._overrun and not ring.is_hot(self.position):
                return None
            self._in_ring = ring.seek(self.position)
            self._overrun = not self._in_ring
            if not self._in_ring:
                return None
            self._files.close()  # an open file keeps a deleted segment on the disk
        if ring.log_start_offset > self.position:  # deleted, though the ring has it: the files' way says so
            self._in_ring = False
            return None
        chunk = ring.read(max_bytes)
        if not isinstance(chunk, bytes):
            self._in_ring = False
            self._overrun = not ring.has_moved()
            return None
        if chunk:
            self.ring_chunks += 1
            self.trace_stride = ring.trace_stride
        return chunk

    def _from_segments(self, attachment: Attachment, max_bytes: int, limit: int) -> bytes:
        page = attachment.page
        if not self._agrees(page):
            return b""
        if page.state in SETTLED:
            low, end = page.log_start_offset, page.log_end_offset
            if not low <= self.position <= end:
                raise self._out_of_range(low, end)
        if self.position >= limit or page.log_start_offset > self.position:
            return b""
        files = self._files.under(page.leader_epoch)
        if files is None:
            return b""
        try:
            chunk = files.read(self.position, max_bytes, limit)
        except (OffsetOutOfRangeError, StorageError):  # deleted as we look, which the page will say too; or lost
            if page.log_start_offset <= self.position and page.state is not OwnerState.DELETED and self._lasts():
                raise
            chunk = b""
        if chunk:
            self.segment_chunks += 1
            self.trace_stride = page.trace_stride
            self._odd_since = -1.0
            return chunk
        if chunk is None and files.is_hole(limit):
            self.position, self._odd_since = limit, -1.0
            return b""
        if page.log_start_offset > self.position:
            raise self._out_of_range(page.log_start_offset, page.log_end_offset)
        if page.state is not OwnerState.DELETED and self._lasts():
            raise StorageError(
                f"offset {self.position} of {self.partition} is below the high watermark {limit}, but no file of the"
                " partition holds it: look with `shmlog segment verify`, or seek past it"
            )
        return b""

    def _decode(self, decode: Decoder[T], chunk: bytes, limit: int, max_bytes: int, check_crcs: bool) -> T:
        topic, number = self.partition
        try:
            plain, expanded = expand(chunk, str(self.partition), max_bytes, check_crcs=check_crcs)
            decoded = decode(plain, topic, number, self.position, limit, LONG_MAX, check_crcs)
        except ShmlogError:
            self._in_ring = False  # the ring's cursor is past what we did not read
            raise
        records, position, consumed, leader_epoch = decoded
        if consumed < len(plain):
            self._in_ring = False
        elif expanded < len(chunk):
            self._rest, self._rest_limit = chunk[expanded:], limit
        self.position = position
        if leader_epoch >= 0:
            self.leader_epoch = leader_epoch
        self.bytes_read += min(consumed, expanded)
        return records

    def _agrees(self, page: Page) -> bool:
        """Whether the leader has what was read before `position`; False while that cannot be told.

        Raises LogTruncationError if it has not: a log that a power loss has cut, or another replica's.
        """
        present = page.leader_epoch
        if present == self._agreed_epoch:
            return True
        if self.leader_epoch >= 0:
            end_offset = self._files.end_of_epoch(self.leader_epoch, page)
            self._held_up = end_offset is None
            if end_offset is None:
                return False
            if end_offset < self.position:
                raise LogTruncationError(
                    f"{self.partition} was read to offset {self.position} in leader epoch {self.leader_epoch}, and has"
                    f" lost what it had of that and earlier epochs from offset {end_offset} on: seek to {end_offset}"
                    " for what it has there now, or set auto.offset.reset to earliest or latest",
                    self.partition,
                    self.position,
                    end_offset,
                )
        self._agreed_epoch = present
        return True

    def _out_of_range(self, low: int, end: int) -> OffsetOutOfRangeError:
        return OffsetOutOfRangeError(
            f"offset {self.position} of {self.partition} is not in the log, which has {low} to {end}: seek to one of"
            " these, or set auto.offset.reset to earliest or latest"
        )

    def _lasts(self) -> bool:
        """Whether something odd has been so for longer than GRACE_S by now; call it whenever it is seen."""
        now = time.monotonic()
        if self._odd_since < 0:
            self._odd_since = now
        if now - self._odd_since <= GRACE_S:
            return False
        self._odd_since = -1.0
        return True

    # --- the rest of what can be asked --------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the partition's offsets are known: attached, and its owner has recovered."""
        attachment = self._attached()
        return attachment is not None and attachment.page.state in SETTLED

    def watermarks(self) -> Watermarks:
        """The offsets that can be read now. Raises LeaderNotAvailableError while no owner has said."""
        if not self.ready or self._attachment is None:
            raise LeaderNotAvailableError(
                f"partition {self.partition} has no running owner yet: try again, or look with `shmlog status`"
            )
        page = self._attachment.page
        return Watermarks(page.log_start_offset, page.high_watermark)

    def offset_for_timestamp(self, timestamp_ms: int) -> OffsetAndTimestamp | None:
        """The first record at or after `timestamp_ms`; None if all are older."""
        marks = self.watermarks()
        if marks.low >= marks.high:
            return None
        assert self._attachment is not None
        files = self._files.under(self._attachment.page.leader_epoch)
        if files is None:
            raise LeaderNotAvailableError(
                f"partition {self.partition} has another leader, and the supervisor has not said yet where its files"
                " are: try again, or look with `shmlog status`"
            )
        return files.offset_for_timestamp(timestamp_ms, marks.high, marks.low)

    def reattach_if_replaced(self) -> None:
        """For now and then: see whether the cluster came back from nothing, with other regions of the same names."""
        if self._attachment is not None and not self._attachment.is_current():
            self._detach()

    def close(self) -> None:
        """Let go of the shared memory and the files."""
        self._detach()

    # --- shared memory ------------------------------------------------------------------------------------------------

    def _attached(self) -> Attachment | None:
        if self._attachment is None:
            try:
                self._attachment = self._attach()
            except FileNotFoundError:
                return None
            except (ValueError, CorruptRecordError):  # half-made, or broken: time tells
                if self._lasts():
                    raise
                return None
            self._odd_since = -1.0
            self.attachments += 1
        return self._attachment

    def _detach(self) -> None:
        if self._attachment is not None:
            self._attachment.close()
        self._attachment = None
        self._files.forget()  # the next ones may be of a log that was cut
        self._agreed_epoch = -1
        self._forget_place()

    def _look_at_state(self, attachment: Attachment) -> None:
        """There is nothing to read: because there is nothing, or because this is the past?"""
        state = attachment.page.state
        if state is OwnerState.DELETED:
            raise UnknownTopicOrPartitionError(f"topic {self.partition.topic!r} was deleted")
        is_odd = state is OwnerState.CLOSED or self._odd_since >= 0
        if state is OwnerState.REPLACED or (is_odd and not attachment.is_current()):
            self._detach()

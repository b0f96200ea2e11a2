"""A partition on the heap: what its owner would show to readers, moved about by a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shmlog.errors import OffsetOutOfRangeError
from shmlog.log.checkpoint import EpochStart
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp
from shmlog.native.ring import LAGGED
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.header import BatchHeader


@dataclass(slots=True)
class FakePage:
    """Stands for memory.control_page.ControlPage."""

    state: OwnerState = OwnerState.RUN
    high_watermark: int = 0
    log_end_offset: int = 0
    log_start_offset: int = 0
    trace_stride: int = 0
    leader_epoch: int = 0


@dataclass(slots=True)
class FakePartition:
    """Batches in order; the ring holds those from `ring_from` on, the files those from the log's start on.

    Several readers may attach. `incarnation` grows when the cluster comes back from nothing; `segment_reads` and
    `epoch_reads` count.
    Nobody knows where the files of leaders after `located_epoch` are; `opened_under` has the epochs of those who asked.
    """

    batches: list[bytes] = field(default_factory=list)
    page: FakePage = field(default_factory=FakePage)
    ring_from: int = 0
    hot_from: int = 0
    generation: int = 1
    incarnation: int = 0
    there: bool = True
    segment_reads: int = 0
    files_missing: bool = False
    located_epoch: int = 1 << 31
    opened_under: list[int] = field(default_factory=list)
    epochs: list[EpochStart] = field(default_factory=list)
    epoch_reads: int = 0
    has_ring: bool = True

    def append(self, *values: bytes, timestamp_ms: int = 0) -> None:
        """One batch with these values, readable at once."""
        self.append_batch(
            encode_batch(
                [NewRecord(v, timestamp_ms=timestamp_ms) for v in values],
                base_offset=self.page.log_end_offset,
                leader_epoch=self.page.leader_epoch,
            )
        )

    def append_batch(self, batch: bytes) -> None:
        """A batch whose base offset is the log's end."""
        self.batches.append(batch)
        self.page.log_end_offset = self.page.high_watermark = BatchHeader.parse(batch).next_offset

    def overrun(self, offset: int, hot_from: int | None = None) -> None:
        """The ring begins at `offset` from now on; worth going back to from `hot_from` on (default: all of it)."""
        self.ring_from = offset
        self.hot_from = offset if hot_from is None else hot_from

    def delete_before(self, offset: int) -> None:
        """Retention: the log begins at `offset`; files and ring have lost the rest."""
        self.page.log_start_offset = offset
        self.overrun(max(offset, self.ring_from))

    def come_back_from_nothing(self) -> None:
        """The cluster ended without a word and another one serves the same log: other regions, an empty ring."""
        old = self.page
        self.page = FakePage(OwnerState.RUN, old.high_watermark, old.log_end_offset, old.log_start_offset)
        self.incarnation += 1
        self.overrun(old.log_end_offset)

    def next_leader(self, *, ends_at: int | None = None) -> None:
        """The next leader epoch begins, in the same regions; if it ends before, in a log that was cut there."""
        end = self.page.log_end_offset if ends_at is None else ends_at
        self.batches = [batch for batch in self.batches if BatchHeader.parse(batch).next_offset <= end]
        self.page.log_end_offset = self.page.high_watermark = end
        self.page.leader_epoch += 1
        self.epochs = [start for start in self.epochs if start.start_offset < end]
        self.epochs.append(EpochStart(self.page.leader_epoch, end))
        self.generation += 1

    def attach(self) -> FakeAttachment:
        """What PartitionReader takes as `attach`."""
        if not self.there:
            raise FileNotFoundError("no control page yet")
        return FakeAttachment(self)

    def segments(self, leader_epoch: int) -> FakeSegments | None:
        """What PartitionReader takes as `open_files`."""
        if leader_epoch > self.located_epoch:
            return None
        self.opened_under.append(leader_epoch)
        return FakeSegments(self)

    def batches_from(self, offset: int, limit_offset: int) -> Sequence[bytes]:
        headers = [(batch, BatchHeader.parse(batch)) for batch in self.batches]
        return [batch for batch, head in headers if head.next_offset > offset and head.base_offset < limit_offset]


class FakeRing:
    """Stands for native.ring.RingReader."""

    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition
        self._page = partition.page
        self._generation = partition.generation
        self._offset = -1

    @property
    def trace_stride(self) -> int:
        return self._page.trace_stride

    @property
    def log_start_offset(self) -> int:
        return self._page.log_start_offset

    def seek(self, offset: int) -> bool:
        if not self._partition.ring_from <= offset <= self._page.log_end_offset:
            return False
        self._offset = offset
        return True

    def is_hot(self, offset: int) -> bool:
        return self._partition.hot_from <= offset <= self._page.log_end_offset

    def has_moved(self) -> bool:
        return self._partition.generation != self._generation

    def read(self, max_bytes: int) -> bytes | int:
        assert self._offset >= 0, "read before seek"
        if self._offset < self._partition.ring_from or self.has_moved():
            return LAGGED
        batches = _up_to(max_bytes, self._partition.batches_from(self._offset, self._page.high_watermark))
        if batches:
            self._offset = BatchHeader.parse(batches[-1]).next_offset
        return b"".join(batches)


class FakeAttachment:
    """Stands for partition.attachment.MappedPartition."""

    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition
        self._incarnation = partition.incarnation
        self.page = partition.page
        self.ring: FakeRing | None = None
        self.closed = False

    def is_current(self) -> bool:
        return self._partition.incarnation == self._incarnation

    def renew_ring(self) -> None:
        self.ring = FakeRing(self._partition) if self._partition.has_ring else None

    def close(self) -> None:
        self.closed = True


class FakeSegments:
    """Stands for log.cold.ColdReader."""

    def __init__(self, partition: FakePartition) -> None:
        self._partition = partition

    def read(self, offset: int, max_bytes: int, limit_offset: int) -> bytes | None:
        self._partition.segment_reads += 1
        if self._partition.files_missing:
            return None
        if offset < self._partition.page.log_start_offset:
            raise OffsetOutOfRangeError(f"offset {offset} is before the log's start")
        return b"".join(_up_to(max_bytes, self._partition.batches_from(offset, limit_offset))) or None

    def is_hole(self, limit_offset: int) -> bool:
        return False

    def offset_for_timestamp(
        self, timestamp_ms: int, limit_offset: int, start_offset: int
    ) -> OffsetAndTimestamp | None:
        for batch in self._partition.batches_from(self._partition.page.log_start_offset, limit_offset):
            for record in decode_records(batch):
                if record.timestamp_ms >= timestamp_ms and record.offset >= start_offset:
                    return OffsetAndTimestamp(record.offset, record.timestamp_ms)
        return None

    def leader_epochs(self) -> list[EpochStart]:
        self._partition.epoch_reads += 1
        return self._partition.epochs

    def close(self) -> None:
        pass


def _up_to(max_bytes: int, batches: Sequence[bytes]) -> list[bytes]:
    """Whole batches, one at least."""
    chosen: list[bytes] = []
    for batch in batches:
        if chosen and sum(map(len, chosen)) + len(batch) > max_bytes:
            break
        chosen.append(batch)
    return chosen

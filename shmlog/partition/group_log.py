"""The coordinator's log: its machine's records in the partition that its owner owns, and how far they are durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shmlog.control.offsets_topic import decode, encode
from shmlog.log.partition_log import PartitionLog
from shmlog.machines.group.records import GroupRecord
from shmlog.native.records import decode_batches
from shmlog.partition.own_lane import OwnLane
from shmlog.record.batch import NewRecord
from shmlog.record.expansion import expand

_ALL = 2**31 - 1
_END = 2**63 - 1
RECORD_OVERHEAD_BYTES = 64


def stored_records(log: PartitionLog) -> Iterator[GroupRecord]:
    """What a log says, the last record of each key. Raises CorruptRecordError."""
    last: dict[bytes, bytes | None] = {}
    for stored in log.batches(log.log_start_offset):
        chunk = stored
        while chunk:
            plain, done = expand(chunk, log.directory, _ALL)
            records, *_ = decode_batches(plain, "", 0, 0, _END, _ALL)
            for record in records:
                if record.key is not None:
                    last.pop(record.key, None)  # the order of the last ones
                    last[record.key] = record.value
            chunk = chunk[done:]
    for key, value in last.items():
        decoded = decode(key, value)
        if decoded is not None:
            yield decoded


@dataclass(slots=True)
class _Held:
    """To be done when the batches up to number `batch` are durable."""

    batch: int
    todo: Callable[[], None]


class GroupLog:
    """Records of one look at the world are appended together; what waits for them is done when they are durable."""

    def __init__(self, lane: OwnLane, durable_offset: Callable[[], int], batch_bytes_max: int) -> None:
        """`durable_offset`: where the high watermark is."""
        self._lane = lane
        self._durable_offset = durable_offset
        self._batch_bytes_max = batch_bytes_max
        self._waiting: deque[list[NewRecord]] = deque()
        self._waiting_bytes = 0
        self._appended = 0  # batches in the lane, ever
        self._ends: deque[tuple[int, int]] = deque()  # (batch, offset behind it), published and not durable
        self._durable = 0  # batches
        self._held: deque[_Held] = deque()
        self._to_log_end: int | None = None

    def hold_until(self, offset: int) -> None:
        """Nothing that is asked to wait is done before the watermark is here: what a predecessor wrote counts, too."""
        self._to_log_end = offset

    def append(self, records: Sequence[GroupRecord], now_ms: int) -> None:
        """In one batch, together with what else waits, as far as a batch takes them."""
        sized = [(record, _size_bytes(record)) for record in (_encoded(one, now_ms) for one in records)]
        if self._waiting_bytes + sum(size for _, size in sized) > self._batch_bytes_max:
            self._waiting_bytes = self._batch_bytes_max  # all of it together in another one, if possible
        for record, size in sized:
            if not self._waiting or self._waiting_bytes + size > self._batch_bytes_max:
                self._waiting.append([])
                self._waiting_bytes = 0
            self._waiting[-1].append(record)
            self._waiting_bytes += size

    def when_durable(self, todo: Callable[[], None]) -> None:
        """Do this once everything that was appended so far is durable, after what was to be done before."""
        self._held.append(_Held(self._appended + len(self._waiting), todo))

    @property
    def is_drained(self) -> bool:
        """Whether everything that was put into the lane is published. (What has no room there waits for look().)"""
        return not self._lane.unpublished

    def look(self) -> int:
        """Write what waits, do what is due; returns how much of that there was."""
        done = self._write()
        self._note_published()
        durable = self._durable_offset()
        while self._ends and self._ends[0][1] <= durable:
            self._durable = self._ends.popleft()[0]
        if self._to_log_end is not None and durable >= self._to_log_end:
            self._to_log_end = None
        while self._to_log_end is None and self._held and self._held[0].batch <= self._durable:
            self._held.popleft().todo()
            done += 1
        return done

    def _write(self) -> int:
        done = 0
        while self._waiting and self._lane.append(self._waiting[0]):
            self._waiting.popleft()
            self._appended += 1
            done += 1
        return done

    def _note_published(self) -> None:
        published = self._appended - self._lane.unpublished
        noted = self._ends[-1][0] if self._ends else self._durable
        if published > noted:  # of several batches at once the last one's end is known, and stands for all of them
            self._ends.append((published, self._lane.published_offset))


def _encoded(record: GroupRecord, now_ms: int) -> NewRecord:
    key, value = encode(record)
    return NewRecord(value, key=key, timestamp_ms=now_ms)


def _size_bytes(record: NewRecord) -> int:
    return len(record.key or b"") + len(record.value or b"") + RECORD_OVERHEAD_BYTES

"""Producers and consumers of the simulated partition, and what they demand of it."""

from __future__ import annotations

from shmlog.errors import ShmlogError
from shmlog.log.cold import ColdReader
from shmlog.memory import names
from shmlog.memory.lane import LaneTerms, create_lane, lane_data_bytes
from shmlog.model import TopicPartition
from shmlog.native.delivery import Delivery
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.reader import PartitionReader
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, LaneFullError, LaneNeedsAttentionError
from tests.simulation.kernel import Kernel

MAX_BATCH_BYTES = 4096


class Producer:
    """One producer with one lane. What it is told of each record is in `acknowledged`, by value."""

    def __init__(self, kernel: Kernel, tag: str, partition_id: int, number: int) -> None:
        self.kernel = kernel
        self.tag = tag
        self.partition_id = partition_id
        self.number = number
        self.terms = LaneTerms(1, (1 << 32) + number, 0, MAX_BATCH_BYTES, lane_data_bytes(MAX_BATCH_BYTES), 0, -1)
        self.region = names.lane(tag, number)
        create_lane(self.region, lane_id=number, data_bytes=self.terms.data_bytes, linger_us=0, mode=0o600)
        self.is_attached = False
        self.is_spoiled = False
        """Its lane takes no more: another producer goes on."""
        self.is_gone = False
        """It is dead, and hears of nothing."""
        self.sent: list[bytes] = []
        self.acknowledged: dict[bytes, int] = {}
        self.refused: dict[bytes, str] = {}
        self._waiting: list[tuple[bytes, Delivery]] = []
        self._lane: Lane | None = None

    def send(self, count: int, size: int) -> int:
        """Send so many records; how many were accepted."""
        if not self.is_attached or self.is_spoiled:
            return 0
        if self._lane is None:
            self._lane = Lane(self.tag, self.number, self.terms, -1, 0, partition_id=self.partition_id)
        for accepted in range(count):
            value = b"%d:%d;" % (self.number, len(self.sent))
            try:
                delivery = self._lane.send(TOPIC_NAME, value.ljust(size, b"."), timestamp_ms=self.kernel.wall_ms())
            except LaneFullError:
                return accepted
            except LaneNeedsAttentionError:
                self.is_spoiled = True
                return accepted
            self.sent.append(value)
            self._waiting.append((value, delivery))
        return count

    def hear(self) -> int:
        """Collect outcomes; how many records were acknowledged."""
        if self._lane is None or self.is_gone:
            return 0
        self._lane.writer.reclaim()
        if self._lane.writer.attention:
            self.is_spoiled = True
        done = [(value, delivery) for value, delivery in self._waiting if delivery.done]
        self._waiting = [(value, delivery) for value, delivery in self._waiting if not delivery.done]
        before = len(self.acknowledged)
        for value, delivery in done:
            if delivery.error is None:
                self.acknowledged[value] = delivery.result().offset
            else:
                self.refused[value] = str(delivery.error)
        return len(self.acknowledged) - before

    @property
    def waits(self) -> bool:
        return bool(self._waiting) and not self.is_spoiled


class Consumer:
    """Reads from the beginning, and on. `seen`: what it was shown, in order."""

    def __init__(self, kernel: Kernel, tag: str, partition_id: int, directory: list[str], position: int) -> None:
        self.kernel = kernel
        self.first = position
        self.seen: list[bytes] = []
        self._reader = PartitionReader(
            TopicPartition(TOPIC_NAME, 0),
            lambda: MappedPartition(tag, partition_id),
            lambda _: ColdReader(directory[0]),
            position,
        )

    @property
    def position(self) -> int:
        return self._reader.position

    def poll(self, max_bytes: int) -> str:
        """Read once. How many records there were, or the error, in a word."""
        before = self.position
        try:
            records = self._reader.fetch(max_bytes)
        except (ShmlogError, OSError) as error:
            return type(error).__name__
        for expected, record in enumerate(records, before):
            assert record.offset == expected, f"a consumer at {expected} was given offset {record.offset}"
            assert record.value is not None
            self.seen.append(bytes(record.value).rstrip(b"."))
        return str(len(records))

    def close(self) -> None:
        self._reader.close()

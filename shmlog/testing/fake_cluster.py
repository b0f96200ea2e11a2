"""A topic on the heap and a supervisor in a thread: all that a consumer needs of a cluster, moved about by a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from shmlog.client.connection import Connection
from shmlog.client.consumer import NativeConsumer
from shmlog.control.messages import PartitionDescription
from shmlog.control.paths import runtime_paths
from shmlog.model import TopicPartition
from shmlog.native.records import Record
from shmlog.partition.reader import PartitionReader
from shmlog.testing.fake_partition import FakePartition
from shmlog.testing.fake_supervisor import FakeSupervisor

NAME = "planes"
P0, P1, P2 = (TopicPartition("flights", number) for number in range(3))


class FakeCluster:
    """A topic `flights` with three partitions, and whoever asks for consumers. close() closes what is its own."""

    def __init__(self) -> None:
        self.supervisor = FakeSupervisor(runtime_paths(NAME))
        self.supervisor.topics["flights"] = 3
        self.connection = Connection(NAME, self.supervisor.paths)
        self.partitions: dict[TopicPartition, FakePartition] = {}

    def open_reader(self, partition: TopicPartition, _: PartitionDescription) -> PartitionReader:
        fake = self.partitions.setdefault(partition, FakePartition())
        return PartitionReader(partition, fake.attach, fake.segments)

    def consumer(self, *topics: str | Sequence[str], **settings: object) -> NativeConsumer:
        return NativeConsumer(self.connection, self.open_reader, topics, settings)

    def fill(self, *counts: int) -> None:
        """Up to so many records in partition 0, 1, ..: five a batch, values are `partition:offset`."""
        for number, count in enumerate(counts):
            fake = self.partitions.setdefault(TopicPartition("flights", number), FakePartition())
            for first in range(fake.page.log_end_offset, count, 5):
                values = [b"%d:%d" % (number, offset) for offset in range(first, min(first + 5, count))]
                fake.append(*values, timestamp_ms=1000 + first)

    def close(self) -> None:
        self.connection.close()
        self.supervisor.stop(forget=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def offsets(records: Iterable[Record]) -> list[int]:
    return [record.offset for record in records]

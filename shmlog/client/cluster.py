"""The native cluster: one connection, and everything that was made from it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Unpack

from shmlog.client.admin import NativeAdmin
from shmlog.client.connection import Connection
from shmlog.client.consumer import NativeConsumer
from shmlog.client.embedded import EmbeddedSupervisor
from shmlog.client.handle import ClosableHandle
from shmlog.client.log_locations import LogLocations
from shmlog.client.producer import NativeProducer
from shmlog.client.results import ClusterInfo
from shmlog.client.settings import ConsumerSettings, ProducerSettings
from shmlog.control.messages import DescribeTopics, PartitionDescription, TopicsDescribed
from shmlog.memory.control_page import ControlPage
from shmlog.model import TopicPartition
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.reader import PartitionReader


class NativeCluster(ClosableHandle):
    """Implements api.Cluster. Owns the connection, and the supervisor of an embedded cluster, which ends last."""

    def __init__(self, connection: Connection, supervisor: EmbeddedSupervisor | None = None) -> None:
        super().__init__("cluster")
        self._connection = connection
        self._supervisor = supervisor
        self._admin = NativeAdmin(connection)
        self._log_locations = LogLocations(connection)
        self._made: weakref.WeakSet[NativeProducer | NativeConsumer] = weakref.WeakSet()

    @property
    def name(self) -> str:
        return self._connection.cluster_name

    @property
    def connection(self) -> Connection:
        """For tools that look deeper than the public names."""
        return self._connection

    @property
    def admin(self) -> NativeAdmin:
        self.check_usable()
        return self._admin

    def producer(self, **settings: Unpack[ProducerSettings]) -> NativeProducer:
        self.check_usable()
        producer = NativeProducer(self._connection, settings)
        self._made.add(producer)
        return producer

    def consumer(self, *topics: str | Sequence[str], **settings: Unpack[ConsumerSettings]) -> NativeConsumer:
        self.check_usable()
        consumer = NativeConsumer(self._connection, self._open_reader, topics, settings)
        self._made.add(consumer)
        return consumer

    def _open_reader(self, partition: TopicPartition, found: PartitionDescription) -> PartitionReader:
        return PartitionReader(
            partition,
            attach=lambda: MappedPartition(self._connection.tag, found.partition_id),
            open_files=self._log_locations.opener(partition.topic, found),
        )

    def describe(self) -> ClusterInfo:
        return self.admin.describe_cluster()

    def metrics(self) -> dict[TopicPartition, dict[str, int]]:
        """As api.Cluster.metrics(); partitions without an owner's control page are left out."""
        self.check_usable()
        found: dict[TopicPartition, dict[str, int]] = {}
        for topic in self._connection.request(DescribeTopics(0, None), TopicsDescribed).topics:
            for partition in topic.partitions:
                with suppress(FileNotFoundError):
                    counts = _counts(self._connection.tag, partition.partition_id)
                    found[TopicPartition(topic.name, partition.partition)] = counts
        return found

    def close(self) -> None:
        if self._closed or self.inherited:
            return
        self._closed = True
        try:
            for handle in list(self._made):
                handle.close()
        finally:
            self._connection.close()
            if self._supervisor is not None:
                self._supervisor.end()

    async def aclose(self) -> None:
        if self._closed or self.inherited:
            return
        self._closed = True
        async with AsyncExitStack() as everything:  # all of it, from the last, also when one fails or is cancelled
            if self._supervisor is not None:
                everything.push_async_callback(self._supervisor.aend)
            everything.callback(self._connection.close)
            for handle in list(self._made):
                everything.push_async_callback(handle.aclose)


def _counts(tag: str, partition_id: int) -> dict[str, int]:
    page = ControlPage.open(tag, partition_id)
    try:
        return {
            **page.counters(),
            "state": int(page.state),
            "leader_epoch": page.leader_epoch,
            "pid": page.pid,
            "log_start_offset": page.log_start_offset,
            "high_watermark": page.high_watermark,
            "synced_offset": page.synced_offset,
            "written_offset": page.written_offset,
            "log_end_offset": page.log_end_offset,
            "ring_generation": page.generation,
            "ring_bytes": page.ring_bytes,
        }
    finally:
        page.close()

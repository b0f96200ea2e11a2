"""Members of a group over a cluster on the heap."""

from __future__ import annotations

from collections.abc import Sequence

from shmlog.client.api import Consumer
from shmlog.client.consumer import NativeConsumer
from shmlog.model import TopicPartition
from shmlog.native.records import Record
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import FakeCluster


class Heard:
    """Callbacks that note what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[TopicPartition]]] = []

    def on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        assert set(partitions) <= consumer.assignment()
        self.calls.append(("assign", list(partitions)))

    def on_revoke(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        assert set(partitions) <= consumer.assignment()  # it may still commit
        self.calls.append(("revoke", list(partitions)))

    def on_lost(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.calls.append(("lost", list(partitions)))


def member(world: FakeCluster, *topics: str, **settings: object) -> NativeConsumer:
    """In group `delays`, from the earliest record."""
    return world.consumer(
        *(topics or ("flights",)), **{"group_id": "delays", "auto_offset_reset": "earliest"} | settings
    )


def id_of(consumer: NativeConsumer) -> str:
    assert consumer.member_id is not None
    return consumer.member_id


def all_of(consumer: NativeConsumer, *partitions: TopicPartition) -> list[Record]:
    """What there is to read once these are what it reads, and whatever it was given before that."""
    records: list[Record] = []

    def as_wanted() -> bool:
        records.extend(consumer.poll())
        return consumer.assignment() == set(partitions)

    wait_until(as_wanted)
    return records + consumer.poll()


def reads(consumer: NativeConsumer, *partitions: TopicPartition) -> None:
    """Poll until these are what it reads."""

    def as_wanted() -> bool:
        consumer.poll(1)
        return consumer.assignment() == set(partitions)

    wait_until(as_wanted)

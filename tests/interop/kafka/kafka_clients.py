"""What is written to and read from a real broker, with aiokafka and kafka-python."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import pytest

from shmlog import Record
from tests.interop.kafka.our_logs import START_MS, TURNS, Sent, all_kinds, changes

aiokafka = pytest.importorskip("aiokafka", reason="needs aiokafka, from the extra test")
kafka = pytest.importorskip("kafka", reason="needs kafka-python, from the extra test")
kafka_admin = pytest.importorskip("kafka.admin", reason="needs kafka-python, from the extra test")

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
TOPICS: dict[str, dict[str, str]] = {
    "codecs": {},
    "several": {"segment.bytes": "1048576"},
    "append-time": {"message.timestamp.type": "LogAppendTime"},
    "preallocated": {"preallocate": "true", "segment.bytes": "1048576"},
    "shortened": {},
    "transactions": {},
    "compacted": {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"},
}
ONE_MORE = b"one more"
GROUP, COMMITTED = "readers", 11
"""A group, and what it has committed of the topic `codecs`."""
SHORTENED_AT = 17
"""Records before this offset of the topic `shortened` are deleted."""


def create_topics(address: str, topics: Mapping[str, dict[str, str]]) -> None:
    admin = kafka.KafkaAdminClient(bootstrap_servers=address)
    try:
        admin.create_topics([kafka_admin.NewTopic(name, 1, 1, topic_configs=config) for name, config in topics.items()])
    finally:
        admin.close()


def delete_records(address: str) -> None:
    admin = kafka.KafkaAdminClient(bootstrap_servers=address)
    try:
        admin.delete_records({kafka.TopicPartition("shortened", 0): SHORTENED_AT})
    finally:
        admin.close()


async def write_all(address: str, while_undecided: Callable[[], Awaitable[None]]) -> None:
    """Fill TOPICS. What is given is awaited while a transaction is open, which is then aborted."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=address, linger_ms=5) as producer:
        for number in range(3):
            await _send(producer, "append-time", [Sent(b"late", None)] * 5, START_MS // 1000 + number)
            await _send(producer, "preallocated", all_kinds(40))
        for number in range(30):
            await _send(producer, "shortened", [Sent(b"%d" % number, b"key")])
        for _ in range(6):
            await _send(producer, "several", [Sent(b"v" * 1000, b"%d" % k) for k in range(500)])
    for codec in CODECS:
        async with aiokafka.AIOKafkaProducer(
            bootstrap_servers=address, compression_type=codec, enable_idempotence=True
        ) as producer:
            for _ in range(2):
                await _send(producer, "codecs", all_kinds(40))
    for turn in range(TURNS):
        async with aiokafka.AIOKafkaProducer(
            bootstrap_servers=address, compression_type="zstd", enable_idempotence=True
        ) as producer:
            await _send(producer, "compacted", changes(turn), START_MS + 100 * turn)
    delete_records(address)
    await _commit_offsets(address)
    await _transactions(address, while_undecided)


async def _send(producer: object, topic: str, records: list[Sent], start_ms: int = START_MS) -> None:
    """As one batch or a few; batches are made by hand, because the client's send() wants a key or a value."""
    left = list(records)
    while left:
        batch = producer.create_batch()  # type: ignore[attr-defined]  # aiokafka ships without types
        while left and batch.append(
            key=left[0].key, value=left[0].value, timestamp=start_ms, headers=list(left[0].headers)
        ):
            del left[0]
            start_ms += 1
        batch.close()
        await (await producer.send_batch(batch, topic, partition=0))  # type: ignore[attr-defined]  # as above


async def _commit_offsets(address: str) -> None:
    """As a member of a group, which leaves then."""
    async with aiokafka.AIOKafkaConsumer(
        "codecs", bootstrap_servers=address, group_id=GROUP, enable_auto_commit=False
    ) as consumer:
        place = aiokafka.TopicPartition("codecs", 0)
        while place not in consumer.assignment():
            await consumer.getmany(timeout_ms=100)
        await consumer.commit({place: aiokafka.structs.OffsetAndMetadata(COMMITTED, "so far")})


async def _transactions(address: str, while_undecided: Callable[[], Awaitable[None]]) -> None:
    first, second = (
        aiokafka.AIOKafkaProducer(bootstrap_servers=address, transactional_id=name) for name in ("first", "second")
    )
    async with first, second:
        for number, commits in enumerate((True, False, True, False)):
            for producer in (first, second):
                await producer.begin_transaction()
            for k in range(3):
                for name, producer in ((b"first", first), (b"second", second)):
                    await producer.send_and_wait("transactions", name + b" %d %d" % (number, k))
            await (first.commit_transaction() if commits else first.abort_transaction())
            await (second.abort_transaction() if commits else second.commit_transaction())
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=address) as plain:
            await plain.send_and_wait("transactions", b"plain")
            await first.begin_transaction()
            await first.send_and_wait("transactions", b"undecided")
            await plain.send_and_wait("transactions", b"plain, behind what is undecided")
            await while_undecided()
            await first.abort_transaction()


async def read_all(address: str) -> dict[tuple[str, str], list[Record]]:
    """What the broker serves, by topic and isolation level."""
    levels = ("read_uncommitted", "read_committed")
    return {(topic, level): await read_topic(address, topic, level) for topic in TOPICS for level in levels}


async def send_and_read(address: str, topics: list[str]) -> dict[str, list[Record]]:
    """Everything that the broker has of these topics, after one record more for each."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=address) as producer:
        for topic in topics:
            await producer.send_and_wait(topic, ONE_MORE)
    return {topic: await read_topic(address, topic) for topic in topics}


async def read_topic(address: str, topic: str, isolation_level: str = "read_uncommitted") -> list[Record]:
    """Everything that the broker has of the topic's one partition."""
    place = aiokafka.TopicPartition(topic, 0)
    found: list[Record] = []
    async with aiokafka.AIOKafkaConsumer(
        bootstrap_servers=address, isolation_level=isolation_level, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        end = (await consumer.end_offsets([place]))[place]
        deadline = time.monotonic() + 30
        while await consumer.position(place) < end:
            assert time.monotonic() < deadline, f"{topic}: read {len(found)} records, not up to offset {end}"
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [
                    Record(topic, 0, one.offset, one.timestamp, one.key, one.value, tuple(one.headers))
                    for one in records
                ]
    return found

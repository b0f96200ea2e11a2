"""shmlog itself: an embedded cluster with one partition, through the public API like everybody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import shmlog
from shmlog import TopicPartition

from ..arena import cluster_in
from .peer import Peer, Receiver, Route, Sender

TOPIC = "versus"
BATCH_RECORDS = 1000
FLUSH_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class ShmlogRoute:
    """The cluster's name."""

    cluster: str
    is_batched: bool

    def sender(self) -> Sender:
        return ShmlogSender(self.cluster, self.is_batched)

    def receiver(self) -> Receiver:
        return ShmlogReceiver(self.cluster)


class ShmlogSender:
    """send or send_many, then flush: everything is acknowledged when send() returns."""

    def __init__(self, cluster: str, is_batched: bool) -> None:
        self._cluster = shmlog.connect(cluster)
        self._producer = self._cluster.producer()
        self._is_batched = is_batched

    def send(self, payloads: list[bytes]) -> None:
        if self._is_batched:
            for at in range(0, len(payloads), BATCH_RECORDS):
                self._producer.send_many(TOPIC, payloads[at : at + BATCH_RECORDS])
        else:
            send = self._producer.send
            for payload in payloads:
                send(TOPIC, payload)
        self._producer.flush(FLUSH_TIMEOUT_S)

    def close(self) -> None:
        self._cluster.close()


class ShmlogReceiver:
    """Sleeps in poll()."""

    def __init__(self, cluster: str) -> None:
        self._cluster = shmlog.connect(cluster)
        self._consumer = self._cluster.consumer()
        self._consumer.assign([TopicPartition(TOPIC, 0)])
        self._consumer.poll(timeout=0.0)

    def receive(self, most: int) -> list[bytes]:
        return [record.value for record in self._consumer.poll(max_records=most, timeout=None)]

    def close(self) -> None:
        self._cluster.close()


def _start(is_batched: bool, directory: Path, size_bytes: int) -> contextlib.AbstractContextManager[Route]:
    @contextlib.contextmanager
    def cluster() -> Iterator[Route]:
        with cluster_in(directory, TOPIC, 1, **{"max.message.bytes": max(262_144, 2 * size_bytes)}) as started:
            yield ShmlogRoute(started.name, is_batched)

    return cluster()


SETTINGS = "acks=all, idempotent, delivery handles, murmur2 partitioner, checksums, log written, one partition"

SHMLOG = Peer(
    name="shmlog",
    title="shmlog, send",
    settings=f"{SETTINGS}; one by one",
    lacks="",
    start=lambda directory, size_bytes: _start(False, directory, size_bytes),
)
SHMLOG_MANY = Peer(
    name="shmlog-many",
    title="shmlog, send_many",
    settings=f"{SETTINGS}; send_many of {BATCH_RECORDS}",
    lacks="",
    start=lambda directory, size_bytes: _start(True, directory, size_bytes),
    is_batched=True,
)

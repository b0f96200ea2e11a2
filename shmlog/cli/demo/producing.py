"""One producer process of the demo: reads its share of the input beforehand, then sends it record by record."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import orjson

import shmlog
from shmlog.cli.demo.source import KeyedValue, Source
from shmlog.testing.worker_process import Message, hear, say, serve

if TYPE_CHECKING:
    from shmlog import Delivery, Producer

PREPARED_BYTES_MAX = 256 * 1024 * 1024
"""So much is read before the start; a larger share is read while it is sent."""
CHUNK_RECORDS = 2000
UNCONFIRMED_RECORDS_MAX = 50_000
"""Beyond so many, the oldest deliveries are waited for; one partition that pauses does not hold the others up."""
CONFIRM_TIMEOUT_S = 60.0
TRICKLE_S = 0.0005


def prepare(records: Iterator[KeyedValue]) -> list[KeyedValue]:
    """Read ahead up to PREPARED_BYTES_MAX."""
    prepared = []
    total_bytes = 0
    for record in records:
        prepared.append(record)
        total_bytes += len(record.value)
        if total_bytes >= PREPARED_BYTES_MAX:
            break
    return prepared


class Gate:
    """Marks for --kill-owner, in records of this producer, so that the kill falls between one and two thirds of all.

    At `report_at` the producer says so; the parent kills when all have. Who has sent `slow_at` before that goes on one
    by one, so that records are always on their way; at `stop_at` it waits.
    """

    def __init__(self, orders: Message) -> None:
        self.chunk_records: int = orders.get("chunk_records", CHUNK_RECORDS)
        self.report_at: int | None = orders.get("report_at")
        self.slow_at: int = orders.get("slow_at", 0)
        self.stop_at: int = orders.get("stop_at", 0)
        self.released = self.report_at is None

    def allow(self, sent: int) -> int:
        """How many records may be sent next, after `sent`; waits if it must. Raises ParentGoneError."""
        if self.report_at is not None and sent >= self.report_at:
            say(reached=sent)
            self.report_at = None
        must_wait = not self.released and sent >= self.stop_at
        slowly = not self.released and sent >= self.slow_at
        if hear(None if must_wait else TRICKLE_S if slowly else 0.0) is not None:
            self.released = True
        if self.released:
            return self.chunk_records
        return min(self.chunk_records, self.slow_at - sent) if sent < self.slow_at else 1


def send_all(producer: Producer, topic: str, records: Iterable[KeyedValue], gate: Gate) -> int:
    """Send everything, and see every delivery confirmed; returns how many. Raises the first delivery that failed."""
    send = producer.send
    remaining = iter(records)
    unconfirmed: deque[list[Delivery]] = deque()
    sent = confirmed = 0
    while chunk := list(islice(remaining, gate.allow(sent))):
        unconfirmed.append([send(topic, value, key) for key, value in chunk])
        sent += len(chunk)
        while sent - confirmed > UNCONFIRMED_RECORDS_MAX:
            confirmed += _confirm(unconfirmed.popleft())
    producer.flush(CONFIRM_TIMEOUT_S)
    while unconfirmed:
        confirmed += _confirm(unconfirmed.popleft())
    return confirmed


def _confirm(deliveries: list[Delivery]) -> int:
    for delivery in deliveries:
        delivery.result(CONFIRM_TIMEOUT_S)
    return len(deliveries)


def work() -> None:
    """Prepare, say so, wait for the start, send, say how many."""
    order = orjson.loads(sys.argv[1])
    remaining = Source(order["file"], order["key_field"]).share_of(order["number"], order["producers"])
    prepared = prepare(remaining)
    say(prepared=len(prepared))
    start = hear()
    assert start is not None
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        say(ready=True)
        orders = hear()
        assert orders is not None
        began_ns = time.monotonic_ns()
        sent = send_all(producer, order["topic"], chain(prepared, remaining), Gate(orders))
        say(sent=sent, began_ns=began_ns, ended_ns=time.monotonic_ns())


if __name__ == "__main__":
    sys.exit(serve(work))

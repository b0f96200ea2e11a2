"""One producer process of the demo: reads its share of the input beforehand, then sends it record by record."""

from __future__ import annotations

import sys
import time
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
"""After so many sends, the deliveries of the chunk before are confirmed."""
CONFIRM_TIMEOUT_S = 60.0


def prepare(records: Iterator[KeyedValue]) -> tuple[list[KeyedValue], int]:
    """Read ahead up to PREPARED_BYTES_MAX; returns the records and the size of the largest in bytes."""
    prepared, total, largest = [], 0, 0
    for record in records:
        prepared.append(record)
        size = len(record.value) + len(record.key or b"")
        largest = max(largest, size)
        total += size
        if total >= PREPARED_BYTES_MAX:
            break
    return prepared, largest


class Gate:
    """Two marks for --kill-owner: having sent `report_at` records the producer says so; before it has sent `hold_at` it
    waits until the parent has killed. So the kill falls between these shares of all records, however fast sending is.
    """

    def __init__(self, orders: Message) -> None:
        self.report_at: int | None = orders.get("report_at")
        self.hold_at: int | None = orders.get("hold_at")
        self.released = self.hold_at is None

    def before(self, sent: int, more: int) -> None:
        """Called before `more` records are sent. Raises ParentGoneError."""
        if self.report_at is not None and sent >= self.report_at:
            say(reached=sent)
            self.report_at = None
        must_hold = not self.released and self.hold_at is not None and sent + more > self.hold_at
        if hear(None if must_hold else 0.0) is not None:
            self.released = True


def send_all(producer: Producer, topic: str, records: Iterable[KeyedValue], gate: Gate, chunk_records: int) -> int:
    """Send everything, and see every delivery confirmed; returns how many. Raises the first delivery that failed."""
    send = producer.send
    remaining = iter(records)
    pending: list[Delivery] = []
    sent = 0
    while chunk := list(islice(remaining, chunk_records)):
        gate.before(sent, len(chunk))
        deliveries = [send(topic, value, key) for key, value in chunk]
        sent += len(chunk)
        for delivery in pending:
            delivery.result(CONFIRM_TIMEOUT_S)
        pending = deliveries
    producer.flush(CONFIRM_TIMEOUT_S)
    for delivery in pending:
        delivery.result(CONFIRM_TIMEOUT_S)
    return sent


def work() -> None:
    """Prepare, say so, wait for the start, send, say how many."""
    order = orjson.loads(sys.argv[1])
    remaining = Source(order["file"], order["key_field"]).share_of(order["number"], order["producers"])
    prepared, largest = prepare(remaining)
    say(prepared=len(prepared), largest=largest)
    start = hear()
    assert start is not None
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        say(ready=True)
        orders = hear()
        assert orders is not None
        chunk_records = orders.get("chunk_records") or CHUNK_RECORDS
        began_ns = time.monotonic_ns()
        sent = send_all(producer, order["topic"], chain(prepared, remaining), Gate(orders), chunk_records)
        say(sent=sent, began_ns=began_ns, ended_ns=time.monotonic_ns())


if __name__ == "__main__":
    sys.exit(serve(work))

"""The producer or the consumer process of the throughput benchmark. Payloads begin with their sequence number."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

import shmlog
from shmlog import TopicPartition
from shmlog.testing.worker_process import Message, hear, say, serve

from .history_files import write_pairs
from .pinning import pin

SEQUENCE_BYTES = 8
BULK_RECORDS = 1000
FLUSH_TIMEOUT_S = 120.0
POLL_RECORDS_MAX = 5000
SILENCE_S = 60.0


def make_payloads(first: int, count: int, size_bytes: int) -> list[bytes]:
    """Payloads with consecutive sequence numbers, all different."""
    padding = b"." * (size_bytes - SEQUENCE_BYTES)
    return [sequence.to_bytes(SEQUENCE_BYTES, "little") + padding for sequence in range(first, first + count)]


def _send_one(producer: shmlog.Producer, topic: str, payloads: list[bytes]) -> None:
    send = producer.send
    for payload in payloads:
        send(topic, payload)


def _send_many(producer: shmlog.Producer, topic: str, payloads: list[bytes]) -> None:
    for at in range(0, len(payloads), BULK_RECORDS):
        producer.send_many(topic, payloads[at : at + BULK_RECORDS])


def _send_columns(producer: shmlog.Producer, topic: str, payloads: np.ndarray[Any, Any]) -> None:
    for at in range(0, len(payloads), BULK_RECORDS):
        producer.send_columns(topic, payloads[at : at + BULK_RECORDS])


SENDING: dict[str, Callable[[shmlog.Producer, str, Any], None]] = {
    "one": _send_one,
    "many": _send_many,
    "columns": _send_columns,
}
"""How a round's payloads are handed over, by name; each kind of sending is one entry here."""
ARRANGING: dict[str, Callable[[list[bytes]], Any]] = {"columns": np.array}
"""What becomes of the payloads before the clock runs, where sending does not take a list."""

Poll = tuple[int, int, Any]
"""First and last offset of what one call gave, and its values, joined or in an array."""


def _read_values(consumer: shmlog.Consumer, _: int) -> Poll | None:
    records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=1.0)
    if not records:
        return None
    return records[0].offset, records[-1].offset, b"".join([record.value for record in records])


def _read_records(consumer: shmlog.Consumer, _: int) -> Poll | None:
    records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=1.0)
    if not records:
        return None
    offsets, values = [], []
    for record in records:
        offsets.append(record.offset)
        values.append(record.value)
    return offsets[0], offsets[-1], b"".join(values)


def _read_columns(consumer: shmlog.Consumer, size_bytes: int) -> Poll | None:
    columns = consumer.poll_columns(timeout=1.0)
    if not columns:
        return None
    offsets = columns.offsets
    return int(offsets[0]), int(offsets[-1]), columns.values_as(f"V{size_bytes}")


READING = {"values": _read_values, "records": _read_records, "columns": _read_columns}
"""What is asked of every record, by name: its value, its offset and its value, or both of all of them in arrays."""


def produce(order: Message) -> None:
    """For each round: make the payloads, send them, wait until all are acknowledged, say what it cost."""
    topic, count, send = order["topic"], order["records"], SENDING[order["sending"]]
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        say(ready=True)
        while (start := hear()) is not None:
            payloads = make_payloads(start["round"] * count, count, order["size_bytes"])
            payloads = ARRANGING.get(order["sending"], list)(payloads)
            began_ns, cpu_before_ns = time.monotonic_ns(), time.process_time_ns()
            send(producer, topic, payloads)
            cpu_ns = time.process_time_ns() - cpu_before_ns
            producer.flush(FLUSH_TIMEOUT_S)
            say(
                began_ns=began_ns,
                cpu_ns=cpu_ns,
                acked=order["acks"] != "0" and not producer.metrics()["failed_batches"],
            )


def consume(order: Message) -> None:
    """For each round: read as many records as were sent, touching every value; afterwards leave what was read."""
    count = order["records"]
    with shmlog.connect(order["cluster"]) as cluster, cluster.consumer() as consumer:
        consumer.assign([TopicPartition(order["topic"], 0)])
        consumer.poll(timeout=0.0)
        say(ready=True)
        while (start := hear()) is not None:
            polls, cpu_ns, ended_ns = _read_round(consumer, count, order["size_bytes"], READING[order["reading"]])
            offsets, sequences = _columns(polls, order["size_bytes"])
            file = Path(order["directory"]) / f"round-{start['round']}.reads"
            write_pairs(file, offsets, sequences)
            say(cpu_ns=cpu_ns, ended_ns=ended_ns, file=str(file))


def _read_round(
    consumer: shmlog.Consumer, count: int, size_bytes: int, read: Callable[[shmlog.Consumer, int], Poll | None]
) -> tuple[list[Poll], int, int]:
    polls: list[Poll] = []
    seen = 0
    cpu_before_ns = ended_ns = time.process_time_ns()
    quiet_since = time.monotonic()
    while seen < count:
        found = read(consumer, size_bytes)
        if found is None:
            if time.monotonic() - quiet_since > SILENCE_S:
                raise TimeoutError(f"{count - seen} of {count} records did not come")
            continue
        polls.append(found)
        seen += found[1] - found[0] + 1
        ended_ns = time.monotonic_ns()
        quiet_since = time.monotonic()
    return polls, time.process_time_ns() - cpu_before_ns, ended_ns


def _columns(polls: list[Poll], size_bytes: int) -> tuple[array[int], array[int]]:
    """Offsets and sequence numbers of everything that was read. A poll's offsets are dense, or its columns differ."""
    offsets, sequences = array("q"), array("q")
    for first, last, joined in polls:
        rows = np.frombuffer(bytes(joined), dtype=np.uint8).reshape(-1, size_bytes)
        if last - first + 1 != len(rows):
            raise ValueError(f"a poll of {len(rows)} records went from offset {first} to {last}")
        sequences.frombytes(np.ascontiguousarray(rows[:, :SEQUENCE_BYTES]).tobytes())
        offsets.extend(range(first, last + 1))
    return offsets, sequences


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    pin(0, request["core"])
    sys.exit(serve(lambda: produce(request) if request["role"] == "produce" else consume(request)))

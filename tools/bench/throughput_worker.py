"""The producer or the consumer process of the throughput benchmark. Payloads begin with their sequence number."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

import shmlog
from shmlog import Record, TopicPartition
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


SENDING = {"one": _send_one, "many": _send_many}
"""How a round's payloads are handed over, by name; each kind of sending is one entry here."""


def _values_of(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


def _offsets_and_values_of(records: list[Record]) -> list[bytes]:
    offsets, values = [], []
    for record in records:
        offsets.append(record.offset)
        values.append(record.value)
    return values


READING = {"values": _values_of, "records": _offsets_and_values_of}
"""What is asked of every record, by name: its value, or its offset and its value, one record after the other."""


def produce(order: Message) -> None:
    """For each round: make the payloads, send them, wait until all are acknowledged, say what it cost."""
    topic, count, send = order["topic"], order["records"], SENDING[order["sending"]]
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        say(ready=True)
        while (start := hear()) is not None:
            payloads = make_payloads(start["round"] * count, count, order["size_bytes"])
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
            polls, cpu_ns, ended_ns = _read_round(consumer, count, READING[order["reading"]])
            offsets, sequences = _columns(polls, order["size_bytes"])
            file = Path(order["directory"]) / f"round-{start['round']}.reads"
            write_pairs(file, offsets, sequences)
            say(cpu_ns=cpu_ns, ended_ns=ended_ns, file=str(file))


Poll = tuple[int, int, bytes]
"""First and last offset of one poll's records, and their values joined."""


def _read_round(
    consumer: shmlog.Consumer, count: int, values_of: Callable[[list[Record]], list[bytes]]
) -> tuple[list[Poll], int, int]:
    polls: list[Poll] = []
    seen = 0
    cpu_before_ns = ended_ns = time.process_time_ns()
    quiet_since = time.monotonic()
    while seen < count:
        records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=1.0)
        if not records:
            if time.monotonic() - quiet_since > SILENCE_S:
                raise TimeoutError(f"{count - seen} of {count} records did not come")
            continue
        polls.append((records[0].offset, records[-1].offset, b"".join(values_of(records))))
        seen += len(records)
        ended_ns = time.monotonic_ns()
        quiet_since = time.monotonic()
    return polls, time.process_time_ns() - cpu_before_ns, ended_ns


def _columns(polls: list[Poll], size_bytes: int) -> tuple[array[int], array[int]]:
    """Offsets and sequence numbers of everything that was read. A poll's offsets are dense, or its columns differ."""
    offsets, sequences = array("q"), array("q")
    for first, last, joined in polls:
        rows = np.frombuffer(joined, dtype=np.uint8).reshape(-1, size_bytes)
        if last - first + 1 != len(rows):
            raise ValueError(f"a poll of {len(rows)} records went from offset {first} to {last}")
        sequences.frombytes(np.ascontiguousarray(rows[:, :SEQUENCE_BYTES]).tobytes())
        offsets.extend(range(first, last + 1))
    return offsets, sequences


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    pin(0, request["core"])
    sys.exit(serve(lambda: produce(request) if request["role"] == "produce" else consume(request)))

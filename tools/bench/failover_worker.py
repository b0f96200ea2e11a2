"""The sender or the reader process of the failover benchmark. Payloads carry sequence number and intended start."""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

import shmlog
from shmlog import TopicPartition
from shmlog.errors import ShmlogError
from shmlog.testing.pacing import STAMP, wait_until_ns
from shmlog.testing.worker_process import Message, hear, say, serve

if TYPE_CHECKING:
    from shmlog import Delivery

MODULE = "shmlog.tools.bench.failover_worker"
BURSTS_PER_SECOND = 1000
LEAD_NS = 50_000_000
FLUSH_TIMEOUT_S = 120.0
SILENCE_S = 30.0
POLL_RECORDS_MAX = 5000

sequence_and_start = STAMP.unpack_from


@dataclass(slots=True)
class Sent:
    """How many records were sent in how long, 0 to attempts-1, and which were acknowledged where."""

    attempts: int = 0
    failed: int = 0
    seconds: float = 0.0
    sequences: array[int] = field(default_factory=lambda: array("q"))
    partitions: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))

    @property
    def acks(self) -> int:
        return len(self.sequences)

    def settle(self, sequence: int, delivery: Delivery) -> None:
        """The outcome of one record. A failed delivery has an unknown outcome, which is no acknowledgement."""
        try:
            placed = delivery.result(FLUSH_TIMEOUT_S)
        except ShmlogError:
            self.failed += 1
            return
        self.sequences.append(sequence)
        self.partitions.append(placed.partition)
        self.offsets.append(placed.offset)

    def store(self, directory: Path) -> None:
        """Write the columns for the parent."""
        with (directory / "sent").open("wb") as stream:
            for column in (self.sequences, self.partitions, self.offsets):
                column.tofile(stream)

    @classmethod
    def load(cls, directory: Path, message: Message) -> Sent:
        """Read what store() wrote."""
        everything = array("q")
        everything.frombytes((directory / "sent").read_bytes())
        count = len(everything) // 3
        columns = [everything[at * count : (at + 1) * count] for at in range(3)]
        return cls(message["attempts"], message["failed"], message["seconds"], *columns)


def send(order: Message) -> None:
    """Send bursts on schedule until told to stop, round the partitions; settle outcomes as they come."""
    burst = max(1, order["per_second"] // BURSTS_PER_SECOND)
    step_ns = 1e9 * burst / order["per_second"]
    topic, partitions, padding = order["topic"], order["partitions"], b"." * (order["size_bytes"] - STAMP.size)
    pending: deque[tuple[int, Delivery]] = deque()
    sent = Sent()
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        say(ready=True)
        start = hear()
        assert start is not None
        number = 0
        while hear(0.0) is None:
            intended_ns = start["first_ns"] + round(number * step_ns)
            wait_until_ns(intended_ns)
            for sequence in range(number * burst, (number + 1) * burst):
                payload = STAMP.pack(sequence, intended_ns) + padding
                pending.append((sequence, producer.send(topic, payload, partition=sequence % partitions)))
            number += 1
            while pending and pending[0][1].done:
                sent.settle(*pending.popleft())
        sent.seconds = (time.monotonic_ns() - start["first_ns"]) / 1e9
        producer.flush(FLUSH_TIMEOUT_S)
        for one in pending:
            sent.settle(*one)
    sent.attempts = number * burst
    sent.store(Path(order["directory"]))
    say(attempts=sent.attempts, failed=sent.failed, seconds=sent.seconds)


def read(order: Message) -> None:
    """Read all partitions; note of every record where it was, what it carries and when it came."""
    places = [TopicPartition(order["topic"], number) for number in range(order["partitions"])]
    columns = [[array("q") for _ in range(4)] for _ in places]
    ends: dict[int, int] | None = None
    quiet_since = time.monotonic()
    with shmlog.connect(order["cluster"]) as cluster, cluster.consumer() as consumer:
        consumer.assign(places)
        consumer.poll(timeout=0.0)
        say(ready=True)
        while ends is None or any(consumer.position(place) < ends[place.partition] for place in places):
            records = consumer.poll(max_records=POLL_RECORDS_MAX, timeout=0.1)
            now_ns = time.monotonic_ns()
            for record in records:
                sequence, intended_ns = sequence_and_start(record.value)
                for column, value in zip(
                    columns[record.partition], (record.offset, sequence, intended_ns, now_ns), strict=True
                ):
                    column.append(value)
            message = hear(0.0)
            if message is not None:
                ends = {int(partition): end for partition, end in message["ends"].items()}
            if records or message is not None:
                quiet_since = time.monotonic()
            elif ends is not None and time.monotonic() - quiet_since > SILENCE_S:
                break  # the checker will say what is missing
    files = []
    for partition, four in enumerate(columns):
        file = Path(order["directory"]) / f"partition-{partition}.reads"
        with file.open("wb") as stream:
            for column in four:
                column.tofile(stream)
        files.append(str(file))
    say(files=files)


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    sys.exit(serve(lambda: send(request) if request["role"] == "send" else read(request)))

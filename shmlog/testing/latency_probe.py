"""The two processes that measure one-way latency: a paced sender, and a receiver that notes when each record came.

    python -m shmlog.testing.latency_probe '{"role": "send", "cluster": ..., "topic": ..., ...}'

`measure` runs both against a running cluster. Latency is from the intended start of a send to the moment when the
receiver's poll() has returned the record, on the one monotonic clock of the host.
"""

from __future__ import annotations

import os
import sys
import time
from array import array
from dataclasses import dataclass
from typing import Any

import orjson

import shmlog
from shmlog.testing.pacing import Pace, percentile, read_stamp, stamp
from shmlog.testing.worker_process import Message, WorkerProcess, hear, say, serve

MODULE = "shmlog.testing.latency_probe"
READY_TIMEOUT_S = 30.0
LEAD_NS = 20_000_000
"""The first send is planned so far ahead, so that both sides are waiting for it."""
SILENCE_S = 10.0
"""A receiver that gets nothing for so long gives up; what is missing is reported."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """One measurement; the first `warm_up` records are sent and received, and left out of the figures.

    With a core given, that process runs only there.
    """

    topic: str
    per_second: float
    seconds: float
    size_bytes: int = 100
    acks: str = "all"
    warm_up: int = 50
    sender_core: int | None = None
    receiver_core: int | None = None


@dataclass(frozen=True, slots=True)
class Latencies:
    """Sorted latencies in ns of the records after the warm-up; how many did not come, and the sequence they came in."""

    sorted_ns: list[int]
    sent: int
    sequences: array[int]

    def microseconds(self, share: float) -> float:
        """A percentile, `share` from 0 to 1, in microseconds."""
        return round(percentile(self.sorted_ns, share) / 1000, 1)


def measure(cluster: str, plan: LatencyPlan) -> Latencies:
    """Measure through two processes of their own. Raises WorkerFailedError or TimeoutError."""
    pace = Pace(plan.per_second, plan.seconds)
    common: dict[str, Any] = {
        "cluster": cluster,
        "topic": plan.topic,
        "size_bytes": plan.size_bytes,
        "acks": plan.acks,
        "per_second": plan.per_second,
        "total": pace.total + plan.warm_up,
    }
    with (
        WorkerProcess(
            MODULE,
            orjson.dumps({**common, "role": "receive", "core": plan.receiver_core}).decode(),
            label="latency receiver",
        ) as receiver,
        WorkerProcess(
            MODULE,
            orjson.dumps({**common, "role": "send", "core": plan.sender_core}).decode(),
            label="latency sender",
        ) as sender,
    ):
        receiver.receive(READY_TIMEOUT_S)
        sender.receive(READY_TIMEOUT_S)
        sender.send(first_ns=time.monotonic_ns() + LEAD_NS)
        sent = sender.receive(plan.seconds + READY_TIMEOUT_S)["sent"]
        got = receiver.receive(SILENCE_S + READY_TIMEOUT_S)
    sequences = array("q", got["sequences"])
    measured = [ns for sequence, ns in zip(sequences, got["latencies_ns"], strict=True) if sequence >= plan.warm_up]
    return Latencies(sorted(measured), sent, sequences)


def send(order: Message) -> None:
    """The sender: at each start time one record, sent alone."""
    pace = Pace(order["per_second"], 1.0)
    with shmlog.connect(order["cluster"]) as cluster, cluster.producer(acks=order["acks"]) as producer:
        producer.send(order["topic"], stamp(-1, 0)).result(READY_TIMEOUT_S)  # opens the lane
        say(ready=True)
        start = hear()
        assert start is not None
        topic, size_bytes, sequence = order["topic"], order["size_bytes"], 0
        for intended_ns in pace.starts(start["first_ns"], order["total"]):
            producer.send(topic, stamp(sequence, intended_ns, size_bytes))
            sequence += 1
        producer.flush(READY_TIMEOUT_S)
        say(sent=sequence)


def receive(order: Message) -> None:
    """The receiver: sleeps in poll(), notes the time as soon as it returns."""
    sequences, latencies = array("q"), array("q")
    with (
        shmlog.connect(order["cluster"]) as cluster,
        cluster.consumer(order["topic"], auto_offset_reset="latest") as consumer,
    ):
        consumer.poll(timeout=0.0)
        say(ready=True)
        quiet_since = time.monotonic()
        while not sequences or sequences[-1] < order["total"] - 1:
            records = consumer.poll(timeout=1.0)
            now_ns = time.monotonic_ns()
            for record in records:
                sequence, intended_ns = read_stamp(record.value)
                if sequence >= 0:
                    sequences.append(sequence)
                    latencies.append(now_ns - intended_ns)
            hear(0.0)
            if records:
                quiet_since = time.monotonic()
            elif sequences and time.monotonic() - quiet_since > SILENCE_S:
                break
    say(sequences=list(sequences), latencies_ns=list(latencies))


if __name__ == "__main__":
    request = orjson.loads(sys.argv[1])
    if request["core"] is not None:
        os.sched_setaffinity(0, {request["core"]})
    sys.exit(serve(lambda: send(request) if request["role"] == "send" else receive(request)))

"""What each level of acks costs: from send() to the acknowledgement, one record at a time, idle and under load.

The rungs take turns, so that a machine that drifts drifts for all of them. Topics with two replicas need both in sync
(min.insync.replicas), so that no acknowledgement is of one alone.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson

import shmlog
from shmlog.testing.pacing import STAMP, Pace, percentile
from shmlog.testing.worker_process import WorkerProcess

from .arena import say
from .failover_worker import BURSTS_PER_SECOND, MODULE

READY_TIMEOUT_S = 30.0
LOAD_PER_SECOND = 20_000
LOAD_LEAD_S = 0.1
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """Each rung is measured for `seconds`, idle and under load, in `rounds` turns."""

    per_second: float
    seconds: float
    rounds: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Rung:
    """A level of acks on a topic. `flush_messages` 0: nothing is synced record by record."""

    acks: Literal["0", "1", "all"]
    replication_factor: int
    flush_messages: int

    @property
    def topic(self) -> str:
        return f"replicas-{self.replication_factor}-flush-{self.flush_messages}"

    @property
    def config(self) -> dict[str, object]:
        flush: dict[str, object] = {"flush.messages": self.flush_messages} if self.flush_messages else {}
        return {"min.insync.replicas": self.replication_factor, **flush}


RUNGS = (
    Rung("0", 1, 0),
    Rung("1", 1, 0),
    Rung("all", 1, 0),
    Rung("all", 2, 0),
    Rung("all", 1, 1),
    Rung("all", 2, 1),
)
LOADS = {"idle": 0, "loaded": LOAD_PER_SECOND}


def facts(plan: LadderPlan) -> dict[str, object]:
    """What all rows have in common."""
    return {
        "measured": "from the call of send() until its acknowledgement is known, one record at a time",
        "records_per_second": plan.per_second,
        "seconds_per_row": plan.seconds,
        "rounds": plan.rounds,
        "bytes_per_record": plan.size_bytes,
        "load_records_per_second": LOAD_PER_SECOND,
        "load": f"another producer with the same acks to the same partition, {BURSTS_PER_SECOND} bursts per second",
        "log_directories": "one for each replica, on one disk",
    }


def measure(plan: LadderPlan, directory: Path) -> list[dict[str, object]]:
    """A row for each rung and load, from the cheapest rung to the dearest. Raises what a send was refused with."""
    times = {(rung, load): array("q") for load in LOADS for rung in RUNGS}
    with shmlog.start(directory / "data", config={"log.dirs": [str(directory / name) for name in "ab"]}) as cluster:
        for rung in {one.topic: one for one in RUNGS}.values():
            cluster.admin.create_topic(rung.topic, 1, rung.replication_factor, rung.config)
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}")
            for (rung, load), found in times.items():
                with _load(cluster, rung, plan, LOADS[load], directory):
                    found.extend(_send_and_wait(cluster, rung, plan))
    return [_row(rung, load, sorted(found)) for (rung, load), found in times.items()]


def _row(rung: Rung, load: str, sorted_ns: list[int]) -> dict[str, object]:
    shares: Mapping[str, float] = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999}
    return {
        "acks": rung.acks,
        "replication_factor": rung.replication_factor,
        "flush_messages": rung.flush_messages or None,
        "load": load,
        "records": len(sorted_ns),
        **{name: round(percentile(sorted_ns, share) / 1000, 1) for name, share in shares.items()},
    }


def _send_and_wait(cluster: shmlog.Cluster, rung: Rung, plan: LadderPlan) -> array[int]:
    """Nanoseconds of each record of one turn, those of the warm-up left out."""
    pace = Pace(plan.per_second, plan.seconds / plan.rounds)
    payload = bytes(plan.size_bytes)
    found = array("q")
    with cluster.producer(acks=rung.acks) as producer:
        for _ in pace.starts(time.monotonic_ns(), pace.total + WARM_UP):
            began_ns = time.monotonic_ns()
            producer.send(rung.topic, payload, partition=0).result(READY_TIMEOUT_S)
            found.append(time.monotonic_ns() - began_ns)
    return found[WARM_UP:]


@contextlib.contextmanager
def _load(cluster: shmlog.Cluster, rung: Rung, plan: LadderPlan, load: int, directory: Path) -> Iterator[None]:
    """A process that sends so many records per second to the same topic until the block is left."""
    if not load:
        yield
        return
    order = {
        "role": "send",
        "cluster": cluster.name,
        "topic": rung.topic,
        "partitions": 1,
        "per_second": load,
        "size_bytes": max(plan.size_bytes, STAMP.size),
        "acks": rung.acks,
        "directory": str(directory),
    }
    with WorkerProcess(MODULE, orjson.dumps(order).decode(), label="load") as sender:
        sender.receive(READY_TIMEOUT_S)
        sender.send(first_ns=time.monotonic_ns())
        time.sleep(LOAD_LEAD_S)
        yield
        sender.send(stop=True)
        sender.receive(READY_TIMEOUT_S)

"""Throughput: one producer process, one consumer process, one partition, the log written; median of several rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import orjson

from shmlog import TopicPartition
from shmlog.testing import History, Verdict, check_history
from shmlog.testing.worker_process import Message, WorkerProcess

from .arena import cluster_in, cpu_ns_of, say
from .figures import Figures
from .history_files import read_back
from .pinning import FREE, Pinning, pin

TOPIC = "throughput"
MODULE = "shmlog.tools.bench.throughput_worker"
READY_TIMEOUT_S = 120.0
ROUND_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class ThroughputPlan:
    """`records` per round, each `size_bytes` long; `bulk`: send_many instead of send."""

    records: int
    size_bytes: int
    rounds: int
    acks: str
    sending: str = "one"
    reading: str = "values"
    pinning: Pinning = FREE


@dataclass(frozen=True, slots=True)
class Round:
    """One round: wall time from the first send to the last record read, and CPU time of the three processes, in ns."""

    wall_ns: int
    producer_ns: int
    consumer_ns: int
    owner_ns: int


def measure(plan: ThroughputPlan, directory: Path, figures: Figures) -> Verdict:
    """Run all rounds, fill in the figures; the verdict names what was broken."""
    rounds, verdict = run_rounds(plan, directory)
    _fill(figures, plan, rounds)
    figures.acks, figures.lost, figures.duplicated = verdict.acks, verdict.lost, verdict.duplicated
    figures.attempts = verdict.attempts
    return verdict


def run_rounds(plan: ThroughputPlan, directory: Path) -> tuple[list[Round], Verdict]:
    """Run one round to warm up and then all that are planned; what these cost, and the verdict on all of them."""
    history = History()
    rounds: list[Round] = []
    with cluster_in(directory, TOPIC, 1, **{"max.message.bytes": max(262_144, 2 * plan.size_bytes)}) as cluster:
        common = {
            "cluster": cluster.name,
            "topic": TOPIC,
            "records": plan.records,
            "size_bytes": plan.size_bytes,
            "acks": plan.acks,
            "sending": plan.sending,
            "reading": plan.reading,
            "directory": str(directory),
        }
        cores = plan.pinning
        consume = orjson.dumps({**common, "role": "consume", "core": cores.consumer}).decode()
        produce = orjson.dumps({**common, "role": "produce", "core": cores.producer}).decode()
        with (
            WorkerProcess(MODULE, consume, label="consumer") as consumer,
            WorkerProcess(MODULE, produce, label="producer") as producer,
        ):
            consumer.receive(READY_TIMEOUT_S)
            producer.receive(READY_TIMEOUT_S)
            owner = cluster.metrics()[TopicPartition(TOPIC, 0)]["pid"]
            pin(owner, cores.owner)
            for number in range(plan.rounds + 1):
                rounds.append(_round(number, plan, producer, consumer, owner, history))
                say(f"round {number} of {plan.rounds}: {plan.records * 1e9 / rounds[-1].wall_ns:,.0f} records/s")
    return rounds[1:], check_history(history)


def _round(
    number: int, plan: ThroughputPlan, producer: WorkerProcess, consumer: WorkerProcess, owner: int, history: History
) -> Round:
    owner_before_ns = cpu_ns_of(owner)
    consumer.send(round=number)
    producer.send(round=number)
    sent: Message = producer.receive(ROUND_TIMEOUT_S)
    read: Message = consumer.receive(ROUND_TIMEOUT_S)
    owner_ns = cpu_ns_of(owner) - owner_before_ns
    sequences = range(number * plan.records, (number + 1) * plan.records)
    history.intend_range(0, sequences)
    if sent["acked"]:
        history.acknowledge_range(0, sequences, 0)
    offsets, ids = read_back(Path(read["file"]))
    history.read_columns(0, 0, offsets, ids)
    return Round(read["ended_ns"] - sent["began_ns"], sent["cpu_ns"], read["cpu_ns"], owner_ns)


def _fill(figures: Figures, plan: ThroughputPlan, rounds: list[Round]) -> None:
    figures.records_per_second = plan.records * 1e9 / statistics.median(r.wall_ns for r in rounds)
    figures.megabytes_per_second = figures.records_per_second * plan.size_bytes / 1e6
    figures.producer_ns_per_record = statistics.median(r.producer_ns for r in rounds) / plan.records
    figures.consumer_ns_per_record = statistics.median(r.consumer_ns for r in rounds) / plan.records
    figures.owner_ns_per_record = statistics.median(r.owner_ns for r in rounds) / plan.records

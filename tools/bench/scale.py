"""Many partitions, and many clients on one: what they take while nothing happens, and what they move when it does.

Throughput over many partitions is compared with throughput over a few, by the same clients, in alternating rounds.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

import shmlog
from shmlog import TopicPartition
from shmlog.limits import IDLE_SLEEP_S
from shmlog.testing.worker_process import WorkerProcess

from .arena import cpu_ns_of, say
from .cases import verdict

MODULE = "shmlog.tools.bench.scale_worker"
FEW, MANY, SHARED = "few", "many", "shared"
FEW_PARTITIONS = 6
PRODUCERS = CONSUMERS = 4
MAX_MESSAGE_BYTES = 65_536
READY_TIMEOUT_S = 300.0
ROUND_TIMEOUT_S = 600.0
TARGET_PARTITIONS = 1000
CREATED_S, UP_S, IDLE_PERCENT, PRIVATE_MB, SHARE = 20.0, 5.0, 2.0, 2.0, 0.5


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """`records` per producer and round. `idle_s`: over how long idle CPU time is taken. `clients` of each kind."""

    partitions: int
    records: int
    size_bytes: int
    rounds: int
    idle_s: float
    clients: int


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """A row for each load; what was measured once."""

    rows: list[dict[str, object]]
    facts: dict[str, object]


@dataclass(frozen=True, slots=True)
class Load:
    """Who sends what: over the partitions of `topic`; `keyed` records go to all in turn, others by the batch."""

    topic: str
    partitions: int
    producers: int
    consumers: int
    keyed: bool


def measure(plan: ScalePlan, directory: Path) -> ScaleReport:
    """Create, idle, load, start again; then many clients. Raises when a record is lost or comes twice."""
    facts: dict[str, object] = {"partitions": plan.partitions, "max_message_bytes": MAX_MESSAGE_BYTES}
    rows: list[dict[str, object]] = []
    data = directory / "data"
    with shmlog.start(data) as cluster:
        _create(cluster, FEW, FEW_PARTITIONS)
        facts["created_s"] = _create(cluster, MANY, plan.partitions)
        facts |= _idle(cluster, plan.idle_s)
        facts |= _loads(cluster, plan, rows)
    say("starting again")
    began = time.monotonic()
    with shmlog.start(data) as cluster:
        facts["up_again_s"] = time.monotonic() - began
        pids = _owner_pids(cluster)
        assert len(pids) == plan.partitions + FEW_PARTITIONS, f"{len(pids)} owners run"
        if plan.clients:
            _create(cluster, SHARED, 1)
            rows.append(_crowd(cluster, plan))
    facts |= _verdicts(facts, plan)
    return ScaleReport(rows, facts)


def _create(cluster: shmlog.Cluster, topic: str, partitions: int) -> float:
    say(f"creating {partitions} partitions")
    began = time.monotonic()
    cluster.admin.create_topic(topic, partitions=partitions, config={"max.message.bytes": MAX_MESSAGE_BYTES})
    return time.monotonic() - began


def _owner_pids(cluster: shmlog.Cluster) -> list[int]:
    return [pid for one in cluster.metrics().values() if (pid := one["pid"])]


def _idle(cluster: shmlog.Cluster, idle_s: float) -> dict[str, object]:
    """CPU time of everything that runs, as a share of one core, and the memory that it holds."""
    info = cluster.describe()
    owners = _owner_pids(cluster)
    running = [*owners, info.pid, info.zygote_pid]
    say("waiting for memory to be given back")
    time.sleep(2 * IDLE_SLEEP_S)  # owners give back at their first idle look, and rest from then on
    before_ns, began = sum(map(cpu_ns_of, running)), time.monotonic()
    say(f"idle for {idle_s:g} s")
    time.sleep(idle_s)
    used_ns, passed_s = sum(map(cpu_ns_of, running)) - before_ns, time.monotonic() - began
    taken = {pid: psutil.Process(pid).memory_full_info() for pid in running}
    private_mb, shares_mb = ([getattr(taken[pid], name) / 1e6 for pid in owners] for name in ("uss", "pss"))
    return {
        "idle_cpu_percent": used_ns / passed_s / 1e7,
        "owner_private_mb": statistics.fmean(private_mb),
        "owner_private_mb_most": max(private_mb),
        "owner_pss_mb": statistics.fmean(shares_mb),
        "all_pss_mb": sum(one.pss for one in taken.values()) / 1e6,
        "shared_memory_mb": cluster.describe().shm_used_bytes / 1e6,
        "shared_memory_budget_mb": info.shm_budget_bytes / 1e6,
    }


# --- load -------------------------------------------------------------------------------------------------------------


def _loads(cluster: shmlog.Cluster, plan: ScalePlan, rows: list[dict[str, object]]) -> dict[str, object]:
    """Both ways to spread records, over few and over many partitions, in turn."""
    facts: dict[str, object] = {}
    for keyed in (False, True):
        rates: dict[str, list[float]] = {FEW: [], MANY: []}
        with contextlib.ExitStack() as stack:
            crews = {
                load.topic: Crew(cluster, load, plan.records, plan.size_bytes, stack)
                for load in (
                    Load(FEW, FEW_PARTITIONS, PRODUCERS, CONSUMERS, keyed),
                    Load(MANY, plan.partitions, PRODUCERS, CONSUMERS, keyed),
                )
            }
            for number in range(plan.rounds):
                for topic, crew in crews.items():
                    say(f"round {number + 1} of {plan.rounds}: {topic}{', keyed' if keyed else ''}")
                    rates[topic].append(crew.round())
            facts["shared_memory_mb_under_load"] = cluster.describe().shm_used_bytes / 1e6
        way = "every record to the next partition" if keyed else "every batch to another partition"
        few = statistics.median(rates[FEW])
        for topic, found in rates.items():
            rows.append(
                {
                    "load": f"{PRODUCERS} producers, {CONSUMERS} consumers, {way}",
                    "partitions": crews[topic].load.partitions,
                    "records_per_second": round(statistics.median(found)),
                    "least": round(min(found)),
                    "most": round(max(found)),
                    "of_few": round(statistics.median(found) / few, 2),
                }
            )
    return facts


def _crowd(cluster: shmlog.Cluster, plan: ScalePlan) -> dict[str, object]:
    """Many producers and many consumers, each a process, on one partition; every consumer reads every record."""
    clients, records = plan.clients, max(1, plan.records // plan.clients)
    with contextlib.ExitStack() as stack:
        crew = Crew(cluster, Load(SHARED, 1, clients, clients, keyed=True), records, plan.size_bytes, stack)
        found = [crew.round() for _ in range(plan.rounds)]
    return {
        "load": f"{clients} producers, {clients} consumers of everything",
        "partitions": 1,
        "records_per_second": round(statistics.median(found)),
        "least": round(min(found)),
        "most": round(max(found)),
        "of_few": None,
    }


class Crew:
    """Producers and consumers of one topic, each a process, ready to do rounds. Ends with `stack`."""

    def __init__(
        self, cluster: shmlog.Cluster, load: Load, records: int, size_bytes: int, stack: contextlib.ExitStack
    ) -> None:
        self.load = load
        self._cluster = cluster
        self._records = records * load.producers
        common = {"cluster": cluster.name, "topic": load.topic, "partitions": load.partitions}

        def worker(role: str, number: int, **more: object) -> WorkerProcess:
            order = orjson.dumps({**common, "role": role, **more}).decode()
            return stack.enter_context(WorkerProcess(MODULE, order, label=f"{role} {number}"))

        everything = list(range(load.partitions))
        consumers = min(load.consumers, load.partitions)
        shares = [everything[number::consumers] for number in range(consumers)]
        if load.partitions == 1:  # everybody reads all of it
            shares = [everything] * load.consumers
        self._copies = load.consumers if load.partitions == 1 else 1
        self._consumers = [worker("consume", number, share=share) for number, share in enumerate(shares)]
        self._producers = [
            worker("produce", number, records=records, size_bytes=size_bytes, keyed=load.keyed)
            for number in range(load.producers)
        ]
        for one in (*self._producers, *self._consumers):
            one.receive(READY_TIMEOUT_S)

    def round(self) -> float:
        """Records per second, from the word to start until the last one was read."""
        begins = self._ends()
        began_ns = time.monotonic_ns()
        for one in (*self._consumers, *self._producers):
            one.send(begins=begins)
        for one in self._producers:
            one.receive(ROUND_TIMEOUT_S)
        ends = self._ends()
        sent = sum(ends) - sum(begins)
        if sent != self._records:
            raise ValueError(f"{self._records} records were sent, the log has {sent} more")
        for one in self._consumers:
            one.send(ends=ends)
        reports = [one.receive(ROUND_TIMEOUT_S) for one in self._consumers]
        read = sum(report["records"] for report in reports)
        if read != sent * self._copies:
            raise ValueError(f"{sent} records were sent and {read} read, of {sent * self._copies}")
        ended_ns = int(max(report["ended_ns"] for report in reports))
        return sent / ((ended_ns - began_ns) / 1e9)

    def _ends(self) -> list[int]:
        found = self._cluster.metrics()
        return [
            found[TopicPartition(self.load.topic, number)]["log_end_offset"] for number in range(self.load.partitions)
        ]


def _verdicts(facts: dict[str, object], plan: ScalePlan) -> dict[str, object]:
    """What the targets for a thousand partitions say."""
    if plan.partitions != TARGET_PARTITIONS:
        return {"verdict": f"not judged with {plan.partitions} partitions"}
    limits = {
        "created_s": CREATED_S,
        "up_again_s": UP_S,
        "idle_cpu_percent": IDLE_PERCENT,
        "owner_private_mb": PRIVATE_MB,
    }
    return {
        f"{name}_at_most_{limit:g}": verdict(float(str(facts[name])), limit, at_least=False)
        for name, limit in limits.items()
    }

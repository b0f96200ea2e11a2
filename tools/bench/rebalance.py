"""Rebalance: members of a consumer group are killed with SIGKILL and others join, under a steady flow of records.

How long until the last partition that moved is read by its new member, from the kill or from the moment when the new
member asks for its consumer; and what those partitions notice that do not move. Members are processes. A partition gets
a record every so often, so that no figure is finer than that.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

import shmlog
from shmlog.errors import ShmlogError
from shmlog.testing import wait_until
from shmlog.testing.pacing import percentile
from shmlog.testing.worker_process import Message, WorkerProcess

from .arena import cluster_in, say
from .rebalance_worker import MODULE

TOPIC, GROUP = "rebalance", "members"
READY_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 30.0
QUIET_S = 0.3
"""How long is looked at after a rebalance, and as long before the first to know what a quiet group is like."""


class RebalanceError(ShmlogError):
    """The benchmark could not do what it is for."""

    name = "REBALANCE"


@dataclass(frozen=True, slots=True)
class RebalancePlan:
    """In each round a member is killed and a new one joins. `per_second`: records, to each partition."""

    members: int
    partitions: int
    rounds: int
    per_second: float
    seed: int


@dataclass(slots=True)
class _Found:
    """Milliseconds of each round, and of all partitions that did not move."""

    kills_ms: list[float] = field(default_factory=list)
    joins_ms: list[float] = field(default_factory=list)
    quiet_gaps_ms: list[float] = field(default_factory=list)
    unmoved_gaps_ms: list[float] = field(default_factory=list)
    unmoved_pauses_ms: list[float] = field(default_factory=list)


def measure(plan: RebalancePlan, directory: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Rows in milliseconds, and what they have in common."""
    found = _Found()
    with cluster_in(directory, TOPIC, plan.partitions) as cluster, contextlib.ExitStack() as workers:
        order = {"cluster": cluster.name, "topic": TOPIC, "partitions": plan.partitions, "group": GROUP}
        sender = workers.enter_context(_worker("sender", {**order, "role": "send", "per_second": plan.per_second}))
        group = _Group(cluster, {**order, "role": "member"}, plan.partitions)
        workers.callback(group.stop)
        group.begin(plan.members)
        chance = random.Random(plan.seed)
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}")
            _look_at_quiet(group, found)
            _kill(group, chance.randrange(plan.members), found)
            _join(group, found)
        sender.send(stop=True)
        sent = sender.receive(READY_TIMEOUT_S)["sent"]
    return _report(plan, found, sent)


def _report(plan: RebalancePlan, found: _Found, sent: int) -> tuple[list[dict[str, object]], dict[str, object]]:
    rows = [
        _row("kill to the last moved partition read", found.kills_ms),
        _row("join to the last moved partition read", found.joins_ms),
        _row("longest gap of a partition that did not move", found.unmoved_gaps_ms),
        _row("the same without a rebalance", found.quiet_gaps_ms),
    ]
    kills, joins = sorted(found.kills_ms), sorted(found.joins_ms)
    facts: dict[str, object] = {
        "p50_ms": round(percentile(kills, 0.5), 2),
        "p99_ms": round(percentile(kills, 0.99), 2),
        "join_p50_ms": round(percentile(joins, 0.5), 2),
        "join_p99_ms": round(percentile(joins, 0.99), 2),
        "unmoved_pause_ms_max": round(max(found.unmoved_pauses_ms), 2),
        "unmoved_gap_p99_ms": round(percentile(sorted(found.unmoved_gaps_ms), 0.99), 2),
        "quiet_gap_p99_ms": round(percentile(sorted(found.quiet_gaps_ms), 0.99), 2),
        "members": plan.members,
        "partitions": plan.partitions,
        "rounds": plan.rounds,
        "records_sent": sent,
        "record_interval_ms": round(1000 / plan.per_second, 2),
    }
    return rows, facts


def _row(case: str, sample_ms: Sequence[float]) -> dict[str, object]:
    ordered = sorted(sample_ms)
    return {
        "case": case,
        "p50_ms": round(percentile(ordered, 0.5), 2),
        "p99_ms": round(percentile(ordered, 0.99), 2),
        "most_ms": round(ordered[-1], 2),
        "samples": len(ordered),
    }


# --- the group --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _worker(label: str, order: dict[str, object]) -> Iterator[WorkerProcess]:
    with WorkerProcess(MODULE, orjson.dumps(order).decode(), label=label) as worker:
        worker.receive(READY_TIMEOUT_S)
        yield worker


class _Group:
    """The members, oldest first."""

    def __init__(self, cluster: shmlog.Cluster, order: dict[str, object], partitions: int) -> None:
        self.members: list[WorkerProcess] = []
        self._processes: list[WorkerProcess] = []
        self._cluster = cluster
        self._order = orjson.dumps(order).decode()
        self._partitions = partitions

    def begin(self, count: int) -> None:
        """With so many members, once each of them reads what it has to."""
        for _ in range(count):
            self.join(self.prepare())
        self.settle()

    def prepare(self) -> WorkerProcess:
        """A process that has everything but its consumer, so that starting it disturbs nobody later."""
        member = WorkerProcess(MODULE, self._order, label="member")
        self._processes.append(member)
        member.receive(READY_TIMEOUT_S)
        return member

    def join(self, member: WorkerProcess) -> None:
        """Have it make its consumer."""
        member.send(join=True)
        self.members.append(member)

    def kill(self, number: int) -> tuple[set[int], int]:
        """What the member had, and when it was killed."""
        victim = self.members.pop(number)
        lost = self.assignment()[victim.pid]
        killed_ns = time.monotonic_ns()
        os.kill(victim.pid, signal.SIGKILL)
        victim.stop()
        return lost, killed_ns

    def assignment(self) -> dict[int, set[int]]:
        """Partitions by the process that reads them."""
        (found,) = self._cluster.admin.describe_consumer_groups([GROUP])
        return {one.pid: {place.partition for place in one.assignment} for one in found.members}

    def settle(self) -> None:
        """Wait until it is stable, with all of its members and partitions, and for a quiet moment more."""
        wait_until(self._is_settled, timeout_s=SETTLE_TIMEOUT_S, what=f"a stable group of {len(self.members)}")
        time.sleep(QUIET_S)

    def _is_settled(self) -> bool:
        (found,) = self._cluster.admin.describe_consumer_groups([GROUP])
        pids = {one.pid for one in found.members}
        return (
            found.state == "Stable"
            and pids == {member.pid for member in self.members}
            and len(found.readers) == self._partitions
        )

    def reads(self, start_ns: int | None, end_ns: int) -> dict[int, Message]:
        """What each member has read in that time, by its pid; None: since it joined."""
        for member in self.members:
            member.send(start_ns=start_ns, end_ns=end_ns)
        return {member.pid: member.receive(READY_TIMEOUT_S) for member in self.members}

    def forget(self) -> None:
        """Have members forget what they have read so far."""
        for member in self.members:
            member.send(forget=True)

    def stop(self) -> None:
        """Kill them all, also those that have not joined."""
        for process in self._processes:
            process.stop()


# --- the rounds -------------------------------------------------------------------------------------------------------


def _look_at_quiet(group: _Group, found: _Found) -> None:
    group.forget()
    start_ns = time.monotonic_ns()
    time.sleep(2 * QUIET_S)
    for told in group.reads(start_ns, time.monotonic_ns()).values():
        found.quiet_gaps_ms += [gap / 1e6 for gap in told["gap_ns"]]


def _kill(group: _Group, number: int, found: _Found) -> None:
    group.forget()
    time.sleep(QUIET_S / 2)
    start_ns = time.monotonic_ns()
    before = group.assignment()
    lost, killed_ns = group.kill(number)
    group.settle()
    end_ns = time.monotonic_ns()
    told = group.reads(start_ns, end_ns)
    found.kills_ms.append(_until_all_read(lost, told, killed_ns))
    _look_at_unmoved(before, group.assignment(), told, found)


def _join(group: _Group, found: _Found) -> None:
    newcomer = group.prepare()
    group.forget()
    time.sleep(QUIET_S / 2)
    start_ns = time.monotonic_ns()
    before = group.assignment()
    group.join(newcomer)
    group.settle()
    end_ns = time.monotonic_ns()
    told = group.reads(start_ns, end_ns)
    after = group.assignment()
    gained = after[newcomer.pid]
    if not gained:
        raise RebalanceError("a new member has got no partition: there are more members than partitions")
    found.joins_ms.append(_until_all_read(gained, {newcomer.pid: told[newcomer.pid]}, told[newcomer.pid]["joins_ns"]))
    _look_at_unmoved(before, after, told, found)


def _until_all_read(partitions: set[int], told: dict[int, Message], since_ns: int) -> float:
    first: dict[int, int] = {}
    for one in told.values():
        for partition, at_ns in zip(one["partitions"], one["first_ns"], strict=True):
            if partition in partitions and at_ns >= since_ns:
                first[partition] = min(at_ns, first.get(partition, at_ns))
    if set(first) != partitions:
        raise RebalanceError(f"partitions {sorted(partitions - set(first))} moved, and nobody has read them since")
    return (max(first.values()) - since_ns) / 1e6


def _look_at_unmoved(
    before: dict[int, set[int]], after: dict[int, set[int]], told: dict[int, Message], found: _Found
) -> None:
    """At partitions that a member has before and after."""
    for pid, one in told.items():
        gaps = dict(zip(one["partitions"], one["gap_ns"], strict=True))
        pauses = dict(zip(one["partitions"], one["paused_ns"], strict=True))
        kept = before.get(pid, set()) & after[pid]
        found.unmoved_gaps_ms += [gaps[partition] / 1e6 for partition in kept]
        found.unmoved_pauses_ms += [pauses[partition] / 1e6 for partition in kept]

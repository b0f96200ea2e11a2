"""--kill-owner: SIGKILL one partition's owner while records are on their way, and see what happened to them."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shmlog.cli.counters import Observer, PartitionSample
from shmlog.errors import ShmlogError
from shmlog.model import TopicPartition
from shmlog.testing.waiting import wait_until

if TYPE_CHECKING:
    from shmlog import Cluster

TAKEOVER_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.0002
AFTERMATH_RECORDS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class OwnerKill:
    """What was killed, and what came after. `resumed_ms` is wall time, `pause_ms` from the kill to the first new record
    that consumers may see (or, if none comes, to the successor's start).
    """

    partition: int
    pid: int
    offset: int
    old_epoch: int
    new_epoch: int
    pause_ms: float
    resumed_ms: int
    in_flight: int = 0


class OwnerSurvivedError(ShmlogError):
    """The kill had no successor, or there was nothing to prove with it."""

    name = "OWNER_KILL"


def choose_victim(samples: list[PartitionSample]) -> PartitionSample:
    """Some partition, the likelier the more records it has: where nothing is sent a kill would prove nothing."""
    if not any(sample.log_end_offset for sample in samples):
        return samples[0]
    return random.choices(samples, weights=[sample.log_end_offset for sample in samples])[0]


def kill_owner(observer: Observer) -> OwnerKill:
    """Kill one partition's owner and wait until its successor has published something."""
    victim = choose_victim(observer.samples())
    if victim.pid <= 0:
        raise OwnerSurvivedError(f"{victim.name} has no running owner to kill; it is {victim.state}: {victim.error}")
    killed_ns = time.monotonic_ns()
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: not _runs(victim.pid), timeout_s=TAKEOVER_TIMEOUT_S, what=f"the death of pid {victim.pid}")
    at_death = observer.sample(victim.topic, victim.partition)
    successor = _await_news(observer, victim, at_death)
    return OwnerKill(
        partition=victim.partition,
        pid=victim.pid,
        offset=min(at_death.log_end_offset, successor.log_end_offset),
        old_epoch=victim.leader_epoch,
        new_epoch=successor.leader_epoch,
        pause_ms=round((successor.at_ns - killed_ns) / 1e6, 2),
        resumed_ms=time.time_ns() // 1_000_000,
    )


def _await_news(observer: Observer, victim: PartitionSample, at_death: PartitionSample) -> PartitionSample:
    """The first sample under a higher epoch in which the high watermark has moved, or has no reason to any more."""
    deadline = time.monotonic() + TAKEOVER_TIMEOUT_S
    first: PartitionSample | None = None
    while time.monotonic() < deadline:
        now = observer.sample(victim.topic, victim.partition)
        if now.leader_epoch > victim.leader_epoch and now.state == "run":
            if now.high_watermark > at_death.high_watermark:
                return now
            first = first or now
            if time.monotonic_ns() - first.at_ns > 1e9:
                return first
        time.sleep(LOOK_EVERY_S)
    raise OwnerSurvivedError(
        f"{victim.name}: {TAKEOVER_TIMEOUT_S:g} s after the kill of pid {victim.pid} no successor runs"
    )


def count_in_flight(cluster: Cluster, topic: str, kill: OwnerKill) -> int:
    """Records that were sent before the partition went on, but were not yet in its log when its owner died."""
    place = TopicPartition(topic, kill.partition)
    in_flight = 0
    with cluster.consumer() as consumer:
        consumer.assign([place])
        consumer.seek(place, kill.offset)
        while in_flight < AFTERMATH_RECORDS_MAX:
            records = consumer.poll(max_records=5000, timeout=0.2)
            early = sum(1 for record in records if record.timestamp_ms <= kill.resumed_ms)
            in_flight += early
            if early < len(records) or not records:
                break
    return in_flight


def _runs(pid: int) -> bool:
    """Whether the process still runs; one that is dead and only waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False

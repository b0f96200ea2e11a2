"""The cases of the performance targets, each beside its target: a ratio to what this machine does in the same run.

Three placements are three results. Costs are CPU time per record at 100 bytes, where they are Python's and the core's;
from 1 KiB on it is the copying that counts, end to end.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shmlog import TopicPartition
from shmlog.errors import ShmlogError
from shmlog.testing.latency_probe import LatencyPlan, measure as measure_latency

from .arena import cluster_in, say
from .cases import verdict
from .figures import Figures
from .pinning import Pinning, pin
from .throughput import Round, ThroughputPlan, run_rounds

SMALL = 100
RECORDS = {SMALL: 1_000_000, 1024: 200_000, 65_536: 4000}
LATENCY_TOPIC = "latency"
IDLE_PER_SECOND, LOADED_PER_SECOND = 1000.0, 50_000.0


class InexactError(ShmlogError):
    """A benchmark lost or doubled records, so that its figures mean nothing."""

    name = "INEXACT"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of one case: at most, or at least, `times` the calibration figure `of` (no name: times one)."""

    figure: str
    times: float
    of: str = ""
    at_least: bool = False

    def sentence(self) -> str:
        """The target in words."""
        limit = f"at {'least' if self.at_least else 'most'} {self.times:g}"
        return f"{limit} x {self.of}" if self.of else limit

    def row(self, samples: Sequence[float], calibration: Figures) -> dict[str, object]:
        """Median and range, what they are relative to, and the verdict."""
        unit = getattr(calibration, self.of) if self.of else 1.0
        median = statistics.median(samples)
        return {
            "figure": self.figure,
            "median": round(median, 2),
            "least": round(min(samples), 2),
            "most": round(max(samples), 2),
            "ratio": round(median / unit, 2),
            "target": self.sentence(),
            "verdict": verdict(median / unit, self.times, at_least=self.at_least),
        }


PRODUCER_NS, CONSUMER_NS = "producer ns/record", "consumer ns/record"
MILLIONS, GIGABYTES = "million records/s", "GB/s"
VALUE_OF: dict[str, Callable[[ThroughputPlan, Round], float]] = {
    PRODUCER_NS: lambda plan, found: found.producer_ns / plan.records,
    CONSUMER_NS: lambda plan, found: found.consumer_ns / plan.records,
    MILLIONS: lambda plan, found: plan.records * 1e3 / found.wall_ns,
    GIGABYTES: lambda plan, found: plan.records * plan.size_bytes / found.wall_ns,
}

COPYING = (Target(GIGABYTES, 0.5, "copy_gbps", at_least=True),)
TARGETS: dict[tuple[str, str, int], tuple[Target, ...]] = {
    ("one", "records", SMALL): (
        Target(PRODUCER_NS, 5, "loop_ns"),
        Target(CONSUMER_NS, 5.5, "loop_ns"),
        Target(MILLIONS, 8, at_least=True),
    ),
    ("many", "values", SMALL): (
        Target(PRODUCER_NS, 1.4, "loop_ns"),
        Target(CONSUMER_NS, 3, "loop_ns"),
        Target(MILLIONS, 14, at_least=True),
    ),
    ("columns", "columns", SMALL): (
        Target(PRODUCER_NS, 1.1, "loop_ns"),
        Target(CONSUMER_NS, 1.9, "loop_ns"),
    ),
    ("one", "values", 1024): COPYING,
    ("many", "values", 1024): COPYING,
    ("one", "values", 65_536): COPYING,
    ("many", "values", 65_536): COPYING,
}
"""By sending, reading and size. Whoever adds a way to send or to read adds its cases here."""

ACROSS_CORES = (Target("p50 us", 2, "wake_us"),)
LATENCY_TARGETS: dict[str, tuple[Target, ...]] = {"free": ACROSS_CORES, "two cores": ACROSS_CORES}
"""Idle. On one core the target is of a round trip, which this paced probe is not."""


def throughput_rows(
    pinnings: Sequence[Pinning], rounds: int, share: float, directory: Path, calibration: Figures
) -> Iterator[dict[str, object]]:
    """Every case in every placement, with `share` of its records. Raises InexactError if one is lost or doubled."""
    for number, (pinning, case) in enumerate((pinning, case) for pinning in pinnings for case in TARGETS):
        sending, reading, size_bytes = case
        say(f"{pinning.name}: send {sending}, read {reading}, {size_bytes} bytes")
        records = max(1000, round(RECORDS[size_bytes] * share))
        plan = ThroughputPlan(records, size_bytes, rounds, "all", sending, reading, pinning)
        place = directory / str(number)
        place.mkdir()
        found, judged = run_rounds(plan, place)
        if not judged.ok:
            raise InexactError(str(judged))
        for target in TARGETS[case]:
            samples = [VALUE_OF[target.figure](plan, one) for one in found]
            yield {
                "placement": pinning.name,
                "send": sending,
                "read": reading,
                "bytes": size_bytes,
                **target.row(samples, calibration),
            }


def latency_rows(
    pinnings: Sequence[Pinning], rounds: int, plan: LatencyPlan, directory: Path, calibration: Figures
) -> Iterator[dict[str, object]]:
    """p50 and p99 in every placement, idle (everybody sleeps between records) and loaded; targets are for idle ones."""
    for number, pinning in enumerate(pinnings):
        with cluster_in(directory / str(number), LATENCY_TOPIC, 1) as cluster:
            pin(cluster.metrics()[TopicPartition(LATENCY_TOPIC, 0)]["pid"], pinning.owner)
            for load, per_second in (("idle", IDLE_PER_SECOND), ("loaded", LOADED_PER_SECOND)):
                say(f"{pinning.name}: {load}, {per_second:,.0f} records/s")
                probe = replace(
                    plan,
                    topic=LATENCY_TOPIC,
                    per_second=per_second,
                    sender_core=pinning.producer,
                    receiver_core=pinning.consumer,
                )
                found = [measure_latency(cluster.name, probe) for _ in range(rounds)]
                targets = {target.figure: target for target in LATENCY_TARGETS.get(pinning.name, ()) if load == "idle"}
                for figure, quantile in (("p50 us", 0.5), ("p99 us", 0.99)):
                    samples = [one.microseconds(quantile) for one in found]
                    row = targets.get(figure, Target(figure, 0, "wake_us")).row(samples, calibration)
                    if figure not in targets:
                        row |= {"target": None, "verdict": None}
                    yield {"placement": pinning.name, "load": load, "records_per_second": round(per_second), **row}

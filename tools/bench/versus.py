"""shmlog beside its peers: the same payloads, one producer process and one consumer process each, in rounds.

In each round every peer has its turn, and each round begins with another one, so that a machine that drifts or that
somebody else uses for a minute hits all of them. Ratios are taken inside a round, and their median is reported.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from shmlog.testing.pacing import percentile

from .arena import say
from .peers.peer import Peer
from .versus_pair import Pair, PeerFailedError

WARM_UP_RECORDS = (200, 5000)
RECORDS_MIN = 1000
BURST_BYTES_MAX = 64 * 1024 * 1024
"""Those who write files write into the page cache then; for longer, all of them write as fast as the disk does."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class VersusPlan:
    """Peers, shmlog's own rows among them; a burst lasts about `burst_s`, a latency round `paced_s`."""

    peers: Sequence[Peer]
    sizes: Sequence[int]
    rounds: int
    burst_s: float
    paced_s: float
    per_second: float


@dataclass(slots=True)
class Samples:
    """What the rounds gave, by round: records per second; us; ns of CPU per record at both ends."""

    records_per_burst: int = 0
    records_per_second: dict[int, float] = field(default_factory=dict)
    producer_ns: dict[int, float] = field(default_factory=dict)
    consumer_ns: dict[int, float] = field(default_factory=dict)
    p50_us: dict[int, float] = field(default_factory=dict)
    p99_us: dict[int, float] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """One peer's samples by payload size, or why there are none: not installed, or failed."""

    peer: Peer
    not_measured: str | None = None
    sizes: dict[int, Samples] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows in the order of the plan; the load averages of the last minute before and after."""

    plan: VersusPlan
    rows: list[Row]
    load_before: float
    load_after: float


def spread(by_round: dict[int, float]) -> tuple[float, float, float] | None:
    """Median, least and most; None without rounds."""
    values = by_round.values()
    return (statistics.median(values), min(values), max(values)) if values else None


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """The median of ours / theirs over the rounds that both have."""
    both = ours.keys() & theirs.keys()
    return statistics.median(ours[number] / theirs[number] for number in both) if both else None


def measure(plan: VersusPlan, directory: Path) -> Comparison:
    """Run all rounds of all sizes. A peer that fails is reported as such and left out from then on."""
    rows = [Row(peer, peer.missing()) for peer in plan.peers]
    load_before = os.getloadavg()[0]
    for size_bytes in plan.sizes:
        with contextlib.ExitStack() as stack:
            pairs = list(_open(plan, rows, directory / str(size_bytes), size_bytes, stack))
            for number in range(plan.rounds):
                first = number % max(len(pairs), 1)
                for row, pair in pairs[first:] + pairs[:first]:
                    say(f"{size_bytes} bytes, round {number + 1} of {plan.rounds}: {row.peer.title}")
                    _attempt(row, partial(_round, plan, row, pair, number))
    return Comparison(plan, rows, load_before, os.getloadavg()[0])


def _open(
    plan: VersusPlan, rows: list[Row], directory: Path, size_bytes: int, stack: contextlib.ExitStack
) -> Iterator[tuple[Row, Pair]]:
    for row in rows:
        if row.not_measured is not None:
            continue
        say(f"{size_bytes} bytes: starting {row.peer.title}")
        place = directory / row.peer.name
        place.mkdir(parents=True)
        samples = row.sizes[size_bytes] = Samples()
        pair = _attempt(row, partial(Pair, row.peer, place, size_bytes))
        if pair is None:
            continue
        stack.callback(pair.stop)
        records = _attempt(row, partial(_warm_up, plan, pair, size_bytes))
        if records is not None:
            samples.records_per_burst = records
            yield row, pair


def _warm_up(plan: VersusPlan, pair: Pair, size_bytes: int) -> int:
    """How many records take about `burst_s`."""
    records = 0
    for attempt in (*WARM_UP_RECORDS, 0):
        per_second = pair.burst(attempt or records).records_per_second
        records = max(RECORDS_MIN, min(round(per_second * plan.burst_s), BURST_BYTES_MAX // size_bytes))
    if not pair.peer.is_batched:
        pair.paced(RECORDS_MIN // 10, plan.per_second)
    return records


def _round(plan: VersusPlan, row: Row, pair: Pair, number: int) -> None:
    samples = row.sizes[pair.size_bytes]
    burst = pair.burst(samples.records_per_burst)
    samples.records_per_second[number] = burst.records_per_second
    samples.producer_ns[number], samples.consumer_ns[number] = burst.producer_ns, burst.consumer_ns
    if not row.peer.is_batched:
        latencies = sorted(pair.paced(round(plan.per_second * plan.paced_s), plan.per_second))
        samples.p50_us[number], samples.p99_us[number] = (percentile(latencies, share) / 1000 for share in (0.5, 0.99))


def _attempt(row: Row, work: Callable[[], Result]) -> Result | None:
    """Do it unless this peer has failed before; note its failure."""
    if row.not_measured is not None:
        return None
    try:
        return work()
    except (PeerFailedError, OSError) as error:
        row.not_measured = f"failed: {error}"
        row.sizes.clear()
        return None

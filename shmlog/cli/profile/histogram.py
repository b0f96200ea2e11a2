"""A histogram over decades of time, small enough for the end of a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray

PER_DECADE = 5
FIRST_NS, DECADES = 100, 8
"""100 ns to 10 s; what lies outside is counted in the first or last bucket."""
BLOCKS = " ▁▂▃▄▅▆▇█"
LABELS = ("0.1", "1", "10", "100", "1ms", "10ms", "0.1s", "1s")


@dataclass(frozen=True, slots=True)
class Figures:
    """One hop in nanoseconds: exact quantiles of all durations, and how many fell into each bucket."""

    count: int
    mean_ns: float
    p50_ns: float
    p90_ns: float
    p99_ns: float
    max_ns: float
    buckets: tuple[int, ...]


def bucket_bounds_ns() -> list[float]:
    """Where each bucket begins."""
    return [FIRST_NS * 10 ** (k / PER_DECADE) for k in range(DECADES * PER_DECADE)]


def figures(durations_ns: Sequence[int]) -> Figures | None:
    """None without any."""
    import numpy

    if not durations_ns:
        return None
    all_ns: NDArray[int64] = numpy.asarray(durations_ns, dtype=numpy.int64)
    p50, p90, p99 = numpy.percentile(all_ns, [50, 90, 99])
    place = numpy.floor(numpy.log10(numpy.maximum(all_ns, 1) / FIRST_NS) * PER_DECADE + 1e-9).astype(int)
    counts = numpy.bincount(numpy.clip(place, 0, DECADES * PER_DECADE - 1), minlength=DECADES * PER_DECADE)
    return Figures(
        all_ns.size,
        float(all_ns.mean()),
        float(p50),
        float(p90),
        float(p99),
        float(all_ns.max()),
        tuple(counts.tolist()),
    )


def span(rows: Sequence[Figures]) -> tuple[int, int]:
    """The whole decades in which all rows have their durations: (first bucket, end)."""
    used = [k for row in rows for k, count in enumerate(row.buckets) if count]
    if not used:
        return 0, PER_DECADE
    return min(used) // PER_DECADE * PER_DECADE, (max(used) // PER_DECADE + 1) * PER_DECADE


def axis(first: int, end: int) -> str:
    """The labels of the decades from bucket `first` to `end`."""
    return "".join(LABELS[k].ljust(PER_DECADE) for k in range(first // PER_DECADE, end // PER_DECADE)).rstrip()


def bars(row: Figures, first: int, end: int) -> str:
    """A character for each bucket, as high as its share of the fullest one; what is there is never invisible."""
    most = max(row.buckets)
    steps = len(BLOCKS) - 1
    return "".join(BLOCKS[max(1, round(steps * n / most)) if n else 0] for n in row.buckets[first:end]).rstrip()

"""What the comparison says: Markdown for people, one JSON object for programs. Losses stand there like the rest."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from shmlog.version import VERSION

from .figures import Figures
from .peers.own import SHMLOG, SHMLOG_MANY
from .versus import Comparison, Row, Samples, ratio, spread

BEHIND = 1.0
KIBIBYTE = 1024
NOTHING = Samples()
BEHIND_NOWHERE = "shmlog is behind in no case that was measured."
THROUGHPUT_CAPTION = (
    "Million records per second, one process to another, counted at the consumer: median of {plan.rounds} rounds"
    " (least to most) of at most 64 MiB, which the page cache takes. In brackets: shmlog has so many times as many."
)
LATENCY_CAPTION = (
    "One-way latency in us at {plan.per_second:,.0f} records per second, both sides asleep unless it says polling,"
    " from when each record should have been sent: p50 and p99, medians of the rounds. In brackets: shmlog's p50 is"
    " so many times as long."
)


@dataclass(frozen=True, slots=True)
class Against:
    """shmlog against one peer at one size: how many times as many records; how many times the peer's latency."""

    records_per_second: float | None
    p50: float | None
    p99: float | None


def against(comparison: Comparison, row: Row, size_bytes: int) -> Against:
    """Batches are compared with send_many, everything else with send."""
    own_peer = SHMLOG_MANY if row.peer.is_batched else SHMLOG
    own = next(other for other in comparison.rows if other.peer is own_peer).sizes.get(size_bytes, NOTHING)
    theirs = row.sizes.get(size_bytes, NOTHING)
    return Against(
        ratio(own.records_per_second, theirs.records_per_second),
        ratio(own.p50_us, theirs.p50_us),
        ratio(own.p99_us, theirs.p99_us),
    )


def is_own(row: Row) -> bool:
    return row.peer in {SHMLOG, SHMLOG_MANY}


# --- Markdown ---------------------------------------------------------------------------------------------------------


def markdown(comparison: Comparison, calibration: Figures) -> str:
    """Throughput, latency, settings and what is missing, and where shmlog is behind."""
    plan = comparison.plan
    sizes = [human_size(size) for size in plan.sizes]
    measured = [row for row in comparison.rows if row.not_measured is None]
    paced = [row for row in measured if not row.peer.is_batched]
    parts = [
        THROUGHPUT_CAPTION.format(plan=plan),
        table(["", *sizes], [[row.peer.title, *(_rate(comparison, row, s) for s in plan.sizes)] for row in measured]),
        LATENCY_CAPTION.format(plan=plan),
        table(["", *sizes], [[row.peer.title, *(_latency(comparison, row, s) for s in plan.sizes)] for row in paced]),
        table(
            ["", "settings", "does not give"],
            [[_versioned(row), row.peer.settings, row.peer.lacks or "-"] for row in comparison.rows],
        ),
        *(f"{row.peer.title}: not measured: {row.not_measured}." for row in comparison.rows if row.not_measured),
        "\n".join(f"- {sentence}" for sentence in behind(comparison) or [BEHIND_NOWHERE]),
        _machine(comparison, calibration),
    ]
    return "\n\n".join(parts)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for who reads it as text."""
    lines = [list(headers), *map(list, rows)]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(headers))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def human_size(size_bytes: int) -> str:
    return f"{size_bytes // KIBIBYTE} KiB" if size_bytes % KIBIBYTE == 0 else f"{size_bytes} B"


def behind(comparison: Comparison) -> list[str]:
    """Every case in which a peer does better, one sentence per peer."""
    sentences = []
    for row in comparison.rows:
        cases = []
        for size in comparison.plan.sizes if not is_own(row) else ():
            found = against(comparison, row, size)
            if found.records_per_second is not None and found.records_per_second < BEHIND:
                cases.append(f"{found.records_per_second:.2f} times as many records at {human_size(size)}")
            if found.p50 is not None and found.p50 > BEHIND:
                cases.append(f"{found.p50:.1f} times the p50 at {human_size(size)}")
            if found.p99 is not None and found.p99 > BEHIND:
                cases.append(f"{found.p99:.1f} times the p99 at {human_size(size)}")
        if cases:
            sentences.append(f"shmlog is behind {row.peer.title}: {', '.join(cases)}.")
    return sentences


def _rate(comparison: Comparison, row: Row, size: int) -> str:
    found = spread(row.sizes[size].records_per_second)
    if found is None:
        return "-"
    median, least, most = (f"{value / 1e6:.3g}" for value in found)
    times = against(comparison, row, size).records_per_second
    ours = "" if is_own(row) or times is None else f" [{_times(times)}x]"
    return f"{median} ({least} to {most}){ours}"


def _latency(comparison: Comparison, row: Row, size: int) -> str:
    samples = row.sizes[size]
    p50, p99 = spread(samples.p50_us), spread(samples.p99_us)
    if p50 is None or p99 is None:
        return "-"
    times = against(comparison, row, size).p50
    ours = "" if is_own(row) or times is None else f" [{_times(times)}x]"
    return f"{p50[0]:.0f}, {p99[0]:.0f}{ours}"


def _times(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _versioned(row: Row) -> str:
    version = VERSION if is_own(row) else row.peer.version() if row.not_measured is None else ""
    return f"{row.peer.title} ({version})" if version else row.peer.title


def _machine(comparison: Comparison, calibration: Figures) -> str:
    return (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; load average"
        f" {comparison.load_before:.1f} before and {comparison.load_after:.1f} after; calibration: loop_ns"
        f" {calibration.loop_ns:.1f}, copy_gbps {calibration.copy_gbps:.2f}, wake_us {calibration.wake_us:.1f}."
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_json(comparison: Comparison, calibration: Figures) -> dict[str, object]:
    """Medians, ranges and ratios of every row and size, the rounds themselves, and the machine."""
    return {
        "calibration": {
            "loop_ns": calibration.loop_ns,
            "copy_gbps": calibration.copy_gbps,
            "wake_us": calibration.wake_us,
        },
        "machine": {
            "cores": os.cpu_count(),
            "linux": platform.release(),
            "python": platform.python_version(),
            "load_before": comparison.load_before,
            "load_after": comparison.load_after,
        },
        "rounds": comparison.plan.rounds,
        "records_per_second_paced": comparison.plan.per_second,
        "peers": [_row_json(comparison, row) for row in comparison.rows],
        "behind": behind(comparison),
    }


def _row_json(comparison: Comparison, row: Row) -> dict[str, object]:
    return {
        "name": row.peer.name,
        "title": row.peer.title,
        "settings": row.peer.settings,
        "lacks": row.peer.lacks,
        "not_measured": row.not_measured,
        "sizes": {
            str(size): {
                "records_per_burst": samples.records_per_burst,
                "records_per_second": _spread_json(samples.records_per_second),
                "producer_ns": _spread_json(samples.producer_ns),
                "consumer_ns": _spread_json(samples.consumer_ns),
                "p50_us": _spread_json(samples.p50_us),
                "p99_us": _spread_json(samples.p99_us),
                "shmlog_records_per_second_ratio": against(comparison, row, size).records_per_second,
                "shmlog_p50_ratio": against(comparison, row, size).p50,
                "shmlog_p99_ratio": against(comparison, row, size).p99,
            }
            for size, samples in row.sizes.items()
        },
    }


def _spread_json(by_round: dict[int, float]) -> dict[str, object] | None:
    found = spread(by_round)
    if found is None:
        return None
    return {"median": found[0], "least": found[1], "most": found[2], "rounds": list(by_round.values())}

"""The comparison as a picture: bars for throughput, p50 and p99 for latency. SVG, written here; no library draws it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .versus import Comparison, Row, spread
from .versus_report import human_size, is_own

WIDTH, ROW, TOP, LABELS, GAP, RIGHT = 960, 26, 92, 190, 250, 24
BAR_LEFT, BAR_RIGHT = LABELS + 16, 560
DOT_LEFT, DOT_RIGHT = 660, WIDTH - RIGHT - 40
OWN, OTHER, INK, FAINT, PAPER = "#c2410c", "#64748b", "#1e293b", "#e2e8f0", "#ffffff"
FONT = "ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
TICKS_PER_AXIS = 4


def svg(comparison: Comparison) -> str:
    """A picture of the rows that were measured, at the first size of the plan."""
    size = comparison.plan.sizes[0]
    rows = [row for row in comparison.rows if row.not_measured is None and row.sizes[size].records_per_second]
    height = TOP + len(rows) * ROW + 46
    body = [
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}"/>',
        _text(RIGHT, 34, f"Records of {human_size(size)}, one process to another, Python at both ends", 17, weight=600),
        _text(BAR_LEFT, 68, "million records per second, median and range", 12),
        _text(DOT_LEFT, 68, "one-way latency, us: p50 to p99, idle", 12),
        *_labels(rows),
        *_bars(rows, size),
        *_latencies(rows, size),
        _text(
            RIGHT,
            height - 14,
            f"Medians of {comparison.plan.rounds} rounds in turn. shmlog writes its log, and acknowledges and checks "
            "every record; several of the others do none of that.",
            11,
        ),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="{FONT}" role="img" aria-label="shmlog beside its peers">\n' + "\n".join(body) + "\n</svg>\n"
    )


def _labels(rows: list[Row]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield _text(LABELS, _middle(number) + 4, row.peer.title, 13, anchor="end", weight=600 if is_own(row) else 400)


def _bars(rows: list[Row], size: int) -> Iterator[str]:
    found = [spread(row.sizes[size].records_per_second) for row in rows]
    most = max((spread[2] for spread in found if spread), default=1.0)
    for tick in _round_ticks(most):
        yield from _grid(BAR_LEFT + (BAR_RIGHT - BAR_LEFT) * tick / most, len(rows), f"{tick / 1e6:g}")
    for number, (row, rates) in enumerate(zip(rows, found, strict=True)):
        if rates is None:
            continue
        median, low, high = ((BAR_RIGHT - BAR_LEFT) * value / most for value in rates)
        y, colour = _middle(number), OWN if is_own(row) else OTHER
        yield f'<rect x="{BAR_LEFT}" y="{y - 8}" width="{max(median, 1):.1f}" height="16" rx="2" fill="{colour}"/>'
        yield (
            f'<line x1="{BAR_LEFT + low:.1f}" x2="{BAR_LEFT + high:.1f}" y1="{y}" y2="{y}" '
            f'stroke="{INK}" stroke-width="1.5"/>'
        )
        yield _text(BAR_LEFT + high + 7, y + 4, f"{rates[0] / 1e6:.3g}", 12)


def _latencies(rows: list[Row], size: int) -> Iterator[str]:
    found = [(spread(row.sizes[size].p50_us), spread(row.sizes[size].p99_us)) for row in rows]
    values = [value[0] for pair in found for value in pair if value]
    if not values:
        return
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))

    def across(value: float) -> float:
        return DOT_LEFT + (DOT_RIGHT - DOT_LEFT) * math.log(value / low) / math.log(high / low)

    tick = low
    while tick <= high:
        yield from _grid(across(tick), len(rows), f"{tick:g}")
        tick *= 10
    for number, (row, (p50, p99)) in enumerate(zip(rows, found, strict=True)):
        y, colour = _middle(number), OWN if is_own(row) else OTHER
        if p50 is None or p99 is None:
            continue
        x50, x99 = across(p50[0]), across(p99[0])
        yield f'<line x1="{x50:.1f}" x2="{x99:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        yield f'<circle cx="{x50:.1f}" cy="{y}" r="6" fill="{colour}"/>'
        yield f'<circle cx="{x99:.1f}" cy="{y}" r="4.5" fill="{PAPER}" stroke="{colour}" stroke-width="2"/>'
        yield _text(x50 - 10, y + 4, f"{p50[0]:.0f}", 12, anchor="end")
        yield _text(x99 + 9, y + 4, f"{p99[0]:.0f}", 12)


def _grid(x: float, rows: int, label: str) -> Iterator[str]:
    yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{TOP + rows * ROW}" stroke="{FAINT}"/>'
    yield _text(x, TOP - 11, label, 10, anchor="middle")


def _round_ticks(most: float) -> list[float]:
    """From 0 in steps of 1, 2 or 5 times a power of ten."""
    rough = most / TICKS_PER_AXIS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * number for number in range(math.floor(most / step) + 1)]


def _middle(number: int) -> float:
    return TOP + number * ROW + ROW / 2


def _text(x: float, y: float, words: str, size: int, anchor: str = "start", weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{INK}">{escape(words)}</text>'
    )

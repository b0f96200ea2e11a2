"""Stacks as a flame graph: an SVG that stands alone. Callers below, callees above, width is how often it was seen."""

from __future__ import annotations

import colorsys
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape

WIDTH, ROW, MARGIN, TOP, BOTTOM = 1200, 18, 12, 44, 28
CHARACTER = 6.9
"""About as wide as one of FONT at 11.5 pixels."""
NARROWEST = 0.4
"""Pixels; what is narrower is not drawn."""
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, monospace"
INK, PAPER, FAINT = "#1e293b", "#ffffff", "#64748b"
LEGEND = "width: share of all stacks; callers below, callees above; blue: Python, warm: compiled"
PYTHON_HUES, NATIVE_HUES = (205, 230), (14, 46)
"""Frames of Python are blue, those of the compiled core and of libraries are warm."""
PYTHON = re.compile(r"\.py\b|<frozen |^<module>")


@dataclass(slots=True)
class Frame:
    """A function below the same callers: how many stacks go through it, and whom it calls."""

    count: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)

    def depth(self) -> int:
        return 1 + max((frame.depth() for frame in self.calls.values()), default=0)


def tree(stacks: Mapping[tuple[str, ...], int]) -> Frame:
    """All stacks merged from their outermost frames on."""
    root = Frame()
    for stack, count in stacks.items():
        frame = root
        frame.count += count
        for name in stack:
            frame = frame.calls.setdefault(name, Frame())
            frame.count += count
    return root


def svg(stacks: Counter[tuple[str, ...]], title: str) -> str:
    """The picture. Each frame has its name and share as a tooltip."""
    root = tree(stacks)
    rows = root.depth()
    height = TOP + rows * ROW + BOTTOM
    scale = (WIDTH - 2 * MARGIN) / root.count if root.count else 0.0
    said = f"{title}, {root.count:,} stacks" if root.count else f"{title}: all slept, there is nothing to draw"
    body = [
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        f'<text x="{MARGIN}" y="26" font-size="16" fill="{INK}">{escape(said)}</text>',
        *(_frame("all", root, root.count, MARGIN, height - BOTTOM - ROW, scale) if root.count else ()),
        f'<text x="{MARGIN}" y="{height - 9}" font-size="11" fill="{FAINT}">{LEGEND}</text>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="{FONT}" role="img" aria-label="{escape(title, quote=True)}">\n' + "\n".join(body) + "\n</svg>\n"
    )


def _frame(name: str, frame: Frame, total: int, x: float, y: float, scale: float) -> Iterator[str]:
    width = frame.count * scale
    if width < NARROWEST:
        return
    label = _fitting(name, int((width - 6) / CHARACTER))
    text = f'<text x="{x + 3:.1f}" y="{y + 13}" font-size="11.5" fill="{INK}">{escape(label)}</text>' if label else ""
    yield (
        f"<g><title>{escape(name)}: {frame.count:,} of {total:,} ({100 * frame.count / total:.1f}%)</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.3):.1f}" height="{ROW - 1}" rx="2"'
        f' fill="{_colour(name)}"/>{text}</g>'
    )
    for called, below in sorted(frame.calls.items()):
        yield from _frame(called, below, total, x, y - ROW, scale)
        x += below.count * scale


def _fitting(name: str, characters: int) -> str:
    if len(name) <= characters:
        return name
    return f"{name[: characters - 1]}…" if characters >= 4 else ""


def _colour(name: str) -> str:
    """The same for the same name, in every picture."""
    low, high = PYTHON_HUES if PYTHON.search(name) else NATIVE_HUES
    number = zlib.crc32(name.encode())
    hue, light, strong = low + number % (high - low), 0.72 + number // 7919 % 10 / 100, 0.7 + number // 97 % 20 / 100
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue / 360, light, strong))

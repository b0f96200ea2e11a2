"""The clocks, behind one seam, so that tests pass their own."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]

monotonic_ns: Clock = time.monotonic_ns
"""Nanoseconds on a clock that never goes back; the same in all processes of a boot."""


def wall_ms() -> int:
    """Milliseconds since 1970, the unit of record timestamps."""
    return time.time_ns() // 1_000_000

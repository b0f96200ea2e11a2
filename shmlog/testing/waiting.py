"""Waiting for a condition instead of for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.02


def wait_until(condition: Callable[[], T], *, timeout_s: float = 10.0, what: str = "") -> T:
    """Call `condition` until it returns something true, and return that.

    Looks at once, then after pauses that grow from half a millisecond to 20 ms, and one last time at the deadline.
    Raises TimeoutError, naming `what` was waited for (default: the condition's name) and its last value.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        value = condition()
        if value:
            return value
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            name = what or getattr(condition, "__name__", "the condition")
            raise TimeoutError(f"waited {timeout_s:g} s for {name}; it last was {value!r}")
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)

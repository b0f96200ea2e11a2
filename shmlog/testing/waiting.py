"""Waiting for a condition instead of for a duration."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.0005
LONGEST_PAUSE_S = 0.02


def wait_until(condition: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """Call `condition` until it returns something true, and return that.

    Looks at once, then after pauses that grow from half a millisecond to 20 ms, and one last time at the deadline.
    Raises TimeoutError, naming `what` was waited for (default: the condition's name) and its last value.
    """
    looks = _looks(condition, timeout_s, what)
    try:
        while True:
            time.sleep(next(looks))
    except StopIteration as found:
        return found.value  # type: ignore[no-any-return]  # typeshed does not say what a generator returned


async def await_until(condition: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """The same in a task: other tasks of its event loop run between two looks."""
    import asyncio

    looks = _looks(condition, timeout_s, what)
    try:
        while True:  # noqa: ASYNC110  # conditions are not told when they become true
            await asyncio.sleep(next(looks))
    except StopIteration as found:
        return found.value  # type: ignore[no-any-return]  # typeshed does not say what a generator returned


def _looks(condition: Callable[[], T], timeout_s: float, what: str) -> Generator[float, None, T]:
    """Yields how long to pause before the next look."""
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
        yield min(pause_s, left_s)
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)

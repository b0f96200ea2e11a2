"""Sending at a steady rate, and measuring latency from when a record should have been sent.

Each record carries its sequence number and its intended start time. A sender that falls behind does not move the
schedule, so the wait of the records behind a stall is counted and not left out (no coordinated omission).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STAMP = struct.Struct("<qq")  # sequence, intended start time in ns of the monotonic clock
SPIN_NS = 150_000
"""A sleep ends up to this late, so the last stretch before a start time is spun."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_second` records in bursts of `burst` at equal distances, for `seconds`."""

    per_second: float
    seconds: float
    burst: int = 1

    @property
    def total(self) -> int:
        """How many records that is, in whole bursts."""
        return max(1, round(self.per_second * self.seconds / self.burst)) * self.burst

    def starts(self, first_ns: int, total: int | None = None) -> Iterator[int]:
        """The intended start time of each burst, each given not before it has come; late ones at once."""
        step_ns = 1e9 * self.burst / self.per_second
        for number in range((self.total if total is None else total) // self.burst):
            intended_ns = first_ns + round(number * step_ns)
            wait_until_ns(intended_ns)
            yield intended_ns


def wait_until_ns(deadline_ns: int) -> None:
    """Return at `deadline_ns` of the monotonic clock: asleep until shortly before it, then spinning."""
    left_ns = deadline_ns - time.monotonic_ns()
    if left_ns > SPIN_NS:
        time.sleep((left_ns - SPIN_NS) / 1e9)
    while time.monotonic_ns() < deadline_ns:
        pass


def stamp(sequence: int, intended_ns: int, size_bytes: int = STAMP.size) -> bytes:
    """A payload of `size_bytes` that begins with sequence number and intended start time."""
    return STAMP.pack(sequence, intended_ns).ljust(size_bytes, b".")


def read_stamp(payload: bytes) -> tuple[int, int]:
    """Sequence number and intended start time of a payload."""
    sequence, intended_ns = STAMP.unpack_from(payload)
    return sequence, intended_ns


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below or at which `share` (0 to 1) of the sorted values lie (nearest rank); nan if there are none."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]

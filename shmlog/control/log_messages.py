"""What the supervisor orders owners to do about the size of their logs, and what they say of it.

Everybody imports these from messages.py, which describes the whole.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApplyRetention:
    """Delete what retention says may go at `now_ms` (wall time).

    `size_limit_bytes`: what the log may keep of its topic's retention.topic.bytes; -1: the owner is to say with LogSize
    how large it is, if there is such a cap.
    """

    now_ms: int
    size_limit_bytes: int = -1


@dataclass(frozen=True, slots=True)
class LogSize:
    """From an owner: what its log has, in bytes of batches, after retention was applied."""

    size_bytes: int

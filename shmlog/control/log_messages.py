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


@dataclass(frozen=True, slots=True)
class FreeDisk:
    """To owners and followers on a disk that is nearly full: remove files of deleted segments at once.

    An owner deletes what lies below the offset `delete_below` before, as far as its retention would delete it some day.
    """

    delete_below: int


@dataclass(frozen=True, slots=True)
class HoldRecords:
    """To owners and followers: take no records, for this reason, until told otherwise; "" is otherwise.

    It holds for limits.HOLD_LEASE_S; who gives the order repeats it.
    """

    reason: str

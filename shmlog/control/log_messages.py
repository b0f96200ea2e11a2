"""What clients ask for and the supervisor orders about the size of logs, and what owners say of it.

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


@dataclass(frozen=True, slots=True)
class DeleteBefore:
    """Let the log begin at `offset`; -1: at the high watermark. Answered with RecordsDeleted. Twice is once."""

    order_id: int
    offset: int


@dataclass(frozen=True, slots=True)
class RecordsDeleted:
    """From an owner: where its log begins now, durably; or the class of shmlog.errors, and why, if nothing was done."""

    order_id: int
    log_start_offset: int
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeleteRecords:
    """From a client: delete the records of a partition before `offset`; -1: all that can be read.

    Answered with LogBegins.
    """

    request_id: int
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogBegins:
    """To a client: where the log begins now, durably."""

    request_id: int
    log_start_offset: int


LogSizeOrder = ApplyRetention | DeleteBefore | FreeDisk | HoldRecords

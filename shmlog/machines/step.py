"""What a machine answers, and what its caller owes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

RecordT = TypeVar("RecordT")
ReplyT = TypeVar("ReplyT")
ActionT = TypeVar("ActionT")


@dataclass(frozen=True, slots=True)
class Step(Generic[RecordT, ReplyT, ActionT]):
    """The outcome of one request or observation. (Its aliases are for types only: Python 3.11 cannot call them.)

    The caller's duties, in this order: append `records` to its log and replay them at once; hold `replies` and
    `actions` until the records are durable; a failed append ends the process.
    """

    records: tuple[RecordT, ...] = ()
    replies: tuple[ReplyT, ...] = ()
    actions: tuple[ActionT, ...] = ()

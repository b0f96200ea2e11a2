"""Replies and actions that wait until the records before them are durable."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

HeldT = TypeVar("HeldT")


class Held(Generic[HeldT]):
    """First in, first out. What follows from a step without records waits as well, for the records of earlier steps: it
    was decided on a state that these made."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, HeldT]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, end_offset: int, what: HeldT) -> None:
        """Until all records before `end_offset`, where the log ends now, are durable."""
        assert not self._waiting or self._waiting[-1][0] <= end_offset, "a log does not become shorter"
        self._waiting.append((end_offset, what))

    def release(self, high_watermark: int) -> list[HeldT]:
        """What may go out, in the order in which it was held."""
        out = []
        while self._waiting and self._waiting[0][0] <= high_watermark:
            out.append(self._waiting.popleft()[1])
        return out

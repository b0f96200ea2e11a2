"""Pauses between attempts that may go on for a while: longer each time, and not the same for everybody."""

from __future__ import annotations

from random import uniform


class Pauses:
    """The first is about `first_s`, the last about `last_s`; each is up to a half shorter by chance, so that many who
    lost the same thing do not come back at once."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self._first_s = first_s
        self._last_s = last_s
        self._next_s = first_s

    def next_s(self) -> float:
        """How long to wait now."""
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._last_s)
        return uniform(pause_s / 2, pause_s)

    def begin(self) -> None:
        """It has worked: the next pause is the first."""
        self._next_s = self._first_s

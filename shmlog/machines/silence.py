"""When a process that ought to show signs of life counts as silent, without a clock that both must have run by."""

from __future__ import annotations

LOOKS = 8
"""Looks that a sign must have stood still for. Who looks may have been stopped with all others: that is one look."""


class SilenceMachine:
    """Looks at one process's signs of life, at even intervals. Another process begins anew."""

    def __init__(self) -> None:
        self._process = 0
        self._sign = 0
        self._still = 0

    def look(self, process: int, sign: int) -> bool:
        """Whether `process` has been silent for LOOKS looks in a row; `sign` is its last one, 0: it gave none yet."""
        if (process, sign) != (self._process, self._sign):
            self._process, self._sign, self._still = process, sign, 0
        else:
            self._still += 1
        return self._still >= LOOKS

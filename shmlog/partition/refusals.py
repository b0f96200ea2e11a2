"""What an owner has no room for at the moment: on its disk, or in shared memory for a larger ring."""

from __future__ import annotations

from time import monotonic_ns
from typing import Literal

from shmlog.errors import StorageError

CLOSE_S = 10.0
"""A closing owner waits so long for room."""


class Refusals:
    """A full disk holds all lanes up, a ring that cannot grow those that need a larger one."""

    def __init__(self, title: str) -> None:
        self._title = title
        self.what: Literal["", "ring", "disk"] = ""
        self.since_ns = 0
        self.growth = ""
        """Why the ring could not grow; empty: it could, or nobody waits for it any more."""

    def note(self, disk: str, *, closing_since_ns: int | None) -> str | None:
        """Take in what there is no room for now; returns the sentence for the ctl region when that has changed.

        Raises StorageError in a closing owner that has waited long enough.
        """
        refusal = disk or self.growth
        now_ns = monotonic_ns()
        if refusal and closing_since_ns is not None and now_ns - closing_since_ns > CLOSE_S * 1e9:
            raise StorageError(
                f"cannot close {self._title}: {refusal}. What is not written stays in"
                " shared memory: start the cluster again before a reboot"
            )
        what: Literal["", "ring", "disk"] = "disk" if disk else "ring" if refusal else ""
        if what == self.what:
            return None
        self.what, self.since_ns = what, now_ns
        return refusal

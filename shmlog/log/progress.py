"""Showing that something which takes long goes on, to somebody who cannot see it otherwise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

PROGRESS_EVERY_S = 0.5


class Progress:
    """Calls `tell` at most once in PROGRESS_EVERY_S, from the thread that makes the steps."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._next_s = monotonic() + PROGRESS_EVERY_S

    def step(self) -> None:
        """Something was done, or is about to be."""
        now_s = monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + PROGRESS_EVERY_S
            self._tell()

    def wait_for(self, call: Callable[[], None]) -> None:
        """Make a call that may block for long, in a thread of its own: a slow disk is not a process that is stuck.

        Raises what the call raises.
        """
        raised: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001  raised again below
                raised.append(error)

        self.step()
        thread = threading.Thread(target=run, name="blocking", daemon=True)
        thread.start()
        thread.join(PROGRESS_EVERY_S)
        while thread.is_alive():
            self.step()
            thread.join(PROGRESS_EVERY_S)
        if raised:
            raise raised[0]

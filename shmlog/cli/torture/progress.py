"""What a torture shows while it goes on: one line on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from shmlog.cli.torture.plan import Fault

REFRESH_PER_SECOND = 8


class Progress:
    """Told what happens; shows it on standard error if that is a terminal."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._fault = ""
        self._status = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.status import Status

            self._status = Status("", console=Console(stderr=True), refresh_per_second=REFRESH_PER_SECOND)

    def say(self, phase: str) -> None:
        """A new phase began."""
        if self._status is not None:
            self._status.update(f"{phase} ...")

    def fault(self, fault: Fault) -> None:
        """A fault is about to begin."""
        self._fault = fault.kind

    def look(self, elapsed_s: float, kills: int, acks: int) -> None:
        """Counts may have moved."""
        if self._status is not None:
            self._status.update(
                f"{elapsed_s:5.1f} of {self._seconds:g} s   kills {kills}   acknowledged {acks:,}   {self._fault}"
            )

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

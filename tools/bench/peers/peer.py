"""What the comparison knows of a peer: how its two ends are opened, its settings, and what it does not give.

A peer's file can be imported without the peer's library: each end imports it when it is opened, in its own process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

OTHER_PROGRAM_FOLDERS = (Path.home() / "go" / "bin",)
"""Where programs may lie that their own installers do not put on the path."""


class Sender(Protocol):
    """The producer's end, used in one process by one thread."""

    def send(self, payloads: list[bytes]) -> None:
        """Hand over all payloads in order; returns once the peer has them, as far as its settings promise that."""

    def close(self) -> None:
        """Let go."""


class Receiver(Protocol):
    """The consumer's end, used in one process by one thread."""

    def receive(self, most: int) -> list[bytes]:
        """The next payloads, as bytes of their own: at least one, at most `most`; waits, for all of them if it must."""

    def close(self) -> None:
        """Let go."""


class Route(Protocol):
    """From one producer to one consumer. It is pickled into their processes while these are being started."""

    def sender(self) -> Sender:
        """Open the producer's end."""

    def receiver(self) -> Receiver:
        """Open the consumer's end."""


Start = Callable[[Path, int], AbstractContextManager[Route]]
"""Starts what the peer needs in a directory of its own, for payloads of that many bytes; stops it at the end."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the comparison. `library` is a module's name, `program` one that is looked for on the path."""

    name: str
    title: str
    settings: str
    lacks: str
    start: Start
    is_batched: bool = False
    library: str = ""
    package: str = ""
    program: str = ""
    remedy: str = ""

    def missing(self) -> str | None:
        """What has to be installed before this peer can be measured, with the command; None if nothing."""
        if self.library and find_spec(self.library) is None:
            return f"not installed (pip install {self.package})"
        if self.program and program_path(self.program) is None:
            return f"not installed ({self.remedy})"
        return None

    def version(self) -> str:
        """Of its Python package; empty for what has none."""
        return version(self.package.partition("[")[0]) if self.package else ""


def program_path(name: str) -> str | None:
    """Where a program is, or None."""
    places = [os.environ.get("PATH", os.defpath), *map(str, OTHER_PROGRAM_FOLDERS)]
    return shutil.which(name, path=os.pathsep.join(places))

"""Where the three processes of a record run: anywhere, all on one core, or the producer apart from the others."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pinning:
    """The core of each process; None: wherever the kernel puts it."""

    name: str
    producer: int | None
    owner: int | None
    consumer: int | None


FREE = Pinning("free", None, None, None)


def pinnings() -> list[Pinning]:
    """Free, one core, and, where this process may use two, the producer on one and owner and consumer on the other."""
    cores = sorted(os.sched_getaffinity(0))
    one = Pinning("one core", cores[0], cores[0], cores[0])
    two = [Pinning("two cores", cores[0], cores[-1], cores[-1])] if len(cores) > 1 else []
    return [FREE, one, *two]


def pin(pid: int, core: int | None) -> None:
    """Keep a process (0: this one) on one core, unless `core` is None."""
    if core is not None:
        os.sched_setaffinity(pid, {core})

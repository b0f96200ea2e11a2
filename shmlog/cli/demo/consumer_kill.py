"""While records flow one of the group's consumers is killed, and another one joins."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from shmlog.testing.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class ConsumerKill:
    """Who was killed, of how many, and who joined."""

    pid: int
    members: int
    joined_pid: int


def kill_and_replace(consumers: list[WorkerProcess], newcomer: WorkerProcess) -> tuple[WorkerProcess, ConsumerKill]:
    """Kill the first of `consumers`, which leaves the list, and have `newcomer` join, which enters it."""
    victim = consumers.pop(0)
    kill = ConsumerKill(victim.pid, len(consumers) + 1, newcomer.pid)
    os.kill(victim.pid, signal.SIGKILL)
    newcomer.send(join=True)
    consumers.append(newcomer)
    return victim, kill

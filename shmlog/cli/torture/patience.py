"""Clients of a cluster that is being killed all the time wait for it, longer than a program would."""

from __future__ import annotations

import time

import shmlog
from shmlog.errors import ShmlogError

PATIENCE_S = 60.0
PAUSE_S = 0.02


def connect_patiently(name: str, timeout_s: float = PATIENCE_S) -> shmlog.Cluster:
    """Connect, trying again for as long as `timeout_s`. Raises the last error, or at once one that will not pass."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return shmlog.connect(name)
        except ShmlogError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_S)

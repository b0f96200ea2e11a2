"""Owners that an earlier supervisor left running: they are ended, and seen to end, before a successor starts."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

from shmlog.control import life
from shmlog.control.paths import RuntimePaths
from shmlog.errors import StartError
from shmlog.supervisor.process import becomes_readable

log = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 10.0
"""A process that SIGKILL does not end within this time hangs in the kernel (D state)."""


def end_orphans(runtime: RuntimePaths) -> int:
    """SIGKILL every owner that holds its life lock, and wait until the kernel says that it is gone; returns how many.

    Their rings survive; the successors take them over. Raises StartError naming a process that cannot be ended.
    """
    pidfds: dict[int, int] = {}
    try:
        for entry in os.listdir(runtime.owners):
            path = os.path.join(runtime.owners, entry)
            pid = life.holder(path)
            if pid is None:
                continue
            if pid == 0:
                raise StartError(f"the owner of partition id {entry} runs in another pid namespace: stop it there")
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                pidfds[pid] = pidfd
                if life.holder(path) == pid:  # still: so the pidfd is the holder's
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pid, pidfd in pidfds.items():
            if not becomes_readable(pidfd, EXIT_TIMEOUT_S):
                raise StartError(f"process {pid}, an owner that an earlier supervisor left, cannot be ended")
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)
    if pidfds:
        log.info("ended %d owners that an earlier supervisor left", len(pidfds))
    return len(pidfds)

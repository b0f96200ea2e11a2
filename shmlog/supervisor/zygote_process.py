"""Starting the zygote: the first thing a supervisor does, before it imports its own modules. So this imports little."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import NamedTuple

OWNER_MODULE = "shmlog.workers.owner"
_OURS_ALONE = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
"""Between systemd and the supervisor; a worker that used them would speak for it."""


def for_workers(environment: Mapping[str, str]) -> dict[str, str]:
    """The supervisor's environment without what is between systemd and it."""
    return {name: value for name, value in environment.items() if name not in _OURS_ALONE}


class ZygoteProcess(NamedTuple):
    """A zygote that is just starting, and our end of the socket pair to it."""

    pid: int
    endpoint: socket.socket


def start_zygote(owner_module: str) -> ZygoteProcess:
    """Exec a zygote; it imports what owners need while we go on. Raises as start_process."""
    return ZygoteProcess(*start_process("shmlog.workers.zygote", owner_module))


def start_process(module: str, *arguments: str) -> tuple[int, socket.socket]:
    """Exec a fresh interpreter in a session of its own, with `module` as its program; its pid, and our end.

    It is given the number of its end of a socket pair, which is the only descriptor that it gets besides the three
    standard ones, then `arguments`. Raises OSError when there is no process or descriptor to be had; nothing is left
    then.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        os.set_inheritable(theirs.fileno(), True)
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), *arguments]
        try:
            pid = os.posix_spawn(sys.executable, command, for_workers(os.environ), setsid=True)
        except OSError:
            ours.close()
            raise
    return pid, ours

"""Why no supervisor answers, and what to do: none is there, one died, starts or closes, or stands still."""

from __future__ import annotations

import os
from contextlib import suppress

from shmlog.control import life
from shmlog.control.last_start import restart_command
from shmlog.control.paths import RuntimePaths
from shmlog.errors import BrokerNotAvailableError, NoClusterError

_STOPPED = frozenset("Tt")
"""States of a process in /proc: stopped by a signal, or by a debugger."""


def explain(cluster_name: str, paths: RuntimePaths, *, was_connected: bool) -> NoClusterError | BrokerNotAvailableError:
    """The error for a client that reached nobody: NoClusterError when no supervisor lives there,
    BrokerNotAvailableError naming its pid when one does. `was_connected`: there was a cluster before."""
    pid = life.holder(paths.supervisor_lock)
    start = f"`{restart_command(cluster_name, paths.supervisor_lock)}`"
    if pid is not None:
        if os.path.exists(paths.control_socket):
            return BrokerNotAvailableError(f"the supervisor of cluster {cluster_name!r} {condition(pid, start)}")
        return BrokerNotAvailableError(
            f"the supervisor of cluster {cluster_name!r} (pid {pid}) is starting or closing: it does not listen at"
            f" {paths.control_socket}; try again in a moment"
        )
    if os.path.exists(paths.control_socket):
        return NoClusterError(
            f"the supervisor of cluster {cluster_name!r} died: {start} takes the cluster over, with all it accepted"
        )
    if was_connected:
        return NoClusterError(
            f"the supervisor of cluster {cluster_name!r} is gone and has not come back: start it again with {start}"
        )
    return NoClusterError(
        f"no cluster {cluster_name!r} is running (nothing listens at {paths.control_socket}{_running_beside(paths)}):"
        f" start one with {start}, or inside a program with shmlog.start()"
    )


def condition(pid: int, start: str) -> str:
    """What is the matter with supervisor `pid`, which lives and is silent; 0: it is in another pid namespace.

    `start` is the command that starts another one.
    """
    if pid == 0:
        return "does not answer, and runs in another pid namespace: look for it in its container"
    otherwise = f"`kill -KILL {pid}` ends it, and {start} then takes the cluster over"
    if _state(pid) in _STOPPED:
        return f"(pid {pid}) does not answer: it is stopped; `kill -CONT {pid}` lets it go on, or {otherwise}"
    return f"(pid {pid}) does not answer: it is busy or stuck; try again, or {otherwise}"


def _state(pid: int) -> str:
    """The letter of /proc for what a process does; empty if it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""


def _running_beside(paths: RuntimePaths) -> str:
    """Names other clusters that run in the same place, for who mistyped one."""
    base = os.path.dirname(paths.directory)
    names: list[str] = []
    with suppress(OSError):
        for name in sorted(os.listdir(base)):
            beside = RuntimePaths(os.path.join(base, name))
            with suppress(OSError):  # another user's, perhaps
                if os.path.exists(beside.control_socket) and life.holder(beside.supervisor_lock) is not None:
                    names.append(name)
    return f"; running there: {', '.join(names)}" if names else ""

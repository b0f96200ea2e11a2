"""What the supervisor asks of the kernel for itself, and what it tells systemd."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import socket

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Owners whose zygote died become our children, so that we see and reap them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def raise_file_limit() -> int:
    """Soft limit of open files up to the hard one; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft


def children() -> list[int]:
    """Pids of this process's children, zombies included."""
    mine = os.getpid()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == mine:
                    found.append(int(entry))
    return found


class ServiceNotifier:
    """systemd's sd_notify protocol: datagrams to $NOTIFY_SOCKET, nothing if there is none."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        watchdog_usec = os.environ.get("WATCHDOG_USEC", "")
        for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s: float | None = int(watchdog_usec) / 2e6 if watchdog_usec.isdigit() and for_us else None
        """How often WATCHDOG=1 is due: half of what systemd allows. None: it does not watch."""

    def tell(self, state: str) -> None:
        """`state` such as READY=1, STOPPING=1, WATCHDOG=1 or STATUS=.."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
        ):
            out.setblocking(False)
            out.sendto(state.encode(), address)


def becomes_readable(fd: int, timeout_s: float) -> bool:
    """Wait for a descriptor of any number: select() refuses those beyond 1023, and every owner has some here."""
    waiter = select.poll()
    waiter.register(fd, select.POLLIN)
    return bool(waiter.poll(timeout_s * 1000))

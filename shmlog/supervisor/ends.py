"""What ends a cluster from outside: signals, and the death of the process that started it for itself."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

from shmlog.supervisor.loop import Loop

_HOST_GONE = "the process that started this cluster is gone"


def watch_for_end(
    loop: Loop, undo: ExitStack, stop: Callable[[str], None], *, lifetime_fd: int | None, host_pidfd: int | None
) -> None:
    """Call `stop` with the reason. `lifetime_fd`: the reading end of a pipe whose other end that process holds;
    `host_pidfd`: the process itself. `undo` gets what has to be undone in the end."""
    _watch_signals(loop, undo, stop)
    if lifetime_fd is not None:
        _watch_lifetime(loop, stop, lifetime_fd)
    if host_pidfd is not None:
        _watch_host(loop, stop, host_pidfd)


def _watch_signals(loop: Loop, undo: ExitStack, stop: Callable[[str], None]) -> None:
    reading, writing = socket.socketpair()
    for end in (reading, writing):
        end.setblocking(False)
        undo.callback(end.close)

    def caught() -> None:
        number = reading.recv(1)[0]
        stop(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    undo.callback(lambda: signal.set_wakeup_fd(-1))
    loop.watch(reading.fileno(), caught)


def _watch_lifetime(loop: Loop, stop: Callable[[str], None], fd: int) -> None:
    os.set_inheritable(fd, False)

    def ended() -> None:
        if not os.read(fd, 64):
            loop.forget(watch)
            stop(_HOST_GONE)

    watch = loop.watch(fd, ended)


def _watch_host(loop: Loop, stop: Callable[[str], None], pidfd: int) -> None:
    os.set_inheritable(pidfd, False)

    def ended() -> None:
        loop.forget(watch)
        stop(_HOST_GONE)

    watch = loop.watch(pidfd, ended)

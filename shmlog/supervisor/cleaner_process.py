"""The supervisor's end of the cleaner: one process for all logs, started when there is a log to compact."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Set

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import CleanLog, Message
from shmlog.errors import ShmlogError
from shmlog.limits import CLEANER_EXIT_S
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.process import becomes_readable
from shmlog.supervisor.zygote_process import start_process

log = logging.getLogger(__name__)

MODULE = "shmlog.workers.cleaner"


class CleanerProcess:
    """`hear` gets its answers, `on_death` is called when it is gone. It writes nothing but files that nobody uses yet,
    so it may die, hang or be stopped at any time."""

    def __init__(self, loop: Loop, hear: Callable[[Message], None], on_death: Callable[[], None]) -> None:
        self._loop = loop
        self._hear = hear
        self._on_death = on_death
        self._channel: Channel | None = None
        self._watches: list[Watch] = []
        self._pid = 0
        self._pidfd = -1

    def pids(self) -> Set[int]:
        """Of the process, if there is one."""
        return {self._pid} if self._pid else set()

    def order(self, job: CleanLog) -> None:
        """Start it if it does not run, and give it a log. Raises OSError if it cannot be started."""
        if self._channel is None:
            self._start()
        assert self._channel is not None
        with contextlib.suppress(ChannelClosedError):  # its pidfd says so in a moment
            self._channel.send(job)
            self._channel.flush(1.0)

    def close(self) -> None:
        """End it; what it was writing is removed when the log is opened next."""
        if self._channel is None:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        becomes_readable(self._pidfd, CLEANER_EXIT_S)
        self._let_go()

    def _start(self) -> None:
        self._pid, endpoint = start_process(MODULE)
        self._channel = Channel(endpoint)
        self._pidfd = os.pidfd_open(self._pid)
        self._watches = [
            self._loop.watch(self._channel.fileno(), self._listen),
            self._loop.watch(self._pidfd, self._died),
        ]

    def _listen(self) -> None:
        try:
            while self._channel is not None and (message := self._channel.receive()) is not None:
                self._hear(message)
        except ShmlogError as error:
            if not isinstance(error, ChannelClosedError):
                log.error("the cleaner (process %d) talks nonsense: %s", self._pid, error)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            if self._watches:
                self._loop.forget(self._watches.pop(0))

    def _died(self) -> None:
        log.warning("the cleaner (process %d) died; another one begins again", self._pid)
        self._let_go()
        self._on_death()

    def _let_go(self) -> None:
        assert self._channel is not None
        for watch in self._watches:
            self._loop.forget(watch)
        self._watches = []
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        os.close(self._pidfd)
        self._channel, self._pid, self._pidfd = None, 0, -1

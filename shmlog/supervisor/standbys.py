"""The standbys of this supervisor: as many as are wanted are kept waiting, those of its predecessor among them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass

from shmlog.control import life
from shmlog.control.paths import RuntimePaths
from shmlog.limits import RESTART_BACKOFF_MAX_MS, STANDBY_EXIT_S, STANDBY_PAUSE_S
from shmlog.machines.silence import LOOKS
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.process import becomes_readable
from shmlog.supervisor.sign_of_life import SignOfLife
from shmlog.supervisor.zygote_process import for_workers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StandbyPlan:
    """`count` standbys are wanted, each run with the supervisor's own `arguments` and its number."""

    count: int = 0
    arguments: Sequence[str] = ()


NO_STANDBYS = StandbyPlan()


@dataclass(frozen=True, slots=True)
class _Process:
    number: int
    pid: int
    pidfd: int
    watch: Watch


class Standbys:
    """Starts nothing before start(). One that dies is replaced, after longer and longer pauses."""

    def __init__(self, loop: Loop, runtime: RuntimePaths, plan: StandbyPlan, unresponsive_ms: int) -> None:
        self._loop = loop
        self._runtime = runtime
        self._plan = plan
        self._beat_s = unresponsive_ms / 1000 / LOOKS / 2
        self._processes: dict[int, _Process] = {}  # by number
        self._deaths = 0
        self._closed = False
        self._sign: SignOfLife | None = None

    def pids(self) -> Set[int]:
        return {process.pid for process in self._processes.values()}

    def start(self) -> None:
        """Find those of an earlier supervisor, and start what is missing."""
        waiting = [int(name) for name in os.listdir(self._runtime.standbys) if name.isdigit()]
        for number in sorted({*waiting, *range(self._plan.count)}):
            pid = life.holder(self._runtime.standby(number))
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    self._watch(number, pid)
        self._begin_to_beat()
        for number in range(self._plan.count):
            self._start_one(number)

    def close(self) -> None:
        """End all of them: nobody is to take over what is closed on purpose. They hold nothing."""
        self._closed = True
        for process in list(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
            if not becomes_readable(process.pidfd, STANDBY_EXIT_S):
                log.error("standby %d (process %d) cannot be ended", process.number, process.pid)
            self._forget(process)
        if self._sign is not None:
            self._sign.close()
            self._sign = None

    def _begin_to_beat(self) -> None:
        if self._closed or self._sign is not None or not (self._plan.count or self._processes):
            return
        try:
            self._sign = SignOfLife(self._runtime.sign_of_life)
        except OSError as error:  # a full /dev/shm; who has never beaten is given much longer
            log.warning("no sign of life for standbys can be given: %s; trying again", error)
            self._loop.call_in(STANDBY_PAUSE_S, self._begin_to_beat)
            return
        self._beat()

    def _beat(self) -> None:
        if self._sign is not None:
            self._sign.beat()
            if self._beat_s:
                self._loop.call_in(self._beat_s, self._beat)

    def _start_one(self, number: int) -> None:
        if self._closed or number in self._processes:
            return
        command = [sys.executable, "-P", "-m", "shmlog.workers.supervisor", *self._plan.arguments]
        command += ["--standby", str(number)]
        try:
            pid = os.posix_spawn(sys.executable, command, for_workers(os.environ), setsid=True)
        except OSError as error:
            log.warning("no standby can be started: %s; trying again", error.strerror)
            self._start_later(number)
            return
        self._watch(number, pid)

    def _start_later(self, number: int) -> None:
        pause_s = min(STANDBY_PAUSE_S * 2 ** min(self._deaths, 10), RESTART_BACKOFF_MAX_MS / 1000)
        self._deaths += 1
        self._loop.call_in(pause_s, lambda: self._start_one(number))

    def _watch(self, number: int, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        process = _Process(number, pid, pidfd, self._loop.watch(pidfd, lambda: self._died(process)))
        self._processes[number] = process

    def _died(self, process: _Process) -> None:
        log.warning("standby %d (process %d) died", process.number, process.pid)
        self._forget(process)
        if process.number < self._plan.count:
            self._start_later(process.number)

    def _forget(self, process: _Process) -> None:
        self._loop.forget(process.watch)
        with contextlib.suppress(ChildProcessError):  # an earlier supervisor's
            os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG)
        os.close(process.pidfd)
        del self._processes[process.number]

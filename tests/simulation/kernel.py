"""What the simulated processes have for a kernel: a clock, a supervisor's loop, processes, and a disk that may refuse.

The code under test is the real one. Only what asks the machine for something is replaced while `installed` lasts: the
clocks of shmlog's modules, pidfds, threads (a sync is done where it would have been started), and the log's storage,
which counts its calls so that a process can be killed between any two of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from shmlog.log.progress import Progress
from shmlog.log.storage import OsStorage
from shmlog.partition import log_keeper, owner, reader, replica_sync
from shmlog.supervisor import worker
from shmlog.supervisor.loop import Callback, Loop, Watch

FIRST_PIDFD = 1_000_000
EPOCH_MS = 1_700_000_000_000
STORAGE_CALLS = ("open", "pread", "pread_into", "pwrite", "fdatasync", "fsync_dir", "truncate", "rename", "unlink",
                 "listdir", "mkdir")  # fmt: skip
SYNCS = ("fdatasync", "fsync_dir")


class KilledError(BaseException):
    """The process that runs just now gets SIGKILL, at the call that it makes."""


class Kernel:
    """Time, pids, and what becomes of the storage's calls of the process that runs just now."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.calls_left: int | None = None
        """After so many calls to the storage the running process is killed; None: it is not."""
        self.refused: str = ""
        """Directory whose disk fails every write and sync with EIO; "": none."""
        self.killed: Callable[[int], None] = lambda pid: None
        self.has_exited: Callable[[int], bool] = lambda pid: False
        self._pids = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ms(self) -> int:
        return EPOCH_MS + self.now_ns // 1_000_000

    def next_pid(self) -> int:
        self._pids += 1
        return self._pids

    def send_signal(self, pidfd: int, _: int) -> None:
        """Of pidfds, whose only signal here is SIGKILL."""
        self.killed(pidfd - FIRST_PIDFD)

    def count_call(self, name: str, where: str) -> None:
        """Before each call to a storage. Raises KilledError, or OSError as the disk does."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                self.calls_left = None
                raise KilledError
        if self.refused and where.startswith(self.refused) and name not in ("pread", "pread_into", "listdir"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class SimulatedLoop(Loop):
    """The supervisor's loop without a selector: run_once looks at everything that is watched, in order, and at time."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel.monotonic_ns)
        self._kernel = kernel

    def watch(self, fd: int, on_readable: Callback) -> Watch:
        watch = self._watches[fd] = Watch(fd, on_readable)
        return watch

    def when_writable(self, watch: Watch, callback: Callback | None) -> None:
        watch.on_writable = callback

    def forget(self, watch: Watch) -> None:
        if self._watches.get(watch.fd) is watch:
            del self._watches[watch.fd]

    def run_once(self, wait_s: float = 0.0) -> None:
        for watch in list(self._watches.values()):
            if self._is_current(watch) and self._is_readable(watch.fd):
                watch.on_readable()
            if self._is_current(watch) and watch.on_writable is not None:
                watch.on_writable()
        self._run_timers()

    def _is_readable(self, fd: int) -> bool:
        if fd >= FIRST_PIDFD:
            return self._kernel.has_exited(fd - FIRST_PIDFD)
        waiter = select.poll()
        waiter.register(fd, select.POLLIN)
        return bool(waiter.poll(0))


@contextlib.contextmanager
def installed(kernel: Kernel) -> Iterator[None]:
    """The kernel is everybody's, as long as this lasts."""
    with contextlib.ExitStack() as stack:

        def replace(target: object, name: str, new: object) -> None:
            stack.enter_context(patch.object(target, name, new))

        for module in [module for name, module in sys.modules.items() if name.startswith("shmlog.")]:
            for name, own in (("monotonic_ns", kernel.monotonic_ns), ("wall_ms", kernel.wall_ms)):
                if callable(getattr(module, name, None)) and module.__file__ and module.__file__.endswith(".py"):
                    replace(module, name, own)
        replace(reader, "time", SimpleNamespace(monotonic=lambda: kernel.now_ns / 1e9))
        replace(owner, "RUN_BUDGET_NS", 1 << 60)  # an owner's turn ends when there is nothing left, not by a clock
        replace(owner, "LANE_IDLE_CLOSE_S", 1e9)  # the lanes' own clock is the machine's
        replace(log_keeper._Sync, "start", lambda sync: None)  # who collects it does it
        replace(replica_sync._Sync, "start", lambda sync: sync.run())
        replace(Progress, "wait_for", lambda progress, call: call())
        replace(worker, "signal", SimpleNamespace(SIGKILL=9, pidfd_send_signal=kernel.send_signal))
        replace(
            worker,
            "os",
            SimpleNamespace(waitid=lambda *_: None, close=lambda fd: None, P_PIDFD=0, WEXITED=0, WNOHANG=0),
        )
        for name in STORAGE_CALLS:
            replace(OsStorage, name, _counted(kernel, name))
        yield


def _counted(kernel: Kernel, name: str) -> Callable[..., Any]:
    """The storage's method, as the kernel lets it be. What is synced is never asked for: nobody loses power here."""
    real = getattr(OsStorage, name)

    def call(storage: OsStorage, target: str | int, *rest: Any) -> Any:
        if kernel.calls_left is not None or kernel.refused:
            where = target if isinstance(target, str) else os.readlink(f"/proc/self/fd/{target}")
            kernel.count_call(name, where)
        return None if name in SYNCS else real(storage, target, *rest)

    return call


def real_seconds() -> float:
    """For bounds on a test's own run, never for a decision in the simulation."""
    return time.monotonic()

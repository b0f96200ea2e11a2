"""A supervisor that waits for its turn: everything imported, its zygote running, nothing held but its own number.

It acts when the lock of the runtime directory is free, and what frees that is the kernel, at the end of whoever held
it. A supervisor that is there and silent is killed first, and seen to end. That a cluster was closed in good order is
seen by the lock file, which goes with it: a dead supervisor leaves it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time

from shmlog.control import life
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.paths import RuntimePaths
from shmlog.errors import StartError
from shmlog.limits import STANDBY_LOOK_S, STARTING_SUPERVISOR_S
from shmlog.machines.silence import LOOKS, SilenceMachine
from shmlog.supervisor.process import becomes_readable
from shmlog.supervisor.sign_of_life import last_sign

log = logging.getLogger(__name__)

KILLED_S = 10.0
"""A process that SIGKILL has not ended by then hangs in the kernel: that is said, and it is waited for."""


class Standby:
    """The `number`-th standby of a cluster, which is this process. Raises StartError if there is one already."""

    def __init__(self, runtime: RuntimePaths, number: int, unresponsive_ms: int) -> None:
        self._runtime = runtime
        self._patience_s = unresponsive_ms / 1000
        try:
            self._place = LifeLock.acquire(runtime.standby(number))
        except LockHeldError as held:
            raise StartError(f"process {held.pid} is standby {number} of this cluster already") from None
        except FileNotFoundError:
            raise StartError(f"no cluster to stand by for: there is no {runtime.standbys}") from None

    def wait(self) -> LifeLock | None:
        """The lock of the runtime directory, once there is no supervisor any more; None: the cluster was closed."""
        path = self._runtime.supervisor_lock
        lock: LifeLock | None = None
        while lock is None and os.path.exists(path):
            pid = life.holder(path)
            if pid is not None:
                self._outlive(pid)
                continue
            # somebody else was quicker, and is waited for; or the cluster was closed just now
            with contextlib.suppress(LockHeldError, FileNotFoundError):
                lock = LifeLock.acquire(path)
        self._place.release()
        return lock

    def _outlive(self, pid: int) -> None:
        """Wait until the supervisor has ended, of itself or by our hand."""
        try:
            pidfd = os.pidfd_open(pid) if pid else -1
        except ProcessLookupError:
            return
        if pidfd < 0:  # another pid namespace's, so nobody can say more than whether it has the lock
            time.sleep(STANDBY_LOOK_S)
            return
        try:
            if life.holder(self._runtime.supervisor_lock) != pid:
                return
            if not self._ends_of_itself(pid, pidfd):
                log.error("supervisor %d has shown no sign of life for %g s: killing it", pid, self._patience_s)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                while not becomes_readable(pidfd, KILLED_S):
                    log.error("supervisor %d does not end though it was killed: it hangs in the kernel; waiting", pid)
        finally:
            os.close(pidfd)

    def _ends_of_itself(self, pid: int, pidfd: int) -> bool:
        """False when it is silent. One that starts has not beaten yet, and gets as long as that may take."""
        silence = SilenceMachine()
        while True:
            sign = last_sign(self._runtime.sign_of_life, pid)
            if self._patience_s and silence.look(pid, sign):
                return False
            patience_s = self._patience_s if sign else max(self._patience_s, STARTING_SUPERVISOR_S)
            if becomes_readable(pidfd, patience_s / LOOKS):
                return True

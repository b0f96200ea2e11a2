"""Workers that an earlier supervisor left running: found by their life locks, handed out to whoever goes on with them,
and otherwise ended, and seen to end, before anybody acts in their place."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from shmlog.control import life
from shmlog.control.paths import RuntimePaths
from shmlog.errors import StartError
from shmlog.supervisor.process import becomes_readable

log = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 10.0
"""A process that SIGKILL does not end within this time hangs in the kernel (D state)."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A worker that holds its life lock. The pidfd belongs to who has this object."""

    pid: int
    pidfd: int


class Orphans:
    """All of them, by the names of their life files. Raises StartError for one in another pid namespace."""

    def __init__(self, runtime: RuntimePaths) -> None:
        self._orphans: dict[str, Orphan] = {}
        try:
            for name in os.listdir(runtime.owners):
                path = os.path.join(runtime.owners, name)
                pid = life.holder(path)
                if pid is None:
                    continue
                if pid == 0:
                    raise StartError(f"the owner of partition id {name} runs in another pid namespace: stop it there")
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(pid)
                    self._orphans[name] = Orphan(pid, pidfd)
                    if life.holder(path) != pid:  # it died, and the number may be another's
                        os.close(self._orphans.pop(name).pidfd)
        except BaseException:
            self.close()
            raise

    def __contains__(self, name: str) -> bool:
        return name in self._orphans

    def names(self) -> set[str]:
        """Of those that nobody has taken."""
        return set(self._orphans)

    def take(self, name: str) -> Orphan | None:
        """Somebody goes on with this one."""
        return self._orphans.pop(name, None)

    def end(self, names: Iterable[str]) -> None:
        """SIGKILL these, and wait until the kernel says that they are gone. Their rings survive.

        Raises StartError naming a process that cannot be ended.
        """
        ended = [orphan for name in list(names) if (orphan := self._orphans.pop(name, None)) is not None]
        try:
            for orphan in ended:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(orphan.pidfd, signal.SIGKILL)
            for orphan in ended:
                if not becomes_readable(orphan.pidfd, EXIT_TIMEOUT_S):
                    raise StartError(f"process {orphan.pid}, left by an earlier supervisor, cannot be ended")
        finally:
            for orphan in ended:
                os.close(orphan.pidfd)
        if ended:
            log.info("ended %d workers that an earlier supervisor left", len(ended))

    def close(self) -> None:
        """Let go of those that nobody has taken, and of nothing else."""
        for orphan in self._orphans.values():
            os.close(orphan.pidfd)
        self._orphans.clear()

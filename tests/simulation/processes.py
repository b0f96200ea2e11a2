"""Owners and followers as processes of the simulated kernel: the real agents, one turn at a time."""

from __future__ import annotations

import socket
from collections.abc import Callable

from shmlog.control.channel import Channel
from shmlog.control.messages import FollowerFailed, FollowerSpec, OwnerFailed, OwnerSpec
from shmlog.errors import ShmlogError
from shmlog.partition.follower import FollowerAgent
from shmlog.partition.owner import OwnerAgent
from shmlog.partition.supervisor_link import report_failure
from shmlog.supervisor.loop import Loop
from tests.simulation.kernel import FIRST_PIDFD, Kernel, KilledError

SEGMENT_BYTES = 3000
TURNS = 3
"""A process that is scheduled works so often, or until there is nothing to do."""


class Process:
    """A forked worker. It opens its log in its first turn; `stopped_ns`: since when it has been stopped."""

    def __init__(self, kernel: Kernel, spec: OwnerSpec | FollowerSpec, end: socket.socket) -> None:
        self.kernel = kernel
        self.pid = kernel.next_pid()
        self.spec = spec
        self.agent: OwnerAgent | FollowerAgent | None = None
        self.stopped_ns: int | None = None
        self.lives = True
        self._channel = Channel(end)

    @property
    def is_owner(self) -> bool:
        return isinstance(self.spec, OwnerSpec)

    @property
    def title(self) -> str:
        if isinstance(self.spec, OwnerSpec):
            return f"owner over replica {self.spec.replica_id} in epoch {self.spec.leader_epoch}"
        return f"follower {self.spec.replica_id}"

    def turn(self) -> str:
        """Work for a moment; how that ended, "" if it goes on."""
        try:
            return self._work()
        except KilledError:
            self.kill()
            return "is killed at a call to its storage"
        except (ShmlogError, OSError) as error:
            return self._fail(error)
        finally:
            self.kernel.calls_left = None

    def _work(self) -> str:
        if self.agent is None:
            if isinstance(self.spec, OwnerSpec):
                self.agent = OwnerAgent(self.spec, self._channel)
            else:
                self.agent = FollowerAgent(self.spec, self._channel)
            return ""
        agent = self.agent
        if isinstance(agent, OwnerAgent):
            agent._publisher.segment_bytes = SEGMENT_BYTES
        for _ in range(TURNS):
            if agent._finished():
                agent.serve()  # to its end
                self._channel.close()
                self.lives = False
                return "ends"
            if not agent.work(self.kernel.now_ns):
                break
        return ""

    def _fail(self, error: ShmlogError | OSError) -> str:
        if self.agent is not None and isinstance(self.agent, OwnerAgent):
            self.agent.go_offline(error)
        elif self.agent is not None:
            self.agent.go_offline()
        report_failure(self._channel, OwnerFailed if self.is_owner else FollowerFailed, error)
        self.kill()
        return f"fails: {type(error).__name__}"

    def kill(self) -> None:
        """Close its files and nothing else, as the kernel does."""
        if not self.lives:
            return
        self.lives = False
        agent, calls_left, refused = self.agent, self.kernel.calls_left, self.kernel.refused
        self.kernel.calls_left, self.kernel.refused = None, ""
        if isinstance(agent, OwnerAgent):
            agent._keeper._log.close(clean=False)
        elif agent is not None:
            agent.following.copy.close(clean=False)
        self.kernel.calls_left, self.kernel.refused = calls_left, refused
        self._channel.close()


class Zygote:
    """Forks what is ordered, in the order in which it was."""

    def __init__(self, kernel: Kernel, loop: Loop, born: Callable[[Process], None]) -> None:
        self._kernel = kernel
        self._loop = loop
        self._born = born

    def knows(self, pids: object) -> None:
        """It does not die."""

    def spawn(
        self,
        spec: OwnerSpec | FollowerSpec,
        end: socket.socket,
        on_spawned: Callable[[int, int], None],
        on_refused: Callable[[str | None], None],
    ) -> None:
        process = Process(self._kernel, spec, end)
        self._born(process)
        self._loop.call_in(0.0, lambda: on_spawned(process.pid, FIRST_PIDFD + process.pid))

"""The supervisor's end of the zygote: spawn orders go out, processes with their pidfds come in."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import (
    Exited,
    FollowerSpec,
    OwnerSpec,
    Ping,
    Pong,
    Spawned,
    SpawnFailed,
    SpawnFollower,
    SpawnOwner,
)
from shmlog.limits import RESTART_BACKOFF_MAX_MS, RESTART_BACKOFF_SECOND_MS, ZYGOTE_EXIT_S, ZYGOTE_IMPORT_S
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.process import becomes_readable, children
from shmlog.supervisor.zygote_process import ZygoteProcess, start_zygote

log = logging.getLogger(__name__)

SPAWNS_AT_ONCE = 16
"""Orders that the zygote has not answered yet: bounds descriptors in flight, of which the kernel allows a user few."""

Key = tuple[int, int | None]  # partition id, and replica id of a follower
WorkerSpawned = Callable[[int, int], None]  # pid, pidfd
SpawnRefused = Callable[[str | None], None]  # reason (None: the zygote died over it)


@dataclass(frozen=True, slots=True)
class Order:
    """A process that is to be forked, and who hears of it: exactly one call, of one of the two."""

    spec: OwnerSpec | FollowerSpec
    end: socket.socket
    on_spawned: WorkerSpawned
    on_refused: SpawnRefused

    @property
    def key(self) -> Key:
        return self.spec.partition_id, self.spec.replica_id if isinstance(self.spec, FollowerSpec) else None

    @property
    def message(self) -> SpawnOwner | SpawnFollower:
        return SpawnFollower(self.spec) if isinstance(self.spec, FollowerSpec) else SpawnOwner(self.spec)


class ZygoteLink:
    """Talks to the zygote, and starts another when it dies; owners that it forked live on as our children.

    The first one is running before there is anybody to give it orders.
    """

    def __init__(self, loop: Loop, owner_module: str, first: ZygoteProcess) -> None:
        self._loop = loop
        self._owner_module = owner_module
        self._known_pids: list[Callable[[], Set[int]]] = []
        self._waiting: deque[Order] = deque()
        self._ordered: dict[Key, Order] = {}
        self._channel: Channel | None = None
        self._watch: Watch | None = None
        self._failures = 0
        self._asked_ns: int | None = None  # since when a Ping waits for its Pong
        self._has_answered = False
        self.pid = 0
        self._use(first)

    def _use(self, process: ZygoteProcess) -> None:
        self.pid = process.pid
        self._asked_ns, self._has_answered = None, False
        self._channel = Channel(process.endpoint, passes_fds=True)
        self._watch = self._loop.watch(self._channel.fileno(), self._on_readable)
        self._send_orders()

    def knows(self, pids: Callable[[], Set[int]]) -> None:
        """`pids` says which workers its owner has a pidfd of; others that a dead zygote leaves are ended."""
        self._known_pids.append(pids)

    def spawn(
        self,
        spec: OwnerSpec | FollowerSpec,
        end: socket.socket,
        on_spawned: WorkerSpawned,
        on_refused: SpawnRefused,
    ) -> None:
        """Order a worker that talks to us over `end`, which is ours to close.

        One of the two is called, once; `on_spawned` takes over the pidfd.
        """
        self._waiting.append(Order(spec, end, on_spawned, on_refused))
        self._send_orders()

    def look(self, patience_ns: int) -> None:
        """Ask it whether it lives; kill it if it has owed the answer for `patience_ns`. Call it again and again.

        Its end is seen like any other death, and another one is started. Until it has said something for the first
        time it is importing, and has ZYGOTE_IMPORT_S at least.
        """
        if self._channel is None:
            return
        now_ns = self._loop.now_ns()
        if self._asked_ns is None:
            self._asked_ns = now_ns
            with contextlib.suppress(ChannelClosedError):  # _on_readable sees it, too
                self._channel.send(Ping())
            return
        allowed_ns = patience_ns if self._has_answered else max(patience_ns, int(ZYGOTE_IMPORT_S * 1e9))
        if now_ns - self._asked_ns >= allowed_ns:
            log.warning("the zygote (process %d) does not react: killing it", self.pid)
            os.kill(self.pid, signal.SIGKILL)  # our child, and not waited for yet: so the number is its own
            self._asked_ns = now_ns

    def close(self) -> None:
        """End the zygote; its owners are not touched. Waits for it: it has nothing to do but exit, and is killed if it
        does not."""
        if self._channel is None:
            return
        self._drop_channel()
        with contextlib.suppress(ChildProcessError):
            pidfd = os.pidfd_open(self.pid)
            try:
                if not becomes_readable(pidfd, ZYGOTE_EXIT_S):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    becomes_readable(pidfd, ZYGOTE_EXIT_S)
            finally:
                os.close(pidfd)
            os.waitpid(self.pid, os.WNOHANG)  # one that hangs in the kernel even now is left to init

    def _send_orders(self) -> None:
        if self._channel is None or self._watch is None:
            return
        with contextlib.suppress(ChannelClosedError):  # _on_readable sees it, too
            while self._waiting and len(self._ordered) < SPAWNS_AT_ONCE:
                order = self._waiting.popleft()
                self._ordered[order.key] = order
                try:
                    self._channel.send(order.message, [order.end.fileno()])
                    if self._channel.has_unsent:
                        self._channel.flush(1.0)  # the order's descriptor must be gone before it is closed
                finally:
                    order.end.close()

    def _on_readable(self) -> None:
        assert self._channel is not None
        try:
            while (received := self._channel.receive_with_fds()) is not None:
                message, fds = received
                self._has_answered = True
                match message:
                    case Spawned(partition_id=partition_id, replica_id=replica_id, pid=pid):
                        self._failures = 0
                        self._ordered.pop((partition_id, replica_id)).on_spawned(pid, fds[0])
                    case SpawnFailed(partition_id=partition_id, replica_id=replica_id, message=reason):
                        self._ordered.pop((partition_id, replica_id)).on_refused(reason)
                    case Pong():
                        self._asked_ns = None
                    case Exited(pid=pid, status=status):
                        log.debug("worker process %d ended with %d", pid, status)
                    case _:
                        raise AssertionError(f"the zygote does not send {type(message).__name__}")
            self._send_orders()
        except ChannelClosedError:
            self._on_death()

    def _on_death(self) -> None:
        """Workers that it forked without telling us are ended: nobody has their pidfd."""
        log.warning("the zygote (process %d) died; starting another", self.pid)
        self._drop_channel()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.pid = 0
        for pid in set(children()).difference(*(pids() for pids in self._known_pids)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        lost, self._ordered = self._ordered, {}
        self._start_another_later()
        for order in lost.values():
            order.on_refused(None)

    def _start_another_later(self) -> None:
        """At once after the first failure, then after longer and longer pauses, until one forks an owner."""
        pause_ms = min(RESTART_BACKOFF_SECOND_MS << min(self._failures, 10), RESTART_BACKOFF_MAX_MS)
        self._loop.call_in(pause_ms / 1000.0 if self._failures else 0.0, self._start_another)
        self._failures += 1

    def _start_another(self) -> None:
        try:
            process = start_zygote(self._owner_module)
        except OSError as error:  # no process, descriptor or memory to be had: owners that run need no zygote
            log.error("no zygote can be started: %s; partitions without an owner wait, trying again", error)
            self._start_another_later()
            return
        self._use(process)

    def _drop_channel(self) -> None:
        assert self._channel is not None
        assert self._watch is not None
        self._loop.forget(self._watch)
        self._channel.close()
        self._channel = self._watch = None

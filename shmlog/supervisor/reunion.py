"""Workers that outlived their supervisor come back to this one: they are rung, connect to a socket in the runtime
directory, and say who they are. Then they go on as they are: no restart, no new epoch, no pause for anybody.

Who does not come back in time is killed, and has a successor as after any other death; so has one of another version,
or one that was started for something else than what is wanted now.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Set
from functools import partial

from shmlog.control.channel import Channel
from shmlog.control.messages import FollowerReturns, FollowerSpec, Message, OwnerReturns, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.control.peer import peer_credentials
from shmlog.errors import ForeignVersionError, InvalidRequestError, ShmlogError
from shmlog.limits import RETURN_RING_S, RETURN_S
from shmlog.machines.metadata import Partition
from shmlog.supervisor.directories import LogDirectories
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.orphans import Orphans
from shmlog.supervisor.worker import Worker
from shmlog.version import VERSION

log = logging.getLogger(__name__)

BACKLOG = 4096  # all of them may come at once; one that finds no room tries again

_SAME = ("cluster_id", "cid8", "runtime_dir", "topic_id", "partition_id", "log_dir", "shm_mode", "shm_group")
"""What cannot change while a worker runs; the rest it is told when it is back."""


def wanted(partitions: Iterable[Partition], directories: LogDirectories, in_memory: Set[int]) -> set[str]:
    """Names of the life files of all workers that could go on as they are. `in_memory`: ids of the partitions that
    something is in shared memory of; the others' workers belong to another data directory."""
    found: set[str] = set()
    for one in partitions:
        if one.topic.is_hidden or one.partition_id not in in_memory or directories.missing(one):
            continue
        found.add(str(one.partition_id))
        followers = [replica_id for replica_id in one.replicas if replica_id != one.leader]
        found.update(f"{one.partition_id}.r{each}" for each in followers if not directories.missing(one, each))
    return found


class Reunion:
    """Who is expected, and the socket for them, which is there from begin() until nobody is expected any more."""

    def __init__(self, loop: Loop, runtime: RuntimePaths) -> None:
        self.orphans = Orphans(runtime)
        self._loop = loop
        self._path = runtime.workers_socket
        self._expected: dict[int, tuple[Worker, OwnerSpec | FollowerSpec]] = {}  # by pid
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        self._strangers: dict[Channel, Watch] = {}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # we hold the lock of this directory, so whoever made it is gone

    def expect(
        self,
        name: str,
        worker: Worker,
        spec: OwnerSpec | FollowerSpec,
        *,
        hear: Callable[[Message], None],
        on_exit: Callable[[], None],
    ) -> None:
        """`worker` is the orphan of that life file, if it is what `spec` says; its first message says that it is back.

        `hear` and `on_exit` as in Worker.order().
        """
        orphan = self.orphans.take(name)
        assert orphan is not None, "only those are expected that are there"
        worker.expect(orphan.pid, orphan.pidfd, hear=hear, on_exit=on_exit)
        self._expected[worker.pid] = worker, spec

    def begin(self) -> None:
        """End those whom nobody expects, and ring the others."""
        self.orphans.end(self.orphans.names())
        if not self._expected:
            return
        try:
            self._listen()
        except OSError as error:
            log.error("workers cannot come back: %s: %s; they are replaced", self._path, error.strerror)
            self._give_up()
            return
        self._ring()
        self._loop.call_in(RETURN_S, self._give_up)

    def close(self) -> None:
        """Stop listening. Who was expected is none of this object's."""
        self.orphans.close()
        for channel in list(self._strangers):
            self._hang_up(channel)
        if self._socket is not None and self._watch is not None:
            self._loop.forget(self._watch)
            self._socket.close()
            self._socket = None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def _listen(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(self._path)
            os.chmod(self._path, 0o600)
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            self._socket = None
            raise
        self._watch = self._loop.watch(self._socket.fileno(), self._accept)

    def _still_expected(self) -> list[Worker]:
        found = {pid: one for pid, one in self._expected.items() if one[0].is_expected}
        self._expected = found
        return [worker for worker, _ in found.values()]

    def _ring(self) -> None:
        """Again and again: one that was just about to sleep has not heard the first."""
        waited_for = self._still_expected()
        for worker in waited_for:
            worker.ring()
        if waited_for:
            self._loop.call_in(RETURN_RING_S, self._ring)
        else:
            self.close()

    def _give_up(self) -> None:
        for worker in self._still_expected():
            log.warning("%s (process %d) does not come back: killing it", worker.title, worker.pid)
            worker.kill()

    def _accept(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connected, _ = self._socket.accept()
            channel = Channel(connected)
            self._strangers[channel] = self._loop.watch(channel.fileno(), partial(self._hear, channel))

    def _hear(self, channel: Channel) -> None:
        """Its first words."""
        pid = peer_credentials(channel.endpoint).pid
        worker, spec = self._expected.get(pid, (None, None))
        if worker is None or spec is None or not worker.is_expected:
            log.warning("process %d came back, and nobody expects it", pid)
            self._hang_up(channel)
            return
        try:
            message = channel.receive()
            if message is None:
                return
            require_same(spec, message)
        except ShmlogError as error:
            log.warning("%s (process %d) cannot go on under this supervisor: %s", worker.title, pid, error)
            self._hang_up(channel)
            worker.kill()
            return
        self._loop.forget(self._strangers.pop(channel))
        worker.come_back(channel, message)

    def _hang_up(self, channel: Channel) -> None:
        self._loop.forget(self._strangers.pop(channel))
        channel.close()


def require_same(spec: OwnerSpec | FollowerSpec, message: Message) -> None:
    """Raise ForeignVersionError or InvalidRequestError if a worker that says this is not the one of `spec`."""
    if not isinstance(message, OwnerReturns | FollowerReturns):
        raise InvalidRequestError(f"{type(message).__name__} is no way to come back")
    if message.version != VERSION:
        raise ForeignVersionError(f"it is shmlog {message.version}, this is {VERSION}")
    theirs = message.spec
    if type(theirs) is not type(spec):
        raise InvalidRequestError(f"it was started with a {type(theirs).__name__}")
    different = [name for name in _SAME if getattr(theirs, name) != getattr(spec, name)]
    if isinstance(theirs, OwnerSpec) and isinstance(spec, OwnerSpec):
        different += ["leader_epoch"] * (theirs.leader_epoch != spec.leader_epoch)
    if isinstance(theirs, FollowerSpec) and isinstance(spec, FollowerSpec):
        different += ["leader_log_dir"] * (theirs.leader_log_dir != spec.leader_log_dir)
    if different:
        raise InvalidRequestError(f"it was started with another {different[0]}")

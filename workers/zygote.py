"""The zygote: one thread, everything an owner needs imported, and a fork for every owner or follower that the
supervisor orders.

Started as `python -P -m shmlog.workers.zygote FD OWNER_MODULE` before the supervisor takes any lock. It ends when its
supervisor does; owners notice that themselves and close.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial

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
from shmlog.control.peer import start_time
from shmlog.errors import ShmlogError
from shmlog.limits import CONTROL_TIMEOUT_S
from shmlog.native import inherited
from shmlog.native.mapping import outlive_cut_regions
from shmlog.partition.coordinating import import_coordinator
from shmlog.supervisor.zygote_process import OWNER_MODULE

from . import follower
from .rehearsal import rehearse

EXIT_CRASHED = 70
OWNERS_UNPREPARED = 8
"""A small cluster starts at once, and its owners take twice the memory; from here on, preparing pays."""
POOLED_STEP_BYTES = 16
POOLED_BYTES_MAX = 512
FILLING_BYTES = 64 * 1024
FILLING: list[object] = []
OwnerMain = Callable[[OwnerSpec, int], int]
Rehearsal = Callable[[OwnerSpec], None]


class Zygote:
    """Forks and reaps. Each child's pidfd is opened before it can be reaped, and a copy goes to the supervisor."""

    def __init__(self, channel: Channel, owner_main: OwnerMain, rehearse: Rehearsal | None = None) -> None:
        self._channel = channel
        self._owner_main = owner_main
        self._rehearse: Rehearsal | None = rehearse
        self._children: dict[int, int] = {}  # pidfd -> pid
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)

    def run(self) -> None:
        """Until the supervisor closes the channel, or dies, also in the middle of what we tell it."""
        with contextlib.suppress(ChannelClosedError):
            while True:
                for fd, _ in self._poll.poll():
                    if fd in self._children:
                        self._reap(fd)
                    else:
                        self._take_orders()

    def _take_orders(self) -> None:
        while (received := self._channel.receive_with_fds()) is not None:
            order, fds = received
            if isinstance(order, Ping):
                self._channel.send(Pong())
                continue
            if isinstance(order, SpawnFollower):
                self._spawn_follower(order.spec, fds[0])
                continue
            assert isinstance(order, SpawnOwner), order
            self._spawn_owner(order.spec, fds[0])
        self._channel.flush(CONTROL_TIMEOUT_S)

    def _spawn_owner(self, spec: OwnerSpec, channel_fd: int) -> None:
        if spec.groups is not None:
            import_coordinator()
        if self._rehearse is not None and len(self._children) >= OWNERS_UNPREPARED:
            rehearse, self._rehearse = self._rehearse, None
            _prepare(partial(rehearse, spec))
        work = partial(self._owner_main, spec, channel_fd)
        self._spawn(spec.partition_id, None, channel_fd, work)

    def _spawn_follower(self, spec: FollowerSpec, channel_fd: int) -> None:
        self._spawn(spec.partition_id, spec.replica_id, channel_fd, partial(follower.main, spec, channel_fd))

    def _spawn(self, partition_id: int, replica_id: int | None, channel_fd: int, work: Callable[[], int]) -> None:
        with contextlib.suppress(OSError):  # /proc is closed: it is only memory
            inherited.give_back()  # what this process only looked at since, the child would have copies of
        try:
            pid = os.fork()
        except OSError as error:
            os.close(channel_fd)
            self._channel.send(SpawnFailed(partition_id, replica_id, f"fork: {error.strerror}"))
            return
        if pid == 0:
            self._become(_process_name(partition_id, replica_id), channel_fd, work)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        self._channel.send(Spawned(partition_id, replica_id, pid, start_time(pid)), [pidfd])
        self._channel.flush(CONTROL_TIMEOUT_S)
        os.close(channel_fd)

    def _become(self, name: str, channel_fd: int, work: Callable[[], int]) -> None:
        """In the child; never returns."""
        status = EXIT_CRASHED
        try:
            os.setsid()
            self._channel.endpoint.detach()  # so that no destructor closes its number when that is another's
            os.closerange(3, channel_fd)
            os.closerange(channel_fd + 1, os.sysconf("SC_OPEN_MAX"))
            with open("/proc/self/comm", "w", encoding="utf-8") as comm:
                comm.write(name)
            status = work()
        except BaseException:  # noqa: BLE001  whatever it was, this copy of the zygote must not go on
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        pid = self._children.pop(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._channel.send(Exited(pid, os.waitstatus_to_exitcode(status)))


def _prepare(rehearse: Callable[[], None]) -> None:
    """Once: what is in memory now, owners that are forked from now on share. Without it they take more memory."""
    try:
        rehearse()
        gc.collect()
        FILLING.extend(_fill_holes())
        gc.freeze()
        inherited.keep()
    except (OSError, ShmlogError) as error:
        print(f"the zygote cannot prepare for many owners, each takes more memory: {error}", file=sys.stderr)


def _fill_holes() -> Iterator[object]:
    """Objects of every size that CPython keeps in pools of its own, until new ones have pools to themselves.

    Else what comes and goes in the zygote and in owners lies between what stays, and all of that is copied.
    """
    for size_bytes in range(POOLED_STEP_BYTES, POOLED_BYTES_MAX + 1, POOLED_STEP_BYTES):
        payload_bytes = size_bytes - sys.getsizeof(b"")
        for _ in range(FILLING_BYTES // size_bytes):
            if payload_bytes > 1:
                yield bytes(payload_bytes)
            else:
                yield float(size_bytes) if size_bytes > POOLED_STEP_BYTES else object()


def _process_name(partition_id: int, replica_id: int | None) -> str:
    """What `ps` and `top` show."""
    return f"shmlog-p{partition_id}" + (f".r{replica_id}" if replica_id is not None else "")


def main(arguments: list[str]) -> int:
    """Arguments: number of the inherited channel descriptor, name of the module with the owner's main()."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides when workers end
    with contextlib.suppress(PermissionError):  # only a hint: woken owners let who runs go on, and find more to do
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    outlive_cut_regions()  # its children, the owners, inherit it
    channel = Channel(socket.socket(fileno=int(arguments[0])), passes_fds=True)
    os.set_inheritable(channel.fileno(), False)
    owner_main: OwnerMain = importlib.import_module(arguments[1]).main
    gc.collect()
    gc.freeze()
    Zygote(channel, owner_main, rehearse if arguments[1] == OWNER_MODULE else None).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

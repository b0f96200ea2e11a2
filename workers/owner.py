"""The owner of a partition, as the zygote's child runs it: hold the life lock, own the partition, exit."""

from __future__ import annotations

import contextlib
import socket

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.messages import OwnerFailed, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.errors import StartError
from shmlog.partition.owner import run


def main(spec: OwnerSpec, channel_fd: int) -> int:
    """Own the partition until the supervisor closes it; returns the exit status.

    The life lock tells a later supervisor that this process still lives, and keeps two owners from ever running. A
    zygote that was stopped may obey a supervisor that is dead by now, after its successor has looked for such owners:
    so whoever gets the lock looks whether he is still wanted.
    """
    channel = Channel(socket.socket(fileno=channel_fd))
    try:
        life = LifeLock.acquire(RuntimePaths(spec.runtime_dir).owner(spec.partition_id))
    except LockHeldError as held:
        with contextlib.suppress(ChannelClosedError):
            channel.send(OwnerFailed(StartError.__name__, _occupied(spec, held.pid)))
            channel.flush(1.0)
        channel.close()
        return 1
    status = 0 if channel.is_hung_up else run(spec, channel)
    channel.close()
    life.release(remove=False)
    return status


def _occupied(spec: OwnerSpec, pid: int) -> str:
    return (
        f"process {pid} still owns {spec.topic}-{spec.partition}, by order of an earlier supervisor: it ends by itself"
        f" unless somebody has stopped it; then `kill -9 {pid}`"
    )

"""A follower of a partition, as the zygote's child runs it: hold the life lock, follow the leader, exit."""

from __future__ import annotations

import contextlib
import socket

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.messages import FollowerFailed, FollowerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.errors import StartError
from shmlog.partition.follower import run


def main(spec: FollowerSpec, channel_fd: int) -> int:
    """Follow the partition's leader until the supervisor closes it; returns the exit status.

    The life lock tells a later supervisor that this process still lives, and keeps two from ever writing one log. As an
    owner, it looks whether it is still wanted before it begins.
    """
    channel = Channel(socket.socket(fileno=channel_fd))
    try:
        life = LifeLock.acquire(RuntimePaths(spec.runtime_dir).follower(spec.partition_id, spec.replica_id))
    except LockHeldError as held:
        with contextlib.suppress(ChannelClosedError):
            channel.send(FollowerFailed(StartError.__name__, _occupied(spec, held.pid)))
            channel.flush(1.0)
        channel.close()
        return 1
    status = 0 if channel.is_hung_up else run(spec, channel)
    channel.close()
    life.release(remove=False)
    return status


def _occupied(spec: FollowerSpec, pid: int) -> str:
    return (
        f"process {pid} still writes replica {spec.replica_id} of {spec.topic}-{spec.partition}, by order of an earlier"
        f" supervisor: it ends by itself unless somebody has stopped it; then `kill -9 {pid}`"
    )

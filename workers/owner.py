"""The owner of a partition, as the zygote's child runs it: hold the life lock, own the partition, exit."""

from __future__ import annotations

import socket

from shmlog.control.channel import Channel
from shmlog.control.life import LifeLock
from shmlog.control.messages import OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.partition.owner import run


def main(spec: OwnerSpec, channel_fd: int) -> int:
    """Own the partition until the supervisor closes it; returns the exit status.

    The life lock tells a later supervisor that this process still lives, and keeps two owners from ever running.
    """
    channel = Channel(socket.socket(fileno=channel_fd))
    life = LifeLock.acquire(RuntimePaths(spec.runtime_dir).owner(spec.partition_id))
    status = run(spec, channel)
    channel.close()
    life.release(remove=False)
    return status

"""What owner and follower do around their work: they are the only one of their kind, and still wanted."""

from __future__ import annotations

import socket
from collections.abc import Callable

from shmlog.control.channel import Channel
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.messages import FollowerFailed, OwnerFailed
from shmlog.errors import StartError
from shmlog.partition.supervisor_link import report_failure


def work_alone(
    life_file: str,
    channel_fd: int,
    work: Callable[[Channel], int],
    *,
    failed: type[OwnerFailed | FollowerFailed],
    deed: str,
) -> int:
    """Hold the life lock while `work` runs; returns its exit status, or 1 if another process has the lock.

    `deed` is what whoever has it does here, as in "owns flights-3". A zygote that was stopped may obey a supervisor
    that is dead by now, after its successor has looked for such workers: so whoever gets the lock looks whether he is
    still wanted.
    """
    channel = Channel(socket.socket(fileno=channel_fd))
    try:
        life = LifeLock.acquire(life_file)
    except LockHeldError as held:
        reason = (
            f"process {held.pid} still {deed}, by order of an earlier supervisor: it ends by itself unless somebody"
            f" has stopped it; then `kill -9 {held.pid}`"
        )
        report_failure(channel, failed, StartError(reason))
        channel.close()
        return 1
    status = 0 if channel.is_hung_up else work(channel)
    channel.close()
    life.release(remove=False)
    return status

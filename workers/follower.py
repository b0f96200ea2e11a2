"""A follower of a partition, as the zygote's child runs it: hold the life lock, follow the leader, exit."""

from __future__ import annotations

from functools import partial

from shmlog.control.messages import FollowerFailed, FollowerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.partition.follower import run

from .lone_worker import work_alone


def main(spec: FollowerSpec, channel_fd: int) -> int:
    """Follow the partition's leader until the supervisor closes it; returns the exit status.

    The life lock tells a later supervisor that this process still lives, and keeps two from ever writing one log.
    """
    return work_alone(
        RuntimePaths(spec.runtime_dir).follower(spec.partition_id, spec.replica_id),
        channel_fd,
        partial(run, spec),
        failed=FollowerFailed,
        deed=f"writes replica {spec.replica_id} of {spec.topic}-{spec.partition}",
    )

"""The owner of a partition, as the zygote's child runs it: hold the life lock, own the partition, exit."""

from __future__ import annotations

from functools import partial

from shmlog.control.messages import OwnerFailed, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.partition.owner import run

from .lone_worker import work_alone


def main(spec: OwnerSpec, channel_fd: int) -> int:
    """Own the partition until the supervisor closes it; returns the exit status.

    The life lock tells a later supervisor that this process still lives, and keeps two owners from ever running.
    """
    return work_alone(
        RuntimePaths(spec.runtime_dir).owner(spec.partition_id),
        channel_fd,
        partial(run, spec),
        failed=OwnerFailed,
        deed=f"owns {spec.topic}-{spec.partition}",
    )

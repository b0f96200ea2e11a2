"""What the kernel will let this cluster have: processes and descriptors. Asked before something is promised."""

from __future__ import annotations

import os
import resource

from shmlog.errors import BrokerNotAvailableError, InvalidPartitionsError
from shmlog.supervisor.cgroup import free_tasks

DESCRIPTORS_PER_OWNER = 2  # its channel and its pidfd
DESCRIPTORS_SPARE = 64  # for owners that are replaced, files, and what is just being opened
PROCESSES_SPARE = 8


def check_partitions(count: int) -> None:
    """Raise InvalidPartitionsError, with the figures and the remedy, if `count` more owners cannot be supervised."""
    opened = len(os.listdir("/proc/self/fd"))
    limit = _descriptors_max()
    needed = opened + DESCRIPTORS_PER_OWNER * count + DESCRIPTORS_SPARE
    if needed > limit:
        raise InvalidPartitionsError(
            f"{count} more partition(s) need {needed} open files in the supervisor, which may have {limit}:"
            " raise LimitNOFILE (systemd) or `ulimit -Hn`, or use fewer partitions"
        )
    left = free_tasks()
    if left is not None and count + PROCESSES_SPARE > left:
        raise InvalidPartitionsError(
            f"{count} more partition(s) need as many processes and {PROCESSES_SPARE} to spare; the control group's"
            f" pids.max leaves {left}: raise TasksMax (systemd) or --pids-limit (docker), or use fewer partitions"
        )


def check_client(descriptor: int) -> None:
    """Raise BrokerNotAvailableError if a client's connection leaves no descriptors for replacing owners.

    The kernel gives the lowest free number, so `descriptor`, that of the connection, tells how many are in use.
    """
    limit = _descriptors_max()
    if descriptor + DESCRIPTORS_SPARE > limit:
        raise BrokerNotAvailableError(
            f"the supervisor has about {descriptor} open files of {limit}, and keeps {DESCRIPTORS_SPARE} for itself:"
            " close clients, or raise LimitNOFILE (systemd) or `ulimit -Hn` and start it again"
        )


def _descriptors_max() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

"""What the kernel will let this cluster have: processes, descriptors, memory. Asked before something is promised."""

from __future__ import annotations

import os
import resource

from shmlog.errors import InvalidPartitionsError

DESCRIPTORS_PER_OWNER = 2  # its channel and its pidfd
DESCRIPTORS_SPARE = 64  # for clients, files, and what is just being opened
PROCESSES_SPARE = 8
CGROUP_ROOT = "/sys/fs/cgroup"


def check_partitions(count: int) -> None:
    """Raise InvalidPartitionsError, with the figures and the remedy, if `count` more owners cannot be supervised."""
    opened = len(os.listdir("/proc/self/fd"))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = opened + DESCRIPTORS_PER_OWNER * count + DESCRIPTORS_SPARE
    if needed > limit:
        raise InvalidPartitionsError(
            f"{count} more partition(s) need {needed} open files in the supervisor, which may have {limit}:"
            " raise LimitNOFILE (systemd) or `ulimit -Hn`, or use fewer partitions"
        )
    processes_max, processes = cgroup_number("pids.max"), cgroup_number("pids.current")
    if processes_max is not None and processes is not None and processes + count + PROCESSES_SPARE > processes_max:
        raise InvalidPartitionsError(
            f"{count} more partition(s) need as many processes; {processes} of {processes_max} are there:"
            " raise TasksMax (systemd) or --pids-limit (docker), or use fewer partitions"
        )


def free_memory_bytes() -> int | None:
    """What the memory cgroup leaves for shared memory; None if nothing limits it."""
    limit, used = cgroup_number("memory.max"), cgroup_number("memory.current")
    return None if limit is None or used is None else max(0, limit - used)


def cgroup_number(name: str) -> int | None:
    """The value of a file such as pids.max in our cgroup (v2); None if it says "max" or is not there."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            path = next(line.strip()[3:] for line in file if line.startswith("0::"))
        with open(os.path.join(CGROUP_ROOT, path.lstrip("/"), name), encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, StopIteration):
        return None
    return int(text) if text.isdigit() else None

"""What the control groups (version 2, or 1) leave this process; the tightest of all its ancestors counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_MIN = 1 << 60
"""cgroup v1 writes a huge number where there is no limit."""


def memory_limit() -> int | None:
    """Bytes; None without a limit."""
    return min((limit for _, limit in _limits("memory", "memory.max", "memory.limit_in_bytes")), default=None)


def task_limit() -> int | None:
    """Processes and threads; None without a limit."""
    return min((limit for _, limit in _limits("pids", "pids.max", "pids.max")), default=None)


def free_memory_bytes() -> int | None:
    """How much more memory, shared memory included, this process and its kin may take; None without a limit.

    What the kernel would give back before it kills, the page cache of files, counts as free.
    """
    return _least_free("memory", "memory.max", "memory.limit_in_bytes", _taken_bytes)


def free_tasks() -> int | None:
    """How many more processes and threads there may be; None without a limit."""
    return _least_free("pids", "pids.max", "pids.max", lambda group: _number(group / "pids.current"))


def _least_free(controller: str, name_v2: str, name_v1: str, taken: Callable[[Path], int | None]) -> int | None:
    left = [
        limit - used for group, limit in _limits(controller, name_v2, name_v1) if (used := taken(group)) is not None
    ]
    return max(0, min(left)) if left else None


def _taken_bytes(group: Path) -> int | None:
    """Usage without the page cache of files. tmpfs pages are in the cache too, but stay; so shmem is not subtracted."""
    used = _number(group / "memory.current")
    prefix = ""
    if used is None:
        used, prefix = _number(group / "memory.usage_in_bytes"), "total_"
    if used is None:
        return None
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return used
    statistics = dict(line.split(" ", 1) for line in lines)
    cache = int(statistics.get(f"{prefix}cache" if prefix else "file", 0)) - int(statistics.get(f"{prefix}shmem", 0))
    return max(0, used - max(0, cache))


def _limits(controller: str, name_v2: str, name_v1: str) -> Iterator[tuple[Path, int]]:
    for group, name in _groups(controller, name_v2, name_v1):
        limit = _number(group / name)
        if limit is not None and limit < UNLIMITED_MIN:
            yield group, limit


def _number(file: Path) -> int | None:
    """What the file says; None if that is "max", or there is no such file."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _groups(controller: str, name_v2: str, name_v1: str) -> Iterator[tuple[Path, str]]:
    """Every control group that holds us, up to the root, with the name of its limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, name = ROOT, name_v2
        elif controller in controllers.split(","):
            base, name = ROOT / controller, name_v1
        else:
            continue
        own = base / path.lstrip("/")
        for group in (own, *own.parents):
            yield group, name
            if group == base:
                break

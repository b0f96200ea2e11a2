"""The limits that control groups (version 2, or 1) put on this process; the tightest of all its ancestors counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_MIN = 1 << 60
"""cgroup v1 writes a huge number where there is no limit."""


def memory_limit() -> int | None:
    """Bytes; None without a limit."""
    return _tightest("memory", "memory.max", "memory.limit_in_bytes")


def task_limit() -> int | None:
    """Processes and threads; None without a limit."""
    return _tightest("pids", "pids.max", "pids.max")


def _tightest(controller: str, name_v2: str, name_v1: str) -> int | None:
    limits = []
    for directory, name in _directories(controller, name_v2, name_v1):
        try:
            text = (directory / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < UNLIMITED_MIN:
            limits.append(int(text))
    return min(limits, default=None)


def _directories(controller: str, name_v2: str, name_v1: str) -> Iterator[tuple[Path, str]]:
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
        for directory in (own, *own.parents):
            yield directory, name
            if directory == base:
                break

"""What this process holds: to show that nothing is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FLAGS: Final = 6
"""Where the flags are in /proc/PID/stat, counted behind the name."""
_PF_EXITING: Final = 0x4
"""Of the kernel: set before anybody who joins the thread hears of its end."""


def descriptors() -> int:
    """How many files are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> set[int]:
    """The ids of all threads, also of those that Python does not know. One that was joined is in /proc a little longer:
    it does not count."""
    found = {int(task.name) for task in Path("/proc/self/task").iterdir()}
    return {thread for thread in found if not _is_exiting(thread)}


def _is_exiting(thread: int) -> bool:
    try:
        fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return True
    return bool(int(fields[_FLAGS]) & _PF_EXITING)

"""What this process holds: to show that nothing is left of it."""

from __future__ import annotations

import threading
from pathlib import Path


def descriptors() -> int:
    """How many files are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def native_threads() -> int:
    """How many threads Python does not know."""
    return len(list(Path("/proc/self/task").iterdir())) - threading.active_count()

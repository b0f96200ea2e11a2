"""Taking files out of the page cache, so that what is read next comes from the disk."""

from __future__ import annotations

import os
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
KEPT = "the kernel keeps names and inodes"


def evict(directory: Path) -> str:
    """Sync all files below `directory` and drop their pages, one by one; returns what that was, for the report."""
    for parent, _, names in os.walk(directory):
        for name in names:
            file = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fdatasync(file)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)
    return f"pages dropped with posix_fadvise, {KEPT}"


def drop_everything() -> str:
    """Drop the page cache, names and inodes of the whole machine. Raises OSError where that is not permitted."""
    os.sync()
    DROP_CACHES.write_text("3")
    return "everything dropped with drop_caches"

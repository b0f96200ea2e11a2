"""A disk that has no room for now: told apart from one that fails, and said in a sentence with figures."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from shmlog.errors import StorageError
from shmlog.log.storage import DISK_FULL
from shmlog.memory.control_page import DISK_REFUSED

RETRIABLE_DISK_ERRORS = DISK_FULL | {errno.EAGAIN}


def errno_of_full_disk(step: Callable[[], None]) -> int:
    """Do `step`; the errno of a disk that has no room for it now, else 0. Raises other OSErrors."""
    try:
        step()
    except OSError as error:
        if error.errno not in RETRIABLE_DISK_ERRORS:
            raise
        return error.errno
    return 0


def disk_refusal(code: int, log_dir: str, unwritten_bytes: int) -> str:
    """What to say of a write that ended with errno `code`; "" for 0. Raises StorageError if waiting does not help."""
    if not code:
        return ""
    if code not in RETRIABLE_DISK_ERRORS:
        raise StorageError(f"cannot write {log_dir}: {os.strerror(code)}")
    status = os.statvfs(log_dir)
    return (
        f"{DISK_REFUSED}{log_dir} refuses to take {unwritten_bytes} bytes ({os.strerror(code)};"
        f" {status.f_bavail * status.f_frsize} bytes are free): nothing is lost, writing goes on by itself once"
        " there is room: lower retention.ms or retention.bytes, or free space"
    )

"""Whether a log is still where everybody looks for it.

Who has a file open writes on when it was removed, moved away or replaced, and nobody ever finds what was written. No
call fails then, so it is looked for.
"""

from __future__ import annotations

import os

from shmlog.errors import StorageError
from shmlog.log.checkpoint import read_topic_id
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import Storage


def has_log(storage: Storage, directory: str) -> bool:
    """Whether a log was ever begun there: it has a segment from then on. Raises OSError and what read_topic_id does."""
    return read_topic_id(storage, directory) is not None and bool(list_base_offsets(storage, directory))


def require_active_file(log: PartitionLog) -> None:
    """Raise StorageError if the active segment's file is gone, or another one has its name.

    A disk that fails is not asked about here: that is said where it is written to.
    """
    path = segment_path(log.directory, log.active_base_offset, LOG_SUFFIX)
    try:
        is_same = os.path.samestat(os.stat(path), os.fstat(log.active.log_fd))
    except (FileNotFoundError, NotADirectoryError):
        what = "is gone: somebody has removed it, or moved it away"
    except OSError:
        return
    else:
        if is_same:
            return
        what = "is another file now: somebody has put one in its place"
    raise StorageError(f"{path} {what} while it was written to. What went into it since is found by nobody")

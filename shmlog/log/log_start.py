"""Where a log begins that does not begin with its first segment: `log-start-offset`.

0\\n<offset>\\n

Records were deleted up to there, in the middle of a segment perhaps. A log without the file, and one whose first
segment begins behind that offset, begins with its first segment.
"""

from __future__ import annotations

import os

from shmlog.errors import CorruptRecordError
from shmlog.log.storage import Storage, read_file, replace_file

LOG_START = "log-start-offset"
VERSION = 0
_DIGITS_MAX = 18
"""No offset has more; a longer number is damage."""


def read_log_start(storage: Storage, directory: str) -> int:
    """The offset in the file; 0 when there is none.

    Raises CorruptRecordError, naming the file, for anything else: without it what was deleted would come back.
    """
    path = os.path.join(directory, LOG_START)
    try:
        words = read_file(storage, path).split()
    except FileNotFoundError:
        return 0
    if len(words) != 2 or words[0] != b"%d" % VERSION or not words[1].isdigit() or len(words[1]) > _DIGITS_MAX:
        raise CorruptRecordError(
            f"{path} is damaged, and says up to which offset the records of this log were deleted: remove it to have"
            " those back that are still in segments, or write it again by hand:"
            f' "{VERSION}", and the offset on the next line'
        )
    return int(words[1])


def write_log_start(storage: Storage, directory: str, offset: int) -> None:
    """Durable when it returns; a crash leaves the old file or this one."""
    replace_file(storage, os.path.join(directory, LOG_START), f"{VERSION}\n{offset}\n".encode())


def lower_log_start(storage: Storage, directory: str, offset: int) -> None:
    """Before a log is begun anew at `offset`: what was deleted of the one before does not count any more. Durable."""
    if read_log_start(storage, directory) > offset:
        write_log_start(storage, directory, offset)

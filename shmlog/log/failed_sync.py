"""The note that a sync has failed, which outlives the process that saw it fail.

rewrite-needed   0\\n<recovery point> <acknowledged offset>\\n<what failed>\\n

A kernel that could not write a page marks it clean, reports the error once, and answers the next sync of the same file
with success, also to another process. So what a file holds beyond the recovery point is worth nothing any more as soon
as one sync of it has failed, until log/rewrite.py has put it into a new file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.log.storage import Storage, read_file, replace_file

REWRITE_NEEDED = "rewrite-needed"
VERSION = 0


@dataclass(frozen=True, slots=True)
class FailedSync:
    """What was known when a sync failed. `reason` is for people."""

    recovery_point: int
    """Everything before it is on the disk."""
    acknowledged_offset: int
    """Everything before it was acknowledged, as written if not as synced: it must not vanish in silence."""
    reason: str

    def sentence(self, end_offset: int) -> str:
        """What is at stake in a log that ends at `end_offset`."""
        return f"offsets {self.recovery_point} to {end_offset - 1} may not be on the disk, a sync failed: {self.reason}"


@dataclass(frozen=True, slots=True)
class InterruptedSync:
    """An owner died in a sync, and if that failed in the end, nobody was there to be told. A ctl region says so."""

    synced_offset: int
    """Everything before it is on the disk, by the syncs before."""
    synced_file_bytes: int
    """Where in the active segment's file that is; negative when it is in an older segment."""
    acknowledged_offset: int
    """As in FailedSync."""


def marker_path(directory: str) -> str:
    return os.path.join(directory, REWRITE_NEEDED)


def read_failed_sync(storage: Storage, directory: str) -> FailedSync | None:
    """The note, if there is one. One whose content did not survive counts as well, and promises nothing."""
    try:
        lines = read_file(storage, marker_path(directory)).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    numbers = lines[1].split() if len(lines) > 1 and lines[0] == str(VERSION) else []
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return FailedSync(0, 0, "the note about it is damaged")
    return FailedSync(int(numbers[0]), int(numbers[1]), " ".join(lines[2:]))


def note_failed_sync(storage: Storage, directory: str, failed: FailedSync) -> bool:
    """Leave the note, unless there is one; whether it is there now.

    It need not reach the disk to do its work: it is for those who would believe the page cache, and they see it there.
    After a power loss the recovery point says the same, because a failed sync has not moved it.
    """
    path = marker_path(directory)
    text = f"{VERSION}\n{failed.recovery_point} {failed.acknowledged_offset}\n{failed.reason}\n"
    with contextlib.suppress(OSError):
        if read_failed_sync(storage, directory) is None:
            replace_file(storage, path, text.encode())
        return True
    with contextlib.suppress(OSError):  # a name alone takes less than a file with content that can be synced
        storage.close(storage.open(path, os.O_WRONLY | os.O_CREAT))
        return True
    return False


def remove_failed_sync(storage: Storage, directory: str) -> None:
    """Durably: from now on the files are what they seem."""
    try:
        storage.unlink(marker_path(directory))
    except FileNotFoundError:
        return
    storage.fsync_dir(directory)


@contextlib.contextmanager
def noting_failure(storage: Storage, directory: str, recovery_point: int) -> Iterator[None]:
    """For syncs of a log that is just being opened: an OSError inside leaves the note before it goes on."""
    try:
        yield
    except OSError as error:
        note_failed_sync(storage, directory, FailedSync(recovery_point, recovery_point, str(error)))
        raise

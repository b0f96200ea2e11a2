"""Why an owner died, where it could not tell us: its supervisor was gone, too, or never read what it said."""

from __future__ import annotations

from shmlog.errors import ShmlogError, StartError, StorageError
from shmlog.memory import layout
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState


def last_words(tag: str, partition_id: int, pid: int) -> tuple[str, str]:
    """The error's class name and text: what the process has written into its control page, if it has."""
    unsaid = f"its owner (process {pid}) died without saying why; its last words are in the log, if it had any"
    try:
        page = ControlPage.open(tag, partition_id)
    except (OSError, ShmlogError):
        return StartError.__name__, unsaid
    try:
        if page.pid != pid or page.mapping.load(layout.CTL_STATE) != OwnerState.OFFLINE:
            return StartError.__name__, unsaid
        return StorageError.__name__, page.error_text
    finally:
        page.close()

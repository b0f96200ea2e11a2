"""The high watermark in the partition's directory, for a leader that finds no shared memory: what consumers had read is
shown again at once, and not only when the followers have said what they have. (Kafka: replication-offset-checkpoint.)
"""

from __future__ import annotations

from shmlog.log.checkpoint import write_high_watermark
from shmlog.log.storage import Storage
from shmlog.memory.control_page import ControlPage
from shmlog.partition.full_disk import errno_of_full_disk

NEVER_NS = (1 << 63) - 1
NOTE_NS = 5_000_000_000  # replica.high.watermark.checkpoint.interval.ms of Kafka


class WatermarkNote:
    """Kept by a leader with followers. It may be old: what it says was true, and stays so."""

    def __init__(self, storage: Storage, directory: str, control: ControlPage) -> None:
        self._storage = storage
        self._directory = directory
        self._control = control
        self._noted = -1
        self._due_ns = 0

    def keep(self, now_ns: int) -> None:
        """Note it, if it has moved and was not noted a moment ago. Raises OSError; a full disk is no error."""
        if now_ns >= self._due_ns and self._control.high_watermark != self._noted:
            self._due_ns = now_ns + NOTE_NS
            errno_of_full_disk(self.store)  # else the next time

    @property
    def next_deadline_ns(self) -> int:
        """When keep() has something to do."""
        return self._due_ns if self._control.high_watermark != self._noted else NEVER_NS

    def store(self) -> None:
        """Note it now. Raises OSError."""
        offset = self._control.high_watermark
        write_high_watermark(self._storage, self._directory, offset)
        self._noted = offset

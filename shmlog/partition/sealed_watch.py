"""When sealed segments are looked at: after the start, one by one, beside the owner's work."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns

from shmlog.control.messages import SegmentsLookedAt
from shmlog.log.progress import Progress
from shmlog.log.sealed import SealedSegments
from shmlog.log.storage import OsStorage
from shmlog.partition.full_disk import errno_of_full_disk

NEVER_NS = (1 << 63) - 1
LOOK_AFTER_NS = 1_000_000_000
LOOK_EVERY_NS = 10_000_000
"""One segment is looked at so often, beginning LOOK_AFTER_NS after the start: about a hundredth of a core's time."""


class SealedWatch:
    """Looks at what an opening believed by its name (log/sealed.py). Owner's thread only.

    `beat` shows that the owner lives while indexes are made anew, which may take long; `tell` gets what was found.
    """

    def __init__(
        self,
        sealed: SealedSegments,
        storage: OsStorage,
        beat: Callable[[], None],
        tell: Callable[[SegmentsLookedAt], None],
    ) -> None:
        self._sealed = sealed
        self._storage = storage
        self._beat = beat
        self._tell = tell
        self.next_deadline_ns = NEVER_NS if sealed.is_checked else monotonic_ns() + LOOK_AFTER_NS
        """When `look` has something to do."""

    def look(self, now_ns: int) -> None:
        """Look at the next segment if it is time, and tell what was found, by retention too."""
        if now_ns < self.next_deadline_ns:
            return
        self._storage.progress = Progress(self._beat)
        try:
            disk_is_full = errno_of_full_disk(self._look_at_next)
        finally:
            self._storage.progress = None
        findings = self._sealed.take_findings()
        if findings:
            self._tell(SegmentsLookedAt(findings))
        if self._sealed.is_checked:
            self.next_deadline_ns = NEVER_NS
        else:
            self.next_deadline_ns = now_ns + (LOOK_AFTER_NS if disk_is_full else LOOK_EVERY_NS)

    def _look_at_next(self) -> None:
        self._sealed.check_next()

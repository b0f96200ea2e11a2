"""In-sync sets become durable before any leader hears of them; on a full disk only those leaders wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from shmlog.errors import DiskFullError
from shmlog.machines.metadata_records import InSyncChanged
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog

log = logging.getLogger(__name__)

FULL_DISK_PAUSE_S = 1.0


class InSyncNotes:
    """Writes the in-sync sets down that `in_sync` says, of a partition id, when they have changed.

    `on_written` hears of a partition whose set had to wait. What is written is the set as it is by then: it may have
    changed again, or back, or its partition may be gone.
    """

    def __init__(
        self,
        loop: Loop,
        catalog: Catalog,
        in_sync: Callable[[int], frozenset[int]],
        on_written: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._catalog = catalog
        self._in_sync = in_sync
        self._on_written = on_written
        self._waiting: set[int] = set()

    def waits(self, partition_id: int) -> bool:
        """Whether its leader must not be told yet."""
        return partition_id in self._waiting

    def write(self, changed: Iterable[int]) -> None:
        """The sets of these partitions have changed. Raises MetadataLostError, as Catalog.commit does."""
        before = set(self._waiting)
        self._waiting.update(changed)
        if self._waiting:
            self._try(before)

    def _try(self, before: set[int]) -> None:
        """Write all that waits; tell of those that had waited `before` and do not any more."""
        records = tuple(record for one in sorted(self._waiting) if (record := self._record(one)) is not None)
        try:
            self._catalog.commit(records)
        except DiskFullError as error:
            self._waiting = {record.partition_id for record in records}
            if not before:
                log.warning("in-sync sets stay as they are until there is room, and leaders wait: %s", error)
                self._loop.call_in(FULL_DISK_PAUSE_S, self._try_again)
        else:
            self._waiting = set()
        for partition_id in sorted(before - self._waiting):
            self._on_written(partition_id)

    def _try_again(self) -> None:
        if self._waiting:
            self._try(set(self._waiting))
        if self._waiting:
            self._loop.call_in(FULL_DISK_PAUSE_S, self._try_again)

    def _record(self, partition_id: int) -> InSyncChanged | None:
        """What is to be written; None if it is so already, or nobody needs it any more."""
        partition, in_sync = self._catalog.machine.partition_by_id(partition_id), self._in_sync(partition_id)
        if partition is None or not in_sync or in_sync == partition.in_sync:
            return None
        return InSyncChanged(partition_id, partition.leader, sorted(in_sync))

"""A partition's shared memory, mapped for reading: its control page and the ring generation that is current."""

from __future__ import annotations

from typing import Final

from shmlog.errors import LeaderNotAvailableError
from shmlog.memory import names, region
from shmlog.memory.control_page import ControlPage
from shmlog.native.ring import RingReader

GENERATIONS_TRIED_MAX: Final = 20


class MappedPartition:
    """Owns its mappings; they go with close(). Raises FileNotFoundError while the partition has no control page.

    A ring that grows gets a new generation with new regions, which renew_ring() maps. A cluster that comes back from
    nothing makes new regions of the same names, even for the control page: is_current() is then False, and what is
    mapped here is a dead end. A follower's ring reader goes `up_to_written`, a consumer's up to the high watermark.
    """

    def __init__(self, tag: str, partition_id: int, *, up_to_written: bool = False) -> None:
        self._tag = tag
        self._up_to_written = up_to_written
        self._partition_id = partition_id
        self._name = names.control_page(tag, partition_id)
        self._identity = region.identity(self._name)  # before mapping: if it is replaced in between, we are not current
        self.page = ControlPage.open(tag, partition_id)
        self.ring: RingReader | None = None

    def is_current(self) -> bool:
        """Whether the control page's name still stands for what is mapped here. A system call."""
        return region.identity(self._name) == self._identity

    def renew_ring(self) -> None:
        """Map the current ring generation; `ring` stays None while there is none."""
        self._drop_ring()
        for _ in range(GENERATIONS_TRIED_MAX):
            generation = self.page.generation  # SYNC POINT generation-attach: pairs with generation
            if generation == 0:
                return
            try:
                self.ring = self._map(generation)
            except FileNotFoundError:
                if generation != self.page.generation:
                    continue  # the owner went on to another one between our two looks
                return  # an orphaned page of a cluster that is gone: the segments are all there is
            if not self.ring.has_moved():
                return
            self._drop_ring()
        raise LeaderNotAvailableError(
            f"partition {self._partition_id} changed its ring {GENERATIONS_TRIED_MAX} times while it was being mapped"
        )

    def _map(self, generation: int) -> RingReader:
        ring = region.open_region(names.ring(self._tag, self._partition_id, generation), doubled_from=0)
        try:
            index = region.open_region(names.index(self._tag, self._partition_id, generation))
        except BaseException:
            ring.close()
            raise
        return RingReader(self.page.mapping, ring, index, generation, up_to_written=self._up_to_written)

    def close(self) -> None:
        """Unmap everything."""
        self._drop_ring()
        self.page.close()

    def _drop_ring(self) -> None:
        if self.ring is not None:
            self.ring.close()
            self.ring = None

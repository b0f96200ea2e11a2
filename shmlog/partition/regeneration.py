"""A new ring generation under a running owner: for a legal batch that is too large for this one, for steady load, and
a small one again when nobody has written for long."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.messages import OwnerSpec
from shmlog.limits import RING_IDLE_S
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.region import page_align
from shmlog.native.publish import Publisher
from shmlog.partition.ring_regions import make_ring, store_ring
from shmlog.settings import TopicConfig

NOWHERE = (1 << 64) - 1


@dataclass(slots=True)
class RingFit:
    """How large a ring should be, by how fast the log grows; asked about once a second while the owner is awake, and
    whenever the log has gone round the ring since: a burst shorter than a second needs a large ring, too.

    `tail_pos` and `since_ns`: where the tail was when it was last asked, and when it was last seen to move.
    """

    tail_pos: int
    asked_ns: int
    since_ns: int

    @classmethod
    def begin(cls, tail_pos: int, now_ns: int) -> RingFit:
        return cls(tail_pos, now_ns, now_ns)

    def is_due(self, ring_bytes: int, tail_pos: int) -> bool:
        """Whether the log has gone round the ring since it was last asked."""
        return tail_pos - self.tail_pos > ring_bytes

    def wanted_bytes(self, config: TopicConfig, ring_bytes: int, tail_pos: int, now_ns: int) -> int:
        """The size to change to: full if the log went round this ring within a second; `ring_bytes` for no change."""
        appended, elapsed_ns = tail_pos - self.tail_pos, max(1, now_ns - self.asked_ns)
        self.tail_pos, self.asked_ns = tail_pos, now_ns
        if appended:
            self.since_ns = now_ns
            is_fast = appended * 1_000_000_000 > ring_bytes * elapsed_ns
            return max(ring_bytes, config.ring_bytes) if is_fast else ring_bytes
        is_idle = now_ns - self.since_ns >= RING_IDLE_S * 1e9
        return min(ring_bytes, page_align(config.ring_bytes_at_first)) if is_idle else ring_bytes


def grow_ring(spec: OwnerSpec, ring_bytes: int, control: ControlPage, publisher: Publisher) -> None:
    """Open a ring of `ring_bytes`, larger or smaller, behind the tail; its readers notice and leave the old one.

    Everything is written, so that segments have what the new ring has not. A kill before the new generation is stored
    leaves the old one in force: its region gives its size, it ends at its last entry, or at its base if it has none.
    """
    assert publisher.written_pos == publisher.tail_pos, "a new ring with unwritten batches"
    page, old = control.mapping, control.generation
    generation = old + 1
    ring, index = make_ring(spec, ring_bytes, generation)
    base = publisher.tail_offset, publisher.tail_pos
    if base != (page.load(layout.CTL_BASE_OFFSET), page.load(layout.CTL_BASE_POS)):
        # SYNC POINT generation-base-invalid: pairs with generation-base-again in RingReader.seek. An empty ring ends
        # where its base says, so the base of one is never invalid: it is right already, and stays as it is.
        page.store(layout.CTL_BASE_OFFSET, NOWHERE)
        page.store(layout.CTL_BASE_POS, publisher.tail_pos)
        # SYNC POINT generation-base: pairs with generation-base-offset.
        page.store(layout.CTL_BASE_OFFSET, publisher.tail_offset)
    publisher.use_ring(ring, index)
    store_ring(page, ring, index, generation)
    publisher.settle()
    region.unlink(names.ring(spec.cid8, spec.partition_id, old))
    region.unlink(names.index(spec.cid8, spec.partition_id, old))

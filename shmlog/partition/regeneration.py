"""A new ring generation under a running owner: when a batch comes that is legal and too large for this one."""

from __future__ import annotations

from shmlog.control.messages import OwnerSpec
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.native.publish import Publisher
from shmlog.partition.opening import make_ring, store_ring

NOWHERE = (1 << 64) - 1


def grow_ring(spec: OwnerSpec, ring_bytes: int, control: ControlPage, publisher: Publisher) -> None:
    """Open a ring of `ring_bytes` behind the tail and leave the old one to its readers, who notice and attach again.

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

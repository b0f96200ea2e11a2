"""The regions of a ring generation: made, announced in the ctl region, removed."""

from __future__ import annotations

from shmlog.control.messages import OwnerSpec
from shmlog.limits import RING_BATCHES_MIN
from shmlog.memory import layout, names, region
from shmlog.native.mapping import Mapping


def make_ring(spec: OwnerSpec, ring_bytes: int, generation: int) -> tuple[Mapping, Mapping]:
    """Make and map the ring and the index of a generation."""
    ring_bytes = region.page_align(ring_bytes)
    entries = region.index_entries(ring_bytes)
    ring_name = names.ring(spec.cid8, spec.partition_id, generation)
    index_name = names.index(spec.cid8, spec.partition_id, generation)
    region.create(ring_name, ring_bytes, mode=spec.shm_mode, group=spec.shm_group)
    try:
        region.create(index_name, entries * layout.IDX_ENTRY_BYTES, mode=spec.shm_mode, group=spec.shm_group)
    except BaseException:
        region.unlink(ring_name)
        raise
    return (
        region.open_region(ring_name, writable=True, doubled_from=0),
        region.open_region(index_name, writable=True),
    )


def store_ring(page: Mapping, ring: Mapping, index: Mapping, generation: int) -> None:
    """Announce a ring; its generation last, so that who sees it sees the rest."""
    page.store(layout.CTL_RING_CAPACITY, ring.size_bytes)
    page.store(layout.CTL_INDEX_ENTRIES, index.size_bytes // layout.IDX_ENTRY_BYTES)
    page.store(layout.CTL_MAX_BATCH, ring.size_bytes // RING_BATCHES_MIN)
    page.store(layout.CTL_RING_GENERATION, generation)  # SYNC POINT generation: pairs with generation-attach, -check


def drop_rings(spec: OwnerSpec, *, keep: int | None) -> None:
    """Remove all ring generations but one: what a dead owner was going to use, or did not get to remove."""
    prefixes = tuple(name(spec.cid8, spec.partition_id, 0)[:-1] for name in (names.ring, names.index))
    for name in region.list_names():  # not sizes: after a crash every owner of many looks here
        if name.startswith(prefixes) and not name.endswith(f".{keep}"):
            region.unlink(name)

"""The bell region of a partition: where everybody wakes its owner."""

from __future__ import annotations

from shmlog.memory import layout, names, region
from shmlog.native.doorbell import Doorbell


def create_bell(tag: str, partition_id: int, *, mode: int, group: int | None = None) -> None:
    """Make the bell of a partition; FileExistsError if a predecessor's is still there (use that one)."""
    name = names.bell(tag, partition_id)
    region.create(name, layout.BELL_SIZE, mode=mode, group=group)
    mapping = region.open_region(name, writable=True)
    layout.RegionHeader(layout.KIND_BELL, bytes(16), partition_id, layout.boot_id()).store(mapping)
    mapping.close()


def open_bell(tag: str, partition_id: int) -> Doorbell:
    """The bell of a partition, to sleep on (its owner) or to ring (everybody else)."""
    name = names.bell(tag, partition_id)
    mapping = region.open_region(name, writable=True)
    layout.RegionHeader.load(mapping, layout.KIND_BELL, name)
    return Doorbell(mapping)

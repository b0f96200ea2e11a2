"""The bell region of a partition: where everybody wakes its owner."""

from __future__ import annotations

import contextlib

from shmlog.errors import CorruptRecordError
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
    """The bell of a partition, to sleep on (its owner) or to ring (everybody else).

    Every client can write to it, so what its header says is worth nothing and not looked at. Raises FileNotFoundError,
    or CorruptRecordError if somebody has cut it.
    """
    name = names.bell(tag, partition_id)
    mapping = region.open_region(name, writable=True)
    if mapping.size_bytes != layout.BELL_SIZE:
        raise CorruptRecordError(f"region {name} has {mapping.size_bytes} bytes, a bell has {layout.BELL_SIZE}")
    return Doorbell(mapping)


def ensure_bell(tag: str, partition_id: int, *, mode: int, group: int | None = None) -> Doorbell:
    """The bell of a partition, made if it is not there, and made anew if somebody has cut it."""
    with contextlib.suppress(FileExistsError):
        create_bell(tag, partition_id, mode=mode, group=group)
    try:
        return open_bell(tag, partition_id)
    except CorruptRecordError:
        region.unlink(names.bell(tag, partition_id))
    create_bell(tag, partition_id, mode=mode, group=group)
    return open_bell(tag, partition_id)

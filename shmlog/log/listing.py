"""What a partition's directory holds, from one look at it: names alone, because there may be 50,000 segments."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.log.segment import (
    DELETED_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    REBUILD_SUFFIX,
    REWRITE_SUFFIX,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    base_offsets_in,
)
from shmlog.log.storage import Storage

_LEFTOVERS = (DELETED_SUFFIX, REBUILD_SUFFIX, REWRITE_SUFFIX, ".tmp")


@dataclass(frozen=True, slots=True)
class Listing:
    """Segments and snapshots by their offsets, ascending."""

    base_offsets: list[int]
    without_index: frozenset[int]
    """Segments that lack one of their indexes, or both."""
    orphans: tuple[str, ...]
    """Names of indexes without a log."""
    leftovers: tuple[str, ...]
    """Names of what an interrupted deletion, rebuild, rewrite or checkpoint left behind."""
    snapshot_offsets: list[int]


def look(storage: Storage, directory: str) -> Listing:
    """List the directory once. Raises OSError."""
    names = storage.listdir(directory)
    base_offsets = base_offsets_in(names, LOG_SUFFIX)
    logs = set(base_offsets)
    without_index: set[int] = set()
    orphans: list[str] = []
    for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX):
        indexed = set(base_offsets_in(names, suffix))
        without_index |= logs - indexed
        orphans += [f"{base_offset:020d}{suffix}" for base_offset in sorted(indexed - logs)]
    return Listing(
        base_offsets,
        frozenset(without_index),
        tuple(orphans),
        tuple(name for name in names if name.endswith(_LEFTOVERS)),
        base_offsets_in(names, SNAPSHOT_SUFFIX),
    )


def sweep(storage: Storage, directory: str, listing: Listing) -> None:
    """Remove leftovers, and indexes without a log."""
    for name in (*listing.leftovers, *listing.orphans):
        storage.unlink(f"{directory}/{name}")

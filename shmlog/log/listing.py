"""What a partition's directory holds, from one look at it: names alone, because there may be 50,000 segments."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from shmlog.log.damage import NOTE_SUFFIX
from shmlog.log.segment import (
    CLEANED_SUFFIX,
    DELETED_SUFFIX,
    INDEX_SUFFIX,
    LOG_SUFFIX,
    NAME_DIGITS,
    REBUILD_SUFFIX,
    REWRITE_SUFFIX,
    SNAPSHOT_SUFFIX,
    SUFFIXES,
    SWAPPED_SUFFIX,
    TIME_INDEX_SUFFIX,
    offsets_of,
)
from shmlog.log.storage import Storage

_LEFTOVERS = (CLEANED_SUFFIX, SWAPPED_SUFFIX, DELETED_SUFFIX, REBUILD_SUFFIX, REWRITE_SUFFIX, ".tmp")


@dataclass(frozen=True, slots=True)
class Listing:
    """Segments and snapshots by their offsets, ascending."""

    base_offsets: list[int]
    without_index: frozenset[int]
    """Segments that lack one of their indexes, or both."""
    orphans: tuple[str, ...]
    """Names of indexes without a log."""
    leftovers: tuple[str, ...]
    """Names of what an interrupted deletion, cleaning, rebuild, rewrite or checkpoint left behind."""
    snapshot_offsets: list[int]
    has_notes_of_damage: bool


def look(storage: Storage, directory: str) -> Listing:
    """List the directory once. Raises OSError."""
    stems: defaultdict[str, list[str]] = defaultdict(list)
    for name in storage.listdir(directory):
        stems[name[NAME_DIGITS:]].append(name[:NAME_DIGITS])
    logs = set(stems[LOG_SUFFIX])
    without_index: set[str] = set()
    orphans: list[str] = []
    for suffix in (INDEX_SUFFIX, TIME_INDEX_SUFFIX):
        indexed = set(stems[suffix])
        without_index |= logs - indexed
        orphans += [stem + suffix for stem in sorted(indexed - logs) if offsets_of([stem])]
    return Listing(
        offsets_of(logs),
        frozenset(offsets_of(without_index)),
        tuple(orphans),
        tuple(
            stem + rest
            for rest, found in stems.items()
            if rest not in SUFFIXES
            for stem in found
            if (stem + rest).endswith(_LEFTOVERS)
        ),
        offsets_of(stems[SNAPSHOT_SUFFIX]),
        any(rest.endswith(NOTE_SUFFIX) for rest in stems),
    )


def sweep(storage: Storage, directory: str, listing: Listing) -> None:
    """Remove leftovers, and indexes without a log."""
    for name in (*listing.leftovers, *listing.orphans):
        storage.unlink(f"{directory}/{name}")

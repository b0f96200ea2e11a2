"""Compaction of batches: the newest offset of each key, and what stays of a batch.

Two passes over a log. The first puts the keys of its dirty part into an OffsetMap, the second writes what stays of all
of it. Both look at every byte that they go over: checksums, offsets, the structure of records. Compressed batches are
made plain before (record.expansion).
"""

from collections.abc import Mapping
from typing import NamedTuple

SLOT_BYTES: int
"""What a key takes of the memory of an OffsetMap, however long it is; nine of ten slots are used."""

Buffer = bytes | bytearray | memoryview

class Walked(NamedTuple):
    """How far a call got. All of `data` when nothing is wrong, nothing wanted, and the map not full."""

    done_bytes: int
    next_offset: int
    """One after the last offset of the last batch that was done."""
    filled_bytes: int
    """Of `out`."""
    wanted_bytes: int
    """Size of a batch of which the data has only the beginning (or of its header); 0: the data ends with a batch."""
    wanted_room_bytes: int
    """What the next batch takes of `out`, if that was too much; 0 else."""
    problem: str
    """What is wrong with the batch after `done_bytes`, as the end of a sentence; "" if nothing is."""

def siphash(data: Buffer, key: bytes) -> bytes:
    """SipHash-2-4 of `data` with 16 bytes of result, for `key` of 16 bytes."""

class OffsetMap:
    """The newest offset of each key, in memory of the caller's that it keeps.

    Keys are known by a hash of 128 bits under `seed`, 16 random bytes for each cleaning. Not thread-safe.
    """

    end_offset: int
    """When it is full: where the batch begins that found no room. All records before are in the map. Else -1."""
    is_full: bool
    key_count: int
    key_count_max: int

    def __init__(self, memory: bytearray | memoryview, seed: bytes, key_count_max: int) -> None:
        """An empty map. It takes no more of `memory` than `key_count_max` keys need; the rest is not touched.

        Raises ValueError when the memory is not writable, too small for one key, or not aligned to 8 bytes.
        """

    def release(self) -> None:
        """Give the memory back. The map has no keys then, and takes none."""

    def newest_offset(self, key: Buffer) -> int:
        """-1 for a key that is not in the map."""

    def add_batches(self, data: Buffer, next_offset: int, dense_from_offset: int, from_offset: int) -> Walked:
        """Put the keys of whole plain batches into the map, for records from `from_offset` on; none after it is full.

        `next_offset` is where the batch before ended; before `dense_from_offset` offsets may be missing. Records
        without a key and those of transactions, of which nobody knows here which were aborted, take nobody's place.
        """

class BatchFilter:
    """Writes what stays of batches by Kafka's rules: of each key the newest record, tombstones until their time has
    passed, the last batch of each producer that may go on (without records, if none is left), all control batches.

    A batch keeps its offsets, leader epoch and producer fields, and its records theirs. Counts what it does.
    """

    records_read: int
    records_kept: int
    tombstones_kept: int
    tombstones_dropped: int
    """Because their time had passed; not those that a newer record replaces."""
    keyless_dropped: int
    """Records without a key have no place in a compacted log."""
    batches_changed: int
    """Those that are not written byte for byte as they were."""
    delete_horizon_ms: int
    """The latest time from which on a tombstone that was written may go; 0 without one."""

    def __init__(
        self,
        map: OffsetMap,  # noqa: A002  what it is
        *,
        first_dirty_offset: int,
        map_end_offset: int,
        end_offset: int,
        now_ms: int,
        delete_retention_ms: int,
        producers: Mapping[int, int],
    ) -> None:
        """`map` has the newest offsets of the records from `first_dirty_offset` to before `map_end_offset`; batches
        from there on are kept as they are. The batch that ends at `end_offset` stays, so that this offset is known.
        `producers` has the last offset of each producer's records. The map must not change any more.
        """

    def filter_batches(
        self, data: Buffer, out: bytearray | memoryview, next_offset: int, dense_from_offset: int
    ) -> Walked:
        """Write what stays of whole plain batches to `out`, one after the other; offsets as for add_batches."""

    def empty_last_batch(self) -> bytes:
        """The last batch that was done, as one without records; b"" before the first."""

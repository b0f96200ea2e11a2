"""What a dead owner's index region says: where the log ended, and which lane bytes are in it. Pure functions.

The survivors of a kill see a program-order prefix of the owner's stores, so the index entries up to the tail are whole,
and whatever lies behind the tail is a group that was never published.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError
from shmlog.memory.layout import FRAME_BYTES, IDX_ENTRY_BYTES
from shmlog.native.publish import GROUP_BATCHES_MAX

_ENTRY = struct.Struct("<QQQIIIIQQQ")
assert _ENTRY.size == IDX_ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One published batch. `seq` counts from 0; positions are bytes of this ring generation; `cell` is its place.

    Its frame is [lane_pos, lane_pos_end) of its lane. In the ring it may be shorter: compressed.
    """

    cell: int
    seq: int
    pos_end: int
    base_offset: int
    length: int
    count: int
    lane_slot: int
    lane_generation: int
    lane_pos_end: int
    lane_pos: int

    @property
    def pos(self) -> int:
        return self.pos_end - self.length

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.count


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What the frame at `lane_pos` must say: its batch is in the log at `base_offset`, in the ring from `pos` on; or it
    was a duplicate (None, -1)."""

    lane_pos: int
    base_offset: int | None
    pos: int = -1


@dataclass(frozen=True, slots=True)
class RingEnd:
    """The published end of a ring: `stale_cells` hold entries of a group that was not published."""

    next_offset: int
    next_seq: int
    published: list[IndexEntry]
    stale_cells: list[int]


RECENT_ENTRIES = 2 * GROUP_BATCHES_MAX
"""Only the last group can be unwritten, unknown to its lanes, or (one more) unpublished."""


def read_entries(index: bytes, most: int = RECENT_ENTRIES) -> list[IndexEntry]:
    """The newest entries of an index region, at least `most` if it has as many, in the order of writing."""
    raw = [(fields[0], cell, fields) for cell, fields in enumerate(_ENTRY.iter_unpack(index)) if fields[0]]
    oldest = max(raw)[0] - most if raw else 0
    recent = sorted(entry for entry in raw if entry[0] > oldest)
    return [IndexEntry(cell, seq - 1, *fields[1:9]) for seq, cell, fields in recent]


def find_end(entries: Sequence[IndexEntry], tail_pos: int, base_offset: int, base_pos: int) -> RingEnd:
    """The end of the ring by its index chain: the entry that ends at the tail, never the tail's own offset cell.

    Raises CorruptRecordError when no entry ends there, which no kill can bring about.
    """
    last = next((entry for entry in reversed(entries) if entry.pos_end == tail_pos), None)
    if last is None:
        if tail_pos != base_pos:
            raise CorruptRecordError(f"the ring's tail is at position {tail_pos}, where no batch of its index ends")
        return RingEnd(base_offset, 0, [], [entry.cell for entry in entries])
    published = [entry for entry in entries if entry.seq <= last.seq]
    stale = [entry.cell for entry in entries if entry.seq > last.seq]
    return RingEnd(last.next_offset, last.seq + 1, published, stale)


def offset_at(end: RingEnd, pos: int, tail_pos: int) -> int:
    """The offset of the batch that begins at ring position `pos`, for a `pos` that is not yet written or the tail."""
    if pos == tail_pos:
        return end.next_offset
    for entry in reversed(end.published):
        if entry.pos == pos:
            return entry.base_offset
    raise CorruptRecordError(f"no batch of the ring's index begins at position {pos}")


def lane_results(
    end: RingEnd, slot: int, lane_id: int, head: int, frame_bytes_at: Callable[[int], int]
) -> tuple[int, list[FrameResult]]:
    """How far a lane is in the log, and the results of its frames in [head, there).

    With the crash between the tail and the lane's head, its last group is published, but its producer does not know.
    `frame_bytes_at` reads the length of a frame that is not in the log; it comes from the producer, who may be broken.
    """
    mine = [
        entry
        for entry in end.published
        if entry.lane_slot == slot and entry.lane_generation == lane_id & 0xFFFFFFFF and entry.lane_pos_end > head
    ]
    results: list[FrameResult] = []
    pos = head
    for entry in mine:
        start = entry.lane_pos
        while pos < start and len(results) < GROUP_BATCHES_MAX:  # frames of duplicates have no entry
            span = frame_bytes_at(pos) + 7 & ~7
            if not FRAME_BYTES < span <= start - pos:
                break
            results.append(FrameResult(pos, None))
            pos += span
        results.append(FrameResult(start, entry.base_offset, entry.pos))
        pos = entry.lane_pos_end
    return pos, results

"""From the ring into the segment: written, synced, and with that visible."""

from collections.abc import Sequence

from shmlog.native.lane_table import LaneTable
from shmlog.native.mapping import Mapping
from shmlog.native.packer import BatchPacker
from shmlog.native.segment import SegmentWriter

class LogEnd(LaneTable):
    """Base of Publisher: the cursors of the log's end, `synced <= written <= tail`, and the high watermark."""

    writer: SegmentWriter
    capacity: int
    """Bytes of the ring."""
    tail_pos: int
    tail_offset: int
    written_pos: int
    written_offset: int
    synced_offset: int
    unsynced_records: int
    last_errno: int
    """Why the disk refused the last write that failed."""
    hold_for_sync: bool
    """The high watermark waits for mark_synced() (flush.messages=1)."""

    index_entries: int
    leader_epoch: int
    follower_count: int
    under_min_isr: bool

    def __init__(
        self, control: Mapping, packer: BatchPacker, ring: Mapping, writer: SegmentWriter, *, next_offset: int
    ) -> None: ...
    def mark_synced(self, offset: int, pos: int) -> None: ...
    def settle(self) -> None: ...
    def trace(self, until_ns: int, interval_ns: int) -> None: ...
    def stop_trace(self, now_ns: int) -> None: ...
    def use_segment(self, writer: SegmentWriter) -> None: ...
    def ring_bytes_between(self, start: int, end: int) -> bytes: ...
    def use_followers(self, followers: Sequence[tuple[int, Mapping | None, bool]]) -> None:
        """Take these in the place of those from before: replica id, its region (writable; None: there is none that can
        be mapped), and whether the high watermark waits for it. What is known of a follower, and that it is not
        believed any more, holds as long as its mapping is the same object. settle() is next."""

    def hold_under_min_isr(self, under_min_isr: bool) -> None:
        """Whether the high watermark stands still from now on: too few replicas are in sync. settle() is next."""

    def count_follower(self, replica_id: int, counts: bool) -> None: ...
    def look_at_followers(self) -> list[tuple[int, int, str]]:
        """Of each follower: replica id, the offset up to which it has the log (-1 until it follows this leader), and
        what was wrong with its region: "", "went back", "beyond" (the leader's end), or "absent"."""

    @property
    def reachable_offset(self) -> int: ...

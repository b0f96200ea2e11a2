"""From the ring into the segment: written, synced, and with that visible."""

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

    def __init__(
        self, control: Mapping, packer: BatchPacker, ring: Mapping, writer: SegmentWriter, *, next_offset: int
    ) -> None: ...
    def mark_synced(self, offset: int, pos: int) -> None: ...
    def settle(self) -> None: ...
    def trace(self, until_ns: int, interval_ns: int) -> None: ...
    def stop_trace(self, now_ns: int) -> None: ...
    def use_segment(self, writer: SegmentWriter) -> None: ...
    def ring_bytes_between(self, start: int, end: int) -> bytes: ...

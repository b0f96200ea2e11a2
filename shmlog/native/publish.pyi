"""The owner's side: batches out of lanes, into the ring, into the segment, and results back."""

from shmlog.native.lane_table import LaneTable
from shmlog.native.mapping import Mapping
from shmlog.native.producer_table import ProducerTable
from shmlog.native.segment import SegmentWriter

IDLE: int
"""run(): nothing to take now; `next_deadline_ns` says when a lingering batch is due."""
ROLL: int
"""run(): the active segment is full; roll it and call use_segment()."""
FAILED: int
"""run(): the disk refused, `last_errno` says why; nothing is lost, call again."""
SYNC: int
"""run(): `sync_after_records` is reached; sync the log and call mark_synced()."""
BUSY: int
"""run(): the budget is used up, there may be more."""
STOPPED: int
"""run(): a batch was rejected or a lane quarantined; see lane_state()."""
GROW: int
"""run(): the next batch is legal but too large for this ring; everything is written, open a larger one."""
GROUP_BATCHES_MAX: int
"""So many batches are published at once, at the most."""

class Publisher(LaneTable):
    """The owner of a partition's ring: the only writer of its ctl, ring and idx regions and of its segments.

    Not thread-safe. Mappings are kept until lanes and clients are detached.
    """

    writer: SegmentWriter
    producers: ProducerTable
    capacity: int
    index_entries: int
    tail_pos: int
    tail_offset: int
    written_pos: int
    written_offset: int
    synced_offset: int
    unsynced_records: int
    next_deadline_ns: int
    last_errno: int
    hold_for_sync: bool
    """The high watermark waits for mark_synced() (flush.messages=1)."""
    segment_bytes: int
    """run() returns ROLL before a segment grows larger."""
    sync_after_records: int
    """run() returns SYNC once so many records are written but not synced; 0: never."""

    def __init__(
        self,
        control: Mapping,
        ring: Mapping,
        index: Mapping,
        writer: SegmentWriter,
        producers: ProducerTable,
        *,
        leader_epoch: int,
        next_offset: int,
        next_seq: int,
        segment_bytes: int,
    ) -> None: ...
    def run(self, budget_ns: int) -> int:
        """Publish groups until one of the outcomes above; the GIL is released meanwhile."""

    def has_work(self) -> bool: ...
    def mark_synced(self, offset: int, pos: int) -> None: ...
    def settle(self) -> None: ...
    def count_sleep(self) -> None: ...
    def use_segment(self, writer: SegmentWriter) -> None: ...
    def use_ring(self, ring: Mapping, index: Mapping) -> None: ...
    def store_image(self) -> None: ...
    def ring_bytes_between(self, start: int, end: int) -> bytes: ...

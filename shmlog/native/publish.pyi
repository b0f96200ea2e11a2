"""The owner's side: batches out of lanes, into the ring, and results back."""

from shmlog.native.log_end import LogEnd
from shmlog.native.mapping import Mapping
from shmlog.native.packer import BatchPacker
from shmlog.native.producer_table import ProducerTable
from shmlog.native.segment import SegmentWriter

IDLE: int
"""run(): nothing to take before `next_deadline_ns`, when a lingering batch is due; or followers must get on first."""
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
"""run(): a batch is legal but too large for this ring; everything is written, use_ring() or defer_growth() is next."""
GROUP_BATCHES_MAX: int
"""So many batches are published at once, at the most."""

class Publisher(LogEnd):
    """The owner of a partition's ring: the only writer of its ctl, ring and idx regions and of its segments.

    Not thread-safe. Mappings are kept until lanes and clients are detached.
    """

    producers: ProducerTable
    group_bytes: int
    """About so much is taken from lanes, before any compression, until it is published."""
    next_deadline_ns: int
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
        packer: BatchPacker,
        *,
        leader_epoch: int,
        next_offset: int,
        next_seq: int,
        segment_bytes: int,
    ) -> None: ...
    def run(self, budget_ns: int) -> int:
        """Publish groups until one of the outcomes above; the GIL is released meanwhile."""

    def has_work(self) -> bool: ...
    def count_sleep(self) -> None: ...
    def use_ring(self, ring: Mapping, index: Mapping) -> None: ...
    def defer_growth(self, until_ns: int) -> None:
        """No larger ring now: run() returns GROW again from then on. Until then only the lanes wait that need one."""

    def growth_is_awaited(self) -> bool:
        """Does a lane wait for a larger ring?"""

    def store_image(self) -> None: ...

"""The order to mend a sealed segment of this process's log, as an owner or a follower carries it out."""

from __future__ import annotations

from shmlog.control.messages import MendSegment, SegmentsLookedAt
from shmlog.errors import ShmlogError
from shmlog.log.mending import mend
from shmlog.log.scrub import Flaw, SealedSegment
from shmlog.log.segment import LOG_SUFFIX
from shmlog.log.storage import OsStorage


def mend_segment(log_dir: str, order: MendSegment) -> SegmentsLookedAt:
    """Between two pieces of work: nobody cuts the log meanwhile. What goes wrong is said, and changes nothing."""
    segment = SealedSegment(log_dir, order.base_offset, order.following)
    flaw = Flaw(segment, LOG_SUFFIX, order.position, order.first_offset, order.following, "a client found it damaged")
    where = f"{flaw.path}, from offset {order.first_offset} on (byte {order.position})"
    try:
        written = mend(OsStorage(), flaw, order.source_dir)
    except (ShmlogError, OSError) as error:
        return SegmentsLookedAt(f"{where}: nothing was mended: {error}")
    if not written:
        return SegmentsLookedAt(f"{where}: there was nothing to mend: {order.source_dir} has the same")
    return SegmentsLookedAt(f"{where}: {written} bytes were damaged, and are written anew from {order.source_dir}")

"""The order to put compacted segments in their places, as an owner or a follower carries it out on its own log."""

from __future__ import annotations

from collections.abc import Callable

from shmlog.clock import wall_ms
from shmlog.control.messages import SwapRefused, SwapSegments
from shmlog.errors import StorageError
from shmlog.log.partition_log import PartitionLog
from shmlog.log.swap import CleanedGroup, CleanedSegments


def swap_segments(log: PartitionLog, order: SwapSegments, tell: Callable[[SwapRefused], None]) -> None:
    """Between two pieces of work. Tells why not if it does not go, and the log is as it was then.

    Raises OSError: then the log is to be opened again, which finishes it.
    """
    groups = tuple(CleanedGroup(tuple(one.base_offsets), tuple(one.sizes_bytes), one.size_bytes) for one in order.files)
    cleaned = CleanedSegments(
        order.cleaning, groups, order.cleaned_from, order.first_dirty_offset, order.delete_horizon_ms
    )
    try:
        log.swap(cleaned, wall_ms())
    except StorageError as error:
        tell(SwapRefused(str(error)))

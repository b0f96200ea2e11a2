"""Lane regions: one producer's private queue to one partition."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.errors import CorruptRecordError
from shmlog.limits import LANE_BATCHES_MIN, LANE_BYTES_MIN
from shmlog.memory import layout, region
from shmlog.native.mapping import Mapping

OPEN_CLOSED = 1 << 38
"""The `closed` bit of the hand-off word. Alone: nothing is open, the next frame begins at position 0."""


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What a lane was granted for: the supervisor decides it, the owner keeps it in its lane table. Sizes in bytes.

    `codec` and `level` are what the producer wants its batches compressed with (record.compression); the owner does it.

    None of it stands in the lane, which its producer can write: neither a running owner nor a successor may be told by
    a producer whose records these are.
    """

    client_id: int
    producer_id: int
    producer_epoch: int
    max_batch_bytes: int
    data_bytes: int
    codec: int = 0
    level: int = 0


def lane_data_bytes(max_batch_bytes: int) -> int:
    """Size of a lane's data: room for LANE_BATCHES_MIN of the largest batches, whole pages."""
    frame_bytes = max_batch_bytes + layout.FRAME_BYTES
    return region.page_align(max(LANE_BYTES_MIN, LANE_BATCHES_MIN * frame_bytes))


def create_lane(
    name: str, *, lane_id: int, data_bytes: int, linger_us: int, mode: int, group: int | None = None
) -> None:
    """Make a lane: its word says that nothing is open at position 0."""
    region.create(name, layout.LANE_DATA + data_bytes, mode=mode, group=group)
    mapping = region.open_region(name, writable=True)
    mapping.store(layout.LANE_LINGER_US, linger_us)
    mapping.store(layout.LANE_OPEN, OPEN_CLOSED)
    layout.RegionHeader(layout.KIND_LANE, bytes(16), lane_id, layout.boot_id()).store(mapping)
    mapping.close()


def open_lane(name: str, data_bytes: int) -> Mapping:
    """Map a lane that was granted with `data_bytes`, its data twice back to back.

    Raises FileNotFoundError, or CorruptRecordError if it is not what was granted: its producer can write to all of it,
    and cut or stretch it.
    """
    mapping = region.open_region(name, writable=True, doubled_from=layout.LANE_DATA)
    try:
        layout.RegionHeader.load(mapping, layout.KIND_LANE, name)
        found_bytes, head = mapping.size_bytes - layout.LANE_DATA, mapping.load(layout.LANE_HEAD)
        if found_bytes != data_bytes or head % 8:
            raise CorruptRecordError(
                f"lane {name} is spoiled: it was granted with {data_bytes} bytes of data and has {found_bytes}, its"
                f" head is at {head}"
            )
    except BaseException:
        mapping.close()
        raise
    return mapping

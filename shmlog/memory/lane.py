"""Lane regions: one producer's private queue to one partition."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError
from shmlog.limits import (
    BATCH_HEADER_BYTES,
    LANE_BATCHES_MIN,
    LANE_BYTES_MAX,
    LANE_BYTES_MIN,
    MAX_MESSAGE_BYTES_MAX,
)
from shmlog.memory import layout, region
from shmlog.native.mapping import Mapping

_TERMS_AT = layout.HEADER_BYTES + (-layout.HEADER_BYTES % 8)
_TERMS = struct.Struct("<QQqqQ")

OPEN_CLOSED = 1 << 38
"""The `closed` bit of the hand-off word. Alone: nothing is open, the next frame begins at position 0."""


@dataclass(frozen=True, slots=True)
class LaneTerms:
    """What a lane was granted for: fixed for its life, written by the supervisor."""

    client_id: int
    partition_id: int
    producer_id: int
    producer_epoch: int
    max_batch_bytes: int


def lane_data_bytes(max_batch_bytes: int) -> int:
    """Size of a lane's data: room for LANE_BATCHES_MIN of the largest batches, whole pages."""
    frame_bytes = max_batch_bytes + layout.FRAME_BYTES
    return region.page_align(max(LANE_BYTES_MIN, LANE_BATCHES_MIN * frame_bytes))


def create_lane(
    name: str, terms: LaneTerms, *, lane_id: int, data_bytes: int, linger_us: int, mode: int, group: int | None = None
) -> None:
    """Make a lane: its word says that nothing is open at position 0."""
    region.create(name, layout.LANE_DATA + data_bytes, mode=mode, group=group)
    mapping = region.open_region(name, writable=True)
    mapping.write(
        _TERMS_AT,
        _TERMS.pack(
            terms.client_id, terms.partition_id, terms.producer_id, terms.producer_epoch, terms.max_batch_bytes
        ),
    )
    mapping.store(layout.LANE_LINGER_US, linger_us)
    mapping.store(layout.LANE_OPEN, OPEN_CLOSED)
    layout.RegionHeader(layout.KIND_LANE, bytes(16), lane_id, layout.boot_id()).store(mapping)
    mapping.close()


def open_lane(name: str) -> tuple[Mapping, LaneTerms]:
    """Map a lane, its data twice back to back, and read its terms. CorruptRecordError if they make no sense."""
    mapping = region.open_region(name, writable=True, doubled_from=layout.LANE_DATA)
    layout.RegionHeader.load(mapping, layout.KIND_LANE, name)
    terms = LaneTerms(*_TERMS.unpack(mapping.read(_TERMS_AT, _TERMS.size)))
    # The producer can write all of its lane, terms included: what its owner computes with must make sense.
    sane = (
        -1 <= terms.producer_id < 1 << 62
        and -1 <= terms.producer_epoch < 1 << 15
        and BATCH_HEADER_BYTES < terms.max_batch_bytes <= MAX_MESSAGE_BYTES_MAX
        and LANE_BATCHES_MIN * terms.max_batch_bytes <= mapping.size_bytes - layout.LANE_DATA <= LANE_BYTES_MAX
        and mapping.load(layout.LANE_HEAD) % 8 == 0
    )
    if not sane:
        mapping.close()
        raise CorruptRecordError(
            f"lane {name} of {mapping.size_bytes} bytes has terms or a head that make no sense: {terms}"
        )
    return mapping, terms

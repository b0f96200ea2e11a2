"""What an owner writes itself goes the way of everybody's records: through a lane, which only this owner has mapped.

Its region has no name any more when it is used, so nothing is left of it when the owner dies: what stood in it and was
not published has never been. Batches are written as complete frames, one for each call, so each is published whole.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from shmlog.control.messages import OwnerSpec
from shmlog.errors import ShmBudgetExceededError, StorageError
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms, create_lane, lane_data_bytes, open_lane
from shmlog.native.publish import Publisher
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.layout import HEADER_BYTES

OWN_LANE_ID_MAX = 0xFFFF_FFFF
"""Ids of such lanes count down from here with the leader epoch; the supervisor's count up from 1."""
_EPOCHS = 0x10000
_FRAME = struct.Struct("<IIqqqiHHIIqq")  # as in layout.FRAME_*
assert _FRAME.size == layout.FRAME_BYTES
_START_SHIFT, _START_MASK, _CLOSED = 39, (1 << 25) - 1, 1 << 38


@dataclass(frozen=True, slots=True)
class _Frame:
    at: int
    end_pos: int
    count: int


class OwnLane:
    """Append batches, let the publisher run, then ask how far they were published."""

    def __init__(self, spec: OwnerSpec, control: ControlPage, publisher: Publisher, max_batch_bytes: int) -> None:
        lane_id = OWN_LANE_ID_MAX - spec.leader_epoch % _EPOCHS
        name = names.lane(spec.cid8, lane_id)
        self._data_bytes = lane_data_bytes(max_batch_bytes)
        self._max_batch_bytes = max_batch_bytes
        self._published_offset = 0
        region.unlink(name)  # of an owner that was killed between the next lines, 65,536 epochs ago
        create_lane(name, lane_id=lane_id, data_bytes=self._data_bytes, linger_us=0, mode=spec.shm_mode)
        try:
            self._mapping = open_lane(name, self._data_bytes)
        finally:
            region.unlink(name)
        taken = {lane.slot for lane in control.lanes()}
        slot = next((slot for slot in range(layout.CTL_LANE_SLOTS) if slot not in taken), None)
        if slot is None:
            title = f"{spec.topic}-{spec.partition}"
            raise ShmBudgetExceededError(f"all {layout.CTL_LANE_SLOTS} lanes of {title} are taken")
        terms = LaneTerms(0, -1, -1, max_batch_bytes, self._data_bytes)
        control.store_terms(slot, terms)
        publisher.attach_lane(
            self._mapping,
            lane_id=lane_id,
            slot=slot,
            producer_id=-1,
            producer_epoch=-1,
            max_batch_bytes=max_batch_bytes,
        )
        self._pos = 0
        self._frames: deque[_Frame] = deque()

    def append(self, records: Sequence[NewRecord]) -> bool:
        """Put one batch into the lane; False: there is no room now. Raises StorageError for one that is too large."""
        batch = encode_batch(records, base_offset=0)
        if len(batch) > self._max_batch_bytes:
            raise StorageError(
                f"a batch of {len(batch)} bytes is larger than max.message.bytes, {self._max_batch_bytes}: raise it"
            )
        end = layout.FRAME_BYTES + len(batch) - HEADER_BYTES
        span = end + 7 & ~7
        oldest = self._frames[0].at if self._frames else self._pos
        if self._pos + span + 8 - oldest > self._data_bytes:
            return False
        times = [record.timestamp_ms for record in records]
        at = layout.LANE_DATA + self._pos % self._data_bytes
        frame = _FRAME.pack(end, len(records), times[0], max(times), max(times), -1, 0, 0, 0, 0, 0, 0)
        self._mapping.write(at, frame)
        self._mapping.write(at + layout.FRAME_BYTES, batch[HEADER_BYTES:])
        self._frames.append(_Frame(self._pos, self._pos + span, len(records)))
        self._pos += span
        self._mapping.store(layout.LANE_OPEN, (self._pos // 8 & _START_MASK) << _START_SHIFT | _CLOSED)
        return True

    @property
    def unpublished(self) -> int:
        """How many of the batches that were appended the publisher has not taken yet."""
        self._look()
        return len(self._frames)

    @property
    def published_offset(self) -> int:
        """The offset behind the last batch that was published; 0 before the first."""
        self._look()
        return self._published_offset

    def _look(self) -> None:
        head = self._mapping.load(layout.LANE_HEAD)
        while self._frames and self._frames[0].end_pos <= head:
            frame = self._frames.popleft()
            at = layout.LANE_DATA + frame.at % self._data_bytes
            *_, status, error, base_offset, _ = _FRAME.unpack(self._mapping.read(at, layout.FRAME_BYTES))
            assert status == layout.FRAME_STATUS_APPENDED, f"an owner refused its own batch with error {error}"
            self._published_offset = base_offset + frame.count

"""The lanes of one partition, as its owner keeps them: attached, recovered, drained, let go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmlog.control.messages import LaneHeld
from shmlog.errors import CorruptRecordError, ForeignVersionError, ShmBudgetExceededError
from shmlog.limits import RING_BATCHES_MIN
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage, LaneSlot
from shmlog.memory.lane import LaneTerms, open_lane
from shmlog.memory.layout import LaneState
from shmlog.native.mapping import Mapping
from shmlog.native.producer_table import ProducerTable
from shmlog.native.publish import Publisher
from shmlog.partition.survey import FrameResult, RingEnd, lane_results
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES
from shmlog.settings import TopicConfig

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1


@dataclass(slots=True)
class _Attached:
    terms: LaneTerms
    mapping: Mapping


class LaneDesk:
    """Keeps the lane table of the ctl region and the publisher's lanes in step."""

    def __init__(self, control: ControlPage, publisher: Publisher, tag: str, max_batch_bytes: int) -> None:
        self.max_batch_bytes = max_batch_bytes
        """No frame is larger, whatever a lane's terms say. What the ring cannot take makes it grow."""
        self._control = control
        self._publisher = publisher
        self._tag = tag
        self._lanes: dict[int, _Attached] = {}
        self._closing: dict[int, str] = {}
        self._published_to: dict[int, int] = {}  # up to which offset, at most, a lane that is closing has published all

    def ring_bytes_needed(self, config: TopicConfig) -> int:
        """A ring that takes every batch that an attached lane may hold."""
        return max(config.ring_bytes, RING_BATCHES_MIN * self.max_batch_bytes)

    def recover(self, end: RingEnd | None) -> None:
        """Attach the lanes that the predecessor left in the table, after completing what it did not get to say.

        A lane whose region is gone or spoiled loses its slot. A lane that was closing goes on closing.
        """
        producers = self._publisher.producers
        for lane in self._control.lanes():
            try:
                mapping = open_lane(names.lane(self._tag, lane.lane_id), lane.terms.data_bytes)
            except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
                # Not reported, so the supervisor orders it attached, hears that it cannot be, and removes it.
                self._control.free_slot(lane.slot)
                producers.release(lane.terms.producer_id)
                continue
            if end is not None:
                _complete_results(mapping, producers, end, lane, self._append_ms)
            self._attach(mapping, lane)
            if mapping.load(layout.LANE_STATE) in (LaneState.CLOSING, LaneState.CLOSED):
                self.begin_close(lane.lane_id, "idle")

    def _append_ms(self, result: FrameResult) -> int:
        """What a frame must say about the time of its records: see native/assemble.h."""
        unknown = _U64 if self._publisher.log_append_time else 0
        if result.base_offset is None or self._publisher.tail_pos - result.pos > self._publisher.capacity:
            return unknown
        header = BatchHeader.parse(self._publisher.ring_bytes_between(result.pos, result.pos + HEADER_BYTES))
        return header.append_ms if header.base_offset == result.base_offset else unknown

    def attach(self, lane_id: int, terms: LaneTerms) -> None:
        """Attach a lane that the supervisor made. Attaching it twice is fine."""
        if lane_id in self._lanes:
            return
        taken = {lane.slot for lane in self._control.lanes()}
        slot = next((slot for slot in range(layout.CTL_LANE_SLOTS) if slot not in taken), None)
        if slot is None:
            raise ShmBudgetExceededError(
                f"this partition already has {layout.CTL_LANE_SLOTS} lanes, the most it can have"
            )
        mapping = open_lane(names.lane(self._tag, lane_id), terms.data_bytes)
        self._publisher.producers.hold(terms.producer_id)
        self._control.store_terms(slot, terms)
        self._attach(mapping, LaneSlot(slot, lane_id, terms))

    def _attach(self, mapping: Mapping, lane: LaneSlot) -> None:
        self._publisher.attach_lane(
            mapping,
            lane_id=lane.lane_id,
            slot=lane.slot,
            producer_id=lane.terms.producer_id,
            producer_epoch=lane.terms.producer_epoch,
            max_batch_bytes=min(lane.terms.max_batch_bytes, self.max_batch_bytes),
            codec=lane.terms.codec,
            level=lane.terms.level,
        )
        self._lanes[lane.lane_id] = _Attached(lane.terms, mapping)

    def begin_close(self, lane_id: int, reason: str) -> None:
        """Close a lane once everything in it is published; `reason` is what drained() will say."""
        if lane_id in self._lanes and lane_id not in self._closing:
            self._publisher.begin_close(lane_id)
            self._closing[lane_id] = reason

    def close_idle(self, now_ns: int, idle_ns: int) -> None:
        for lane_id in self._publisher.idle_lanes(now_ns, idle_ns):
            self.begin_close(lane_id, "idle")

    def close_all(self) -> None:
        for lane_id in list(self._lanes):
            self.begin_close(lane_id, "closed")

    def drained(self, shown_offset: int = _U64) -> list[tuple[int, str, int]]:
        """Lanes that were closing and are done: (lane id, reason, records that it brought). They are detached now.

        A lane stays until `shown_offset`, where the watermark is, has passed what it published: a replica that takes
        over with losses finds lanes in the table only, and sends back what of theirs is lost.
        """
        done = []
        for lane_id, reason in list(self._closing.items()):
            if not self._publisher.is_drained(lane_id):
                continue
            if self._published_to.setdefault(lane_id, self._publisher.tail_offset) <= shown_offset:
                del self._closing[lane_id], self._published_to[lane_id]
                records = self._publisher.detach_lane(lane_id)
                lane = self._lanes.pop(lane_id)
                lane.mapping.close()
                self._publisher.producers.release(lane.terms.producer_id)
                done.append((lane_id, reason, records))
        return done

    def list(self) -> list[LaneHeld]:
        """Every attached lane."""
        return [LaneHeld(lane_id, lane.terms) for lane_id, lane in self._lanes.items()]

    @property
    def is_empty(self) -> bool:
        return not self._lanes

    @property
    def is_closing(self) -> bool:
        return bool(self._closing)

    def unlink_all(self) -> None:
        for lane_id in self._lanes:
            region.unlink(names.lane(self._tag, lane_id))


def _complete_results(
    mapping: Mapping,
    producers: ProducerTable,
    end: RingEnd,
    lane: LaneSlot,
    append_ms: Callable[[FrameResult], int],
) -> None:
    """Rewrite the results of frames that are in the log but that the lane's head does not cover; then move the head."""
    data_bytes = mapping.size_bytes - layout.LANE_DATA

    def frame_at(lane_pos: int) -> int:
        return layout.LANE_DATA + lane_pos % data_bytes

    def frame_bytes_at(lane_pos: int) -> int:
        return mapping.load(frame_at(lane_pos) + layout.FRAME_LENGTH) & _U32

    head = mapping.load(layout.LANE_HEAD) & ~7  # its producer may have stored anything since open_lane looked
    published_to, results = lane_results(end, lane.slot, lane.lane_id, head, frame_bytes_at)
    for result in results:
        frame = frame_at(result.lane_pos)
        base_offset, status = result.base_offset, layout.FRAME_STATUS_APPENDED
        if base_offset is None:
            sequence = mapping.load(frame + layout.FRAME_BASE_SEQUENCE) & _U32
            count = mapping.load(frame + layout.FRAME_LENGTH) >> 32  # the cell behind it
            terms = lane.terms
            base_offset = producers.find(terms.producer_id, terms.producer_epoch, sequence & 0x7FFFFFFF, count)
            status = layout.FRAME_STATUS_DUPLICATE
        mapping.store(frame + layout.FRAME_BASE_OFFSET, base_offset & _U64)
        mapping.store(frame + layout.FRAME_APPEND_MS, append_ms(result))
        mapping.store(frame + layout.FRAME_STATUS, status)
    # SYNC POINT takeover-results: after the results, as in lane-head: a second kill leaves them to be written again.
    if published_to != head:
        mapping.store(layout.LANE_HEAD, published_to)

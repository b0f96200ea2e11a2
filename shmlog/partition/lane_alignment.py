"""Lanes when the log under them changes: what they say was appended was appended to the log of a leader that is dead.

A lane goes back to its first batch that the new leader's log has not, as far as its producer still keeps it, and from
there forward over what that log has. What is between is taken once more.

Where each batch went stands in its frame, so no ring is asked that may not have it any more. The frames are in a
producer's memory: whatever one writes there changes what becomes of its own lane, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shmlog.memory import layout
from shmlog.memory.lane import OPEN_CLOSED, LaneTerms
from shmlog.native.mapping import Mapping
from shmlog.record.header import BatchHeader

_U32 = (1 << 32) - 1
_UNKNOWN = (1 << 64) - 1
_COUNT_BITS, _END_BITS, _START_BITS = 18, 20, 25  # of the hand-off word: see native/layout.h
_PUBLISHED = (layout.FRAME_STATUS_APPENDED, layout.FRAME_STATUS_DUPLICATE)

Known = dict[tuple[int, int, int, int], tuple[int, int]]
"""Base offsets, and times as of BatchHeader.append_ms, by producer id, epoch, first sequence number and count."""


def batches_known(headers: Iterable[BatchHeader]) -> Known:
    """Those that can be told from others: that carry a producer id."""
    return {
        (one.producer_id, one.producer_epoch, one.base_sequence, one.next_offset - one.base_offset): (
            one.base_offset,
            one.append_ms,
        )
        for one in headers
        if one.producer_id >= 0
    }


@dataclass(frozen=True, slots=True)
class _Frame:
    pos: int
    next_pos: int
    count: int


def align_lane(mapping: Mapping, terms: LaneTerms, known: Known, agreed_offset: int) -> int:
    """Say in a lane what is in a log that has `known`, and up to `agreed_offset` everything that the lane says.

    Returns how many records that were said to be published are taken again. Killed anywhere, it is done again: a frame
    below the head that has no result is one of those whose lane was to go back.
    """
    lane = _Lane(mapping, terms)
    head = lane.head
    published = list(lane.frames_below(head))
    lost = next((k for k, frame in enumerate(published) if lane.is_lost(frame, agreed_offset)), len(published))
    for frame in published[lost:]:
        # Before the head goes back, and before the watermark moves: a producer that has seen the old head finds no
        # result of the old log that a watermark of the new one would confirm.
        lane.store(frame, layout.FRAME_STATUS_PENDING)
    if published[lost:]:
        mapping.store(layout.LANE_HEAD, published[lost].pos)
    pos = begun = lane.head
    while (next_one := lane.frame_at(pos)) is not None and (found := lane.find(next_one, known)) is not None:
        mapping.store(lane.at(pos) + layout.FRAME_BASE_OFFSET, found[0])
        mapping.store(lane.at(pos) + layout.FRAME_APPEND_MS, found[1])
        lane.store(next_one, layout.FRAME_STATUS_APPENDED)
        pos = next_one.next_pos
    if pos != begun:
        mapping.store(layout.LANE_HEAD, pos)
    return sum(frame.count for frame in published[lost:] if frame.pos >= pos)


class _Lane:
    def __init__(self, mapping: Mapping, terms: LaneTerms) -> None:
        self._mapping = mapping
        self._terms = terms
        self._data_bytes = mapping.size_bytes - layout.LANE_DATA

    @property
    def head(self) -> int:
        return self._mapping.load(layout.LANE_HEAD) & ~7  # its producer may have stored anything

    def at(self, pos: int) -> int:
        return layout.LANE_DATA + pos % self._data_bytes

    def store(self, frame: _Frame, status: int) -> None:
        self._mapping.store(self.at(frame.pos) + layout.FRAME_STATUS, status)

    def frames_below(self, head: int) -> Iterator[_Frame]:
        """Those that the producer keeps."""
        pos = self._mapping.load(layout.LANE_FREE) & ~7
        if not 0 <= head - pos <= self._data_bytes:
            return
        while pos < head:
            end, count = self._size_of(pos)
            next_pos = pos + (end + 7 & ~7)
            if not (layout.FRAME_BYTES < end and next_pos <= head):
                return
            yield _Frame(pos, next_pos, count)
            pos = next_pos

    def frame_at(self, pos: int) -> _Frame | None:
        """The frame at the head, if its batch can change no more."""
        word = self._mapping.load(layout.LANE_OPEN)
        ahead = (word >> 64 - _START_BITS) - (pos >> 3) & (1 << _START_BITS) - 1
        if ahead * 8 > self._data_bytes or (ahead == 0 and not (word & OPEN_CLOSED and word & (1 << _COUNT_BITS) - 1)):
            return None
        end, count = self._size_of(pos)
        next_pos = pos + (end + 7 & ~7)
        if end <= layout.FRAME_BYTES or next_pos - pos > (ahead * 8 or self._data_bytes):
            return None
        return _Frame(pos, next_pos, count)

    def _size_of(self, pos: int) -> tuple[int, int]:
        """Length and count: of the open batch the word has them, as long as its producer has begun no other one."""
        word = self._mapping.load(layout.LANE_OPEN)
        if word >> 64 - _START_BITS == pos >> 3 & (1 << _START_BITS) - 1 and word & (1 << _COUNT_BITS) - 1:
            return word >> _COUNT_BITS & (1 << _END_BITS) - 1, word & (1 << _COUNT_BITS) - 1
        sizes = self._mapping.load(self.at(pos) + layout.FRAME_LENGTH)
        return sizes & _U32, sizes >> 32

    def is_lost(self, frame: _Frame, agreed_offset: int) -> bool:
        """Whether the log that ends its agreement there has not what this frame's result says."""
        status = self._mapping.load(self.at(frame.pos) + layout.FRAME_STATUS) & _U32
        if status == layout.FRAME_STATUS_PENDING:
            return True
        base_offset = self._mapping.load(self.at(frame.pos) + layout.FRAME_BASE_OFFSET)
        return status in _PUBLISHED and agreed_offset <= base_offset != _UNKNOWN

    def find(self, frame: _Frame, known: Known) -> tuple[int, int] | None:
        sequence = self._mapping.load(self.at(frame.pos) + layout.FRAME_BASE_SEQUENCE) & _U32
        return known.get((self._terms.producer_id, self._terms.producer_epoch, sequence, frame.count))

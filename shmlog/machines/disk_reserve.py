"""Who makes room on a disk with less free than disk.reserve.bytes, and whether its logs take records meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class OldSegment(NamedTuple):
    """A segment that is not written to any more. `size_bytes`: what deleting it frees on this disk."""

    end_offset: int
    size_bytes: int
    newest_ms: int


@dataclass(frozen=True, slots=True)
class ReserveDecision:
    """`delete_below`: where each log is to begin now, by partition id. `refuses`: no records until there is room."""

    delete_below: Mapping[int, int]
    refuses: bool


def decide_reserve(free_bytes: int, reserve_bytes: int, logs: Mapping[int, Iterable[OldSegment]]) -> ReserveDecision:
    """What to do about a disk with `free_bytes`.

    `logs`: by partition id, oldest segment first, what may go early, because its topic's retention will delete it
    anyway; no more of them is looked at than goes, and one of each. The segment whose newest record is the oldest goes
    first, whoever's it is. Records are refused if all of that is not enough.
    """
    delete_below: dict[int, int] = {}
    if free_bytes >= reserve_bytes:
        return ReserveDecision(delete_below, refuses=False)
    turns = {partition_id: iter(segments) for partition_id, segments in logs.items()}
    waiting: list[tuple[int, int, OldSegment]] = []
    for partition_id, segments in turns.items():
        _push_next(waiting, partition_id, segments)
    while waiting and free_bytes < reserve_bytes:
        _, partition_id, segment = heapq.heappop(waiting)
        delete_below[partition_id] = segment.end_offset
        free_bytes += segment.size_bytes
        _push_next(waiting, partition_id, turns[partition_id])
    return ReserveDecision(delete_below, refuses=free_bytes < reserve_bytes)


def _push_next(waiting: list[tuple[int, int, OldSegment]], partition_id: int, segments: Iterator[OldSegment]) -> None:
    segment = next(segments, None)
    if segment is not None:
        heapq.heappush(waiting, (segment.newest_ms, partition_id, segment))

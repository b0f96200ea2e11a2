"""Which whole segments of a partition may go: Kafka's rules for cleanup.policy=delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shmlog.settings import TopicConfig


class SegmentFacts(Protocol):
    """What retention must know of a segment; log.SegmentInfo has it. `max_timestamp_ms` -1: no record has a time."""

    @property
    def base_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def max_timestamp_ms(self) -> int: ...
    @property
    def created_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """`delete`: base offsets, oldest first. `roll_first`: the active segment is among them: begin a new one before."""

    delete: tuple[int, ...]
    roll_first: bool


def decide_retention(
    segments: Sequence[SegmentFacts],
    config: TopicConfig,
    *,
    now_ms: int,
    log_end_offset: int,
    high_watermark: int,
) -> RetentionDecision:
    """What may be deleted of `segments` (oldest first, the active one last).

    Always a prefix, so that the log has no hole; nothing at or above the high watermark; an empty active segment stays.
    """
    ends = [segment.base_offset for segment in segments[1:]] + [log_end_offset]
    excess_bytes = sum(segment.size_bytes for segment in segments) - config.retention_bytes
    delete: list[int] = []
    for segment, end_offset in zip(segments, ends, strict=True):
        if end_offset > high_watermark or end_offset == segment.base_offset:
            break
        too_old = 0 <= config.retention_ms < now_ms - _newest_ms(segment)
        too_much = config.retention_bytes >= 0 and excess_bytes >= segment.size_bytes
        if not (too_old or too_much):
            break
        excess_bytes -= segment.size_bytes
        delete.append(segment.base_offset)
    return RetentionDecision(tuple(delete), roll_first=0 < len(delete) == len(segments))


def _newest_ms(segment: SegmentFacts) -> int:
    return segment.max_timestamp_ms if segment.max_timestamp_ms >= 0 else segment.created_ms

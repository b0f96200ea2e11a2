"""Which whole segments of a partition may go: Kafka's rules for cleanup.policy=delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise
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
    segments: Iterable[SegmentFacts],
    config: TopicConfig,
    *,
    size_bytes: int,
    now_ms: int,
    log_end_offset: int,
    high_watermark: int,
    size_limit_bytes: int = -1,
    log_start_offset: int = 0,
) -> RetentionDecision:
    """What may be deleted of `segments` (oldest first, the active one last), which have `size_bytes` together.

    Takes no more of them than it needs: facts of a segment cost a look at its files. The size does not matter without
    a limit: `retention.bytes`, or `size_limit_bytes`, the log's share of retention.topic.bytes, -1 for none. Always a
    prefix, so that the log has no hole; nothing at or above the high watermark; an empty active segment stays. What
    lies before `log_start_offset` was deleted by somebody, and goes under every cleanup.policy.
    """
    may_delete = "delete" in config.cleanup_policy
    limits = [limit for limit in (config.retention_bytes, size_limit_bytes) if limit >= 0]
    excess_bytes = size_bytes - min(limits, default=size_bytes)
    delete: list[int] = []
    following: SegmentFacts | None
    for segment, following in pairwise(chain(segments, (None,))):
        assert segment is not None
        end_offset = following.base_offset if following is not None else log_end_offset
        if end_offset > high_watermark or end_offset == segment.base_offset:
            break
        too_old = may_delete and 0 <= config.retention_ms < now_ms - _newest_ms(segment)
        too_much = may_delete and bool(limits) and excess_bytes >= segment.size_bytes
        if not (too_old or too_much or end_offset <= log_start_offset):
            break
        excess_bytes -= segment.size_bytes
        delete.append(segment.base_offset)
        if following is None:
            return RetentionDecision(tuple(delete), roll_first=True)
    return RetentionDecision(tuple(delete), roll_first=False)


def _newest_ms(segment: SegmentFacts) -> int:
    return segment.max_timestamp_ms if segment.max_timestamp_ms >= 0 else segment.created_ms

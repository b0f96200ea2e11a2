"""When a log is compacted, and which of its segments: Kafka's rules for cleanup.policy=compact.

    base  0        first dirty                    end                 active
          [ clean ][ dirty, cleanable            ][ not yet, or never ][ ...

Clean was cleaned before. What is dirty is cleaned as far as it is sealed, below the high watermark, and older than
min.compaction.lag.ms; whole segments only. It is done when enough of the log is dirty (min.cleanable.dirty.ratio), when
something dirty is older than max.compaction.lag.ms, and, which Kafka leaves until there is enough new data, when all
tombstones of the clean part have been kept for as long as readers were promised.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from shmlog.limits import INDEX_BYTES_MAX, RELATIVE_MAX
from shmlog.settings import TopicConfig

Reason = Literal["ratio", "lag", "tombstones"]


class SegmentFacts(Protocol):
    """What compaction must know of a segment, without reading its records."""

    @property
    def base_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def index_bytes(self) -> int: ...
    @property
    def time_index_bytes(self) -> int: ...
    @property
    def first_timestamp_ms(self) -> int:
        """Of its first batch, the largest; 0 or less when there is none."""

    @property
    def max_timestamp_ms(self) -> int:
        """The largest of its records; the file's own time if none has one."""


@dataclass(frozen=True, slots=True)
class CompactionDecision:
    """What is to be cleaned. Offsets count records; a group of segments becomes one."""

    first_dirty_offset: int
    """Records from here on say which older ones are out of date."""
    end_offset: int
    """Where the first segment begins that is left alone."""
    groups: tuple[tuple[int, ...], ...]
    """Base offsets of all segments before `end_offset`, in order."""
    dirty_ratio: float
    """Part of the bytes that is dirty: where several logs wait, the largest goes first."""
    reason: Reason
    delete_retention_ms: int
    index_interval_bytes: int


def decide_compaction(
    segments: Sequence[SegmentFacts],
    config: TopicConfig,
    *,
    now_ms: int,
    first_dirty_offset: int,
    uncleanable_offset: int,
    delete_horizon_ms: int = 0,
) -> CompactionDecision | None:
    """What to clean of `segments` (oldest first, the active one last); None: nothing now.

    `first_dirty_offset` and `delete_horizon_ms` are the checkpoint's. An offset that is in front of the log, or behind
    the begin of its active segment because the log was cut, counts as never cleaned. Nothing at or above
    `uncleanable_offset` is touched: the high watermark, or where the first open transaction begins.
    """
    if "compact" not in config.cleanup_policy or not segments:
        return None
    bases = [segment.base_offset for segment in segments]
    if not bases[0] <= first_dirty_offset <= bases[-1]:
        first_dirty_offset = bases[0]
    dirty_from = _holding(bases, first_dirty_offset)
    end = _first_uncleanable(segments, bases, dirty_from, config, now_ms, first_dirty_offset, uncleanable_offset)
    clean_bytes = sum(segment.size_bytes for segment in segments[: bisect_left(bases, first_dirty_offset)])
    dirty_bytes = sum(segment.size_bytes for segment in segments[dirty_from:end])
    if not end or not clean_bytes + dirty_bytes:
        return None
    ratio = dirty_bytes / (clean_bytes + dirty_bytes)
    reason: Reason
    if dirty_bytes and _is_overdue(segments[dirty_from:-1], config, now_ms):
        reason = "lag"
    elif ratio > config.min_cleanable_dirty_ratio:
        reason = "ratio"
    elif 0 < delete_horizon_ms <= now_ms:
        reason = "tombstones"
    else:
        return None
    return CompactionDecision(
        first_dirty_offset=first_dirty_offset,
        end_offset=bases[end],
        groups=group_segments(segments[:end], config.segment_bytes, bases[end]),
        dirty_ratio=ratio,
        reason=reason,
        delete_retention_ms=config.delete_retention_ms,
        index_interval_bytes=config.index_interval_bytes,
    )


def group_segments(
    segments: Sequence[SegmentFacts], segment_bytes: int, end_offset: int
) -> tuple[tuple[int, ...], ...]:
    """Base offsets of `segments`, those that become one segment together, so that compaction does not leave ever
    smaller files: as many as fit by their sizes before, and whose offsets a segment's indexes can name.

    Where one ends is told by where the next begins, and of the last by `end_offset`. An empty one needs no room.
    """
    groups: list[list[int]] = []
    log_bytes = index_bytes = time_index_bytes = 0
    for number, segment in enumerate(segments):
        log_bytes += segment.size_bytes
        index_bytes += segment.index_bytes
        time_index_bytes += segment.time_index_bytes
        last_offset = (segments[number + 1].base_offset if number + 1 < len(segments) else end_offset) - 1
        if (
            groups
            and log_bytes <= segment_bytes
            and index_bytes <= INDEX_BYTES_MAX
            and time_index_bytes <= INDEX_BYTES_MAX
            and (segment.size_bytes == 0 or last_offset - groups[-1][0] <= RELATIVE_MAX)
        ):
            groups[-1].append(segment.base_offset)
        else:
            groups.append([segment.base_offset])
            log_bytes = segment.size_bytes
            index_bytes, time_index_bytes = segment.index_bytes, segment.time_index_bytes
    return tuple(tuple(group) for group in groups)


def _first_uncleanable(
    segments: Sequence[SegmentFacts],
    bases: Sequence[int],
    dirty_from: int,
    config: TopicConfig,
    now_ms: int,
    first_dirty_offset: int,
    uncleanable_offset: int,
) -> int:
    """Number of the first segment that is left alone: the active one, or one with something above the limit, or the
    first dirty one that is too young."""
    limit = uncleanable_offset
    if config.min_compaction_lag_ms > 0:
        for segment in segments[dirty_from:-1]:
            if segment.max_timestamp_ms > now_ms - config.min_compaction_lag_ms:
                limit = min(limit, segment.base_offset)
                break
    return _holding(bases, max(limit, first_dirty_offset))


def _is_overdue(dirty: Sequence[SegmentFacts], config: TopicConfig, now_ms: int) -> bool:
    oldest_ms = min((one.first_timestamp_ms for one in dirty if one.first_timestamp_ms > 0), default=now_ms)
    return oldest_ms < now_ms - config.max_compaction_lag_ms


def _holding(bases: Sequence[int], offset: int) -> int:
    """Number of the segment that has `offset`, or would have."""
    return bisect_right(bases, offset) - 1

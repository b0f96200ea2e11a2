"""When a segment is full, or old, and whether the next one may begin where it is asked to."""

from __future__ import annotations

from shmlog.errors import InvalidRequestError
from shmlog.limits import INDEX_BYTES_MAX, RELATIVE_MAX
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.storage import Storage
from shmlog.native.segment import SegmentWriter
from shmlog.settings import TopicConfig


def is_full(writer: SegmentWriter, config: TopicConfig, age_ms: int, incoming_bytes: int) -> bool:
    """Whether so many more bytes belong into a new segment, by size, age, indexes or offsets. An empty one is not."""
    age_max_ms = config.segment_ms
    if "compact" in config.cleanup_policy:  # an active segment is never compacted
        age_max_ms = min(age_max_ms, config.max_compaction_lag_ms)
    index_entries = incoming_bytes // max(1, config.index_interval_bytes) + 1
    return writer.size_bytes > 0 and (
        writer.size_bytes + incoming_bytes > min(config.segment_bytes, RELATIVE_MAX)
        or age_ms >= age_max_ms
        or writer.index_bytes + 8 * index_entries > INDEX_BYTES_MAX
        or writer.time_index_bytes + 12 * (index_entries + 1) > INDEX_BYTES_MAX
        or writer.next_offset + incoming_bytes - writer.base_offset > RELATIVE_MAX  # a record has over one byte
    )


def require_next(storage: Storage, directory: str, end_offset: int, next_offset: int) -> None:
    """Raise InvalidRequestError unless a log that ends at `end_offset` may go on at `next_offset`: there, or behind a
    hole that compaction has left."""
    if next_offset == end_offset:
        return
    if not end_offset < next_offset <= dense_from(storage, directory):
        raise InvalidRequestError(f"the log ends at offset {end_offset}, not at {next_offset}")

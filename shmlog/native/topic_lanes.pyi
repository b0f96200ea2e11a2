"""What a producer knows of one topic: its lanes there, and what the topic demands of records."""

from typing import final

from shmlog.native.lane import LaneWriter
from shmlog.record_terms import RecordTerms

@final
class TopicLanes:
    """The lanes of one producer to one topic, by partition; None where none is open yet."""

    topic: str
    partition_count: int
    lanes: list[LaneWriter | None]
    terms: RecordTerms
    """What was heard last. The owner, which hears of changes at once, has the last word."""

    def __init__(self, topic: str, partition_count: int, terms: RecordTerms, heard_ms: int) -> None: ...
    def hear(self, partition_count: int, terms: RecordTerms, heard_ms: int) -> None:
        """That is how it was at `heard_ms` (wall time). The send that finds this METADATA_MAX_AGE_MS ago, or to come
        because the clock was put back, asks again."""

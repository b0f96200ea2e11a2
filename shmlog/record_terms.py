"""What a topic demands of the times and keys of records, and the words in which a record is refused.

Owners refuse whole batches, as Kafka's brokers do. So producers look at each record before they accept it.
"""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.errors import InvalidRecordError, InvalidTimestampError, ShmlogError, by_code
from shmlog.setting import LONG_MAX
from shmlog.settings import TopicConfig

BEFORE = "message.timestamp.before.max.ms"
AFTER = "message.timestamp.after.max.ms"


@dataclass(frozen=True, slots=True)
class RecordTerms:
    """Of one topic. Times in milliseconds: how far a record may be in the past and in the future; LONG_MAX: any."""

    topic: str
    before_max_ms: int
    after_max_ms: int
    needs_keys: bool

    @classmethod
    def of(cls, topic: str, config: TopicConfig) -> RecordTerms:
        """Times that the topic's LogAppendTime replaces have no bounds."""
        if config.stamps_log_append_time:
            return cls(topic, LONG_MAX, LONG_MAX, config.is_compacted)
        before, after = config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms
        return cls(topic, before, after, config.is_compacted)

    def check(self, timestamp_ms: int, has_key: bool, now_ms: int) -> None:
        """Raise InvalidRecordError or InvalidTimestampError if a record is refused at `now_ms`."""
        if self.needs_keys and not has_key:
            raise InvalidRecordError(
                f"a record without a key: topic {self.topic!r} is compacted (cleanup.policy), which keeps the newest"
                " record of each key. Send a key"
            )
        if timestamp_ms < now_ms - self.before_max_ms:
            raise self._untimely(timestamp_ms, now_ms - timestamp_ms, "old", BEFORE, self.before_max_ms)
        if timestamp_ms > now_ms + self.after_max_ms:
            raise self._untimely(timestamp_ms, timestamp_ms - now_ms, "ahead", AFTER, self.after_max_ms)

    def _untimely(self, timestamp_ms: int, by_ms: int, how: str, setting: str, limit_ms: int) -> InvalidTimestampError:
        return InvalidTimestampError(
            f"timestamp_ms={timestamp_ms} is {by_ms} ms {how}, topic {self.topic!r} takes {limit_ms} ({setting}): give"
            " milliseconds since 1970, or raise the setting"
        )


def batch_refusal(topic: str, partition: int, count: int, code: int) -> ShmlogError:
    """The error for `count` records that their owner has refused with Kafka's error code `code`."""
    error = by_code(code)
    why = ""
    if error is InvalidRecordError:
        why = f": one has no key, and topic {topic!r} is compacted (cleanup.policy). Send them again with keys"
    elif error is InvalidTimestampError:
        why = (
            f": the time of one is outside of what {BEFORE} and {AFTER} of topic {topic!r} allow. Send the others"
            " again, or raise the setting"
        )
    return error(f"{topic}-{partition} refused a batch of {count} records{why}")

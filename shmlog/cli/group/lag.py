"""How far a consumer group is behind, partition by partition: in records, and in the time since they were written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shmlog import Cluster, Consumer, TopicPartition
    from shmlog.client.group_results import ConsumerGroupDescription, GroupMemberInfo

READ_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """`end` is the high watermark, None while the partition has no owner; `lag` counts records that can be read and are
    not committed; `lag_seconds` is the age of the first of them, 0 if there is none. None: not known."""

    place: TopicPartition
    committed: int | None
    end: int | None
    lag: int | None
    lag_seconds: float | None
    member: GroupMemberInfo | None
    metadata: str
    committed_ms: int | None

    def row(self) -> dict[str, object]:
        """For -o json, and by column for tables."""
        member = self.member
        return {
            "topic": self.place.topic,
            "partition": self.place.partition,
            "committed": self.committed,
            "end": self.end,
            "lag": self.lag,
            "lag_seconds": None if self.lag_seconds is None else round(self.lag_seconds, 3),
            "member_id": None if member is None else member.member_id,
            "client": None if member is None else member.client_name or str(member.client_id),
            "pid": None if member is None or not member.pid else member.pid,
            "metadata": self.metadata,
            "committed_ms": self.committed_ms,
        }


class LagMeter:
    """Measures as often as it is asked. `now_ms`: the clock that records have their times of."""

    def __init__(self, cluster: Cluster, now_ms: Callable[[], float] = lambda: time.time() * 1000) -> None:
        self._cluster = cluster
        self._consumer: Consumer | None = None
        self._now_ms = now_ms

    def measure(self, group: ConsumerGroupDescription) -> list[PartitionLag]:
        """What the group has committed or reads, who has most to read first."""
        counts = self._cluster.metrics()
        readers = group.readers
        found = []
        for place in {*group.offsets, *readers}:
            known = group.offsets.get(place)
            counters = counts.get(place)
            end = None if counters is None else counters["high_watermark"]
            lag: int | None = None
            seconds: float | None = None
            if known is not None and counters is not None and end is not None:
                first = min(max(known.offset, counters["log_start_offset"]), end)
                lag = end - first
                seconds = self._age_s(place, first) if lag else 0.0
            found.append(
                PartitionLag(
                    place,
                    None if known is None else known.offset,
                    end,
                    lag,
                    seconds,
                    readers.get(place),
                    "" if known is None else known.metadata,
                    group.commit_ms.get(place),
                )
            )
        return sorted(found, key=lambda one: (-1 if one.lag is None else -one.lag - 2, one.place))

    def _age_s(self, place: TopicPartition, offset: int) -> float | None:
        """How long ago the first record from `offset` on was written, by its own time; None if it cannot be read."""
        if self._consumer is None:
            self._consumer = self._cluster.consumer()
        self._consumer.assign([place])
        self._consumer.seek(place, offset)
        for record in self._consumer.poll(max_records=1, timeout=READ_TIMEOUT_S):
            return max(0.0, (self._now_ms() - record.timestamp_ms) / 1000)
        return None

    def close(self) -> None:
        """Close the consumer that looked at records."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def total(lags: Iterable[PartitionLag]) -> tuple[int, float]:
    """Records of all partitions, and the largest of the times."""
    known = list(lags)
    return sum(one.lag or 0 for one in known), max((one.lag_seconds or 0.0 for one in known), default=0.0)

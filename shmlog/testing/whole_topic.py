"""All that a topic has, for tests: whoever reads until nothing comes for a while misses what comes a moment later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shmlog.errors import LeaderNotAvailableError
from shmlog.model import TopicPartition
from shmlog.testing.waiting import wait_until

if TYPE_CHECKING:
    from shmlog.client.api import Cluster, Consumer
    from shmlog.native.records import Record

QUIET_S: Final = 0.3
"""After everything was read, so long more is waited for, which should not be there."""

POLLED_MAX: Final = 10_000


def read_all(cluster: Cluster, topic: str, *, at_least: int = 0, timeout_s: float = 60.0) -> list[Record]:
    """The records of a topic, up to where the owners of its partitions say that they end; of each partition in order.

    Waits for owners that are starting, and for `at_least` so many records, which may still be on their way. Raises
    TimeoutError.
    """
    found: list[Record] = []
    with cluster.consumer(topic) as consumer:

        def is_read() -> bool:
            found.extend(consumer.poll(POLLED_MAX, timeout=0.02))
            return len(found) >= at_least and all(_is_at_its_end(consumer, one) for one in consumer.assignment())

        wait_until(is_read, timeout_s=timeout_s, what=f"all of topic {topic!r}, with {at_least} records or more")
        while more := consumer.poll(POLLED_MAX, timeout=QUIET_S):
            found.extend(more)
    return found


def _is_at_its_end(consumer: Consumer, partition: TopicPartition) -> bool:
    try:
        return consumer.position(partition) >= consumer.watermarks(partition).high
    except LeaderNotAvailableError:
        return False

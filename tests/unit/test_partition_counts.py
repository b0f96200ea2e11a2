"""When producers count a topic's partitions again: by the wall clock, which may be put back."""

from __future__ import annotations

import pytest

from shmlog.clock import wall_ms
from shmlog.limits import CLOCK_STEP_MS, METADATA_MAX_AGE_MS
from shmlog.testing.partition_rig import TOPIC_NAME
from shmlog.testing.rig_producer import RigConnection, producer_of


@pytest.mark.parametrize(
    ("counted_ms_ago", "noticed"),
    [(0, 1), (METADATA_MAX_AGE_MS, 2), (-3_600_000, 2), (-METADATA_MAX_AGE_MS, 2), (-CLOCK_STEP_MS // 2, 1)],
)
def test_added_partitions_are_noticed_once_the_count_is_old_or_of_a_time_that_is_to_come(
    connection: RigConnection, counted_ms_ago: int, noticed: int
) -> None:
    """Regression: after the clock was put back by an hour, they stayed unnoticed for an hour."""
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1", partition=0)
    lanes = producer.topics[TOPIC_NAME]
    connection.partitions = 2
    lanes.hear(1, lanes.terms, wall_ms() - counted_ms_ago)
    producer.send(TOPIC_NAME, b"2", partition=0)
    assert lanes.partition_count == noticed

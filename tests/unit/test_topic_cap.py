"""What a topic may have over all of its partitions: shares, rounds of retention, and which topics have a cap at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.control.messages import ApplyRetention, LogSize
from shmlog.machines.topic_cap import level_bytes
from shmlog.settings import TopicConfig, effective
from shmlog.supervisor.retention import Retention

DEFAULT = 64 << 30


def test_the_largest_partitions_are_cut_to_one_level_and_the_others_stay() -> None:
    assert level_bytes([100, 10, 90], 110) == 50
    assert level_bytes([100, 10, 90], 200) is None
    assert level_bytes([5, 5], 0) == 0


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 5000))
def test_shares_never_exceed_the_cap_and_waste_less_than_a_byte_for_each(sizes: list[int], cap: int) -> None:
    level = level_bytes(sizes, cap)
    if level is None:
        assert sum(sizes) <= cap
    else:
        kept = sum(min(size, level) for size in sizes)
        assert cap - len(sizes) < kept <= cap < sum(sizes)


@pytest.mark.parametrize(
    ("cluster", "own", "cap"),
    [
        ({}, {}, DEFAULT),
        ({}, {"retention.ms": "5"}, -1),
        ({"retention.bytes": "5"}, {}, -1),
        ({"retention.ms": "5"}, {"retention.topic.bytes": "7"}, 7),
        ({"retention.topic.bytes": "9"}, {"retention.ms": "5"}, 9),
        ({}, {"cleanup.policy": "compact"}, -1),
        ({}, {"cleanup.policy": "compact,delete", "retention.topic.bytes": "7"}, 7),
    ],
)
def test_the_default_cap_holds_only_where_nobody_has_said_how_much_is_kept(
    cluster: dict[str, str], own: dict[str, str], cap: int
) -> None:
    assert TopicConfig.from_mapping(effective(cluster, own)).topic_cap_bytes == cap


class Round:
    """Retention over owners that do what the test says; partitions of one topic whose cap is 100 bytes."""

    def __init__(self, partitions: int) -> None:
        self.sent: list[tuple[int, ApplyRetention]] = []
        self.running = set(range(partitions))
        topic = SimpleNamespace(topic_id="t")
        machine = SimpleNamespace(
            partition_by_id=lambda partition_id: SimpleNamespace(topic=topic),
            effective_config=lambda topic: effective({"retention.topic.bytes": "100"}),
        )
        owners: Any = SimpleNamespace(
            watchers=[],
            all_running=lambda: [SimpleNamespace(partition_id=one) for one in sorted(self.running)],
            running=lambda one: SimpleNamespace(partition_id=one) if one in self.running else None,
            send=lambda owner, order: self.sent.append((owner.partition_id, order)),
        )
        catalog: Any = SimpleNamespace(machine=machine)
        self.retention = Retention(catalog, owners)

    def begin(self) -> None:
        self.sent.clear()
        self.retention.apply()
        assert [(one, order.size_limit_bytes) for one, order in self.sent] == [
            (one, -1) for one in sorted(self.running)
        ]
        self.sent.clear()

    def limits(self) -> list[tuple[int, int]]:
        return [(partition_id, order.size_limit_bytes) for partition_id, order in self.sent]


def test_partitions_are_cut_when_all_have_said_how_large_they_are() -> None:
    cluster = Round(3)
    cluster.begin()
    cluster.retention.owner_reported(0, LogSize(90))
    cluster.retention.owner_reported(1, LogSize(20))
    assert cluster.limits() == []
    cluster.retention.owner_reported(2, LogSize(80))
    assert cluster.limits() == [(0, 40), (2, 40)]
    cluster.retention.owner_reported(2, LogSize(80))  # an answer that comes twice
    assert len(cluster.limits()) == 2


def test_a_partition_whose_owner_fails_meanwhile_is_not_waited_for() -> None:
    cluster = Round(3)
    cluster.begin()
    cluster.retention.owner_reported(0, LogSize(150))
    cluster.retention.owner_reported(1, LogSize(10))
    cluster.running.discard(2)
    cluster.retention.owner_failed(2, "StorageError", "gone")
    assert cluster.limits() == [(0, 90)]


def test_what_was_said_in_an_earlier_round_does_not_count() -> None:
    cluster = Round(2)
    cluster.begin()
    cluster.retention.owner_reported(0, LogSize(150))
    cluster.begin()
    cluster.retention.owner_reported(1, LogSize(60))
    assert cluster.limits() == []
    cluster.running.discard(0)
    cluster.retention.owner_gone(0, False, False)
    assert cluster.limits() == []

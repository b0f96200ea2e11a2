"""All of a topic is read, however late its owner or its records are."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.memory.layout import OwnerState
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, FakeCluster
from shmlog.testing.whole_topic import read_all


@pytest.fixture
def cluster(world: FakeCluster) -> Any:
    """Has nothing but consumers; `sleeps` is how often the last of them has slept."""
    made: list[Any] = []

    def consumer(*topics: str) -> Any:
        made.append(world.consumer(*topics))
        return made[-1]

    return SimpleNamespace(consumer=consumer, sleeps=lambda: made[-1].metrics()["sleeps"] if made else 0)


def test_every_record_of_every_partition_is_read(world: FakeCluster, cluster: Any) -> None:
    world.fill(20, 7, 13)
    found = [(record.partition, record.offset) for record in read_all(cluster, "flights")]
    assert sorted(found) == [(number, offset) for number, end in enumerate((20, 7, 13)) for offset in range(end)]


@pytest.mark.parametrize("late", ["the owner", "records"])
def test_what_comes_late_is_waited_for(world: FakeCluster, cluster: Any, late: str) -> None:
    world.fill(5, 0, 0)
    if late == "the owner":
        world.partitions[P0].page.state = OwnerState.RECOVERING

    def go_on() -> None:
        wait_until(lambda: cluster.sleeps() > 20)
        world.fill(8, 0, 0)
        world.partitions[P0].page.state = OwnerState.RUN

    other = threading.Thread(target=go_on)
    other.start()
    found = read_all(cluster, "flights", at_least=8 if late == "records" else 0)
    other.join()
    assert [record.offset for record in found] == list(range(8))


def test_records_that_never_come_are_an_error_that_says_how_many_were_wanted(world: FakeCluster, cluster: Any) -> None:
    world.fill(5)
    with pytest.raises(TimeoutError, match="all of topic 'flights', with 6 records or more"):
        read_all(cluster, "flights", at_least=6, timeout_s=0.05)

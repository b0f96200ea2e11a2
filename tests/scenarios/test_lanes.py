"""Sending into a running cluster: every kind of producer, and topics that change meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shmlog
from shmlog.client.cluster import NativeCluster
from shmlog.control.messages import CloseLane, Done
from shmlog.testing.whole_topic import read_all


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as started:
        started.admin.create_topic("flights", partitions=1)
        yield started


def everything(cluster: shmlog.Cluster, at_least: int) -> list[bytes]:
    return [record.value for record in read_all(cluster, "flights", at_least=at_least)]


@pytest.mark.parametrize("settings", [{}, {"enable_idempotence": False}, {"acks": 1}, {"acks": 0, "linger_ms": 5}])
def test_every_kind_of_producer_delivers_in_order(cluster: shmlog.Cluster, settings: dict[str, Any]) -> None:
    with cluster.producer(**settings) as producer:
        for number in range(3000):
            producer.send("flights", b"%d" % number)
    assert everything(cluster, 3000) == [b"%d" % number for number in range(3000)]


def test_send_many_gives_each_record_its_offset(cluster: shmlog.Cluster) -> None:
    with cluster.producer() as producer:
        deliveries = producer.send_many("flights", [b"%d" % number for number in range(1000)])
        assert [delivery.result(60.0).offset for delivery in deliveries] == list(range(1000))


def test_a_callback_learns_the_outcome(cluster: shmlog.Cluster) -> None:
    outcomes: list[int] = []
    with cluster.producer() as producer:
        for _ in range(10):
            producer.send("flights", b"x", on_delivery=lambda delivery: outcomes.append(delivery.result().offset))
    assert outcomes == list(range(10))


def test_larger_records_are_taken_once_the_limit_is_raised(cluster: shmlog.Cluster) -> None:
    large = bytes(3_000_000)
    with cluster.producer() as producer, pytest.raises(shmlog.RecordTooLargeError, match="raise max.message.bytes"):
        producer.send("flights", large)
    cluster.admin.alter_topic("flights", set={"max.message.bytes": 4_000_000})
    with cluster.producer() as producer:
        assert producer.send("flights", large).result(60.0).offset == 0
    assert everything(cluster, 1) == [large]


def test_added_partitions_are_noticed_when_one_is_named(cluster: shmlog.Cluster) -> None:
    with cluster.producer() as producer:
        producer.send("flights", b"0", partition=0).result(60.0)
        with pytest.raises(shmlog.UnknownTopicOrPartitionError, match="partitions 0 to 0"):
            producer.send("flights", b"1", partition=1)
        cluster.admin.create_partitions("flights", 2)
        assert producer.send("flights", b"1", partition=1).result(60.0).partition == 1


def test_sending_to_a_topic_that_was_deleted_says_so(cluster: shmlog.Cluster) -> None:
    with cluster.producer() as producer:
        producer.send("flights", b"1").result(60.0)
        cluster.admin.delete_topic("flights")
        with pytest.raises(shmlog.UnknownTopicOrPartitionError, match="flights"):
            producer.send("flights", b"2").result(60.0)


@pytest.mark.parametrize("linger_ms", [0, 20])
def test_lanes_closed_at_any_moment_lose_repeat_and_reorder_nothing(cluster: NativeCluster, linger_ms: int) -> None:
    """As owners do with lanes that were silent for 30 s, but again and again, in the middle of sends."""
    done = threading.Event()
    closed = 0
    with cluster.producer(linger_ms=linger_ms) as producer:

        def close_lanes() -> None:
            nonlocal closed
            while not done.is_set():
                lanes = producer.topics.get("flights")
                if lanes is not None and (lane := lanes.lanes[0]) is not None:
                    cluster.connection.request(CloseLane(0, lane.lane_id), Done)
                    closed += 1

        closing = threading.Thread(target=close_lanes)
        closing.start()
        deliveries: list[shmlog.Delivery] = []
        try:
            while closed < 25:
                deliveries += [producer.send("flights", b"%d" % (len(deliveries) + k)) for k in range(100)]
        finally:
            done.set()
            closing.join()
        producer.flush(20.0)
        assert [delivery.result(1.0).offset for delivery in deliveries] == list(range(len(deliveries)))
    assert everything(cluster, len(deliveries)) == [b"%d" % number for number in range(len(deliveries))]

"""min.insync.replicas as users meet it: what waits, what the error says, and that it comes back by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.client.results import PartitionInfo, ReplicaInfo
from shmlog.testing import wait_until

pytestmark = pytest.mark.slow

TIMEOUT_S = 60.0
CONFIG = {"min.insync.replicas": 2, "replica.lag.time.max.ms": 200}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    directories = [str(tmp_path / disk) for disk in ("a", "b")]
    with shmlog.start(tmp_path / "data", config={"log.dirs": directories}) as started:
        started.admin.create_topic("flights", replication_factor=2, config=CONFIG)
        yield started


def partition(cluster: shmlog.Cluster) -> PartitionInfo:
    return cluster.admin.describe_topic("flights").partitions[0]


@pytest.fixture
def stopped(cluster: shmlog.Cluster) -> Iterator[ReplicaInfo]:
    """The follower, which stands still and is out of sync."""
    wait_until(
        lambda: all(one.in_sync and one.state != "starting" for one in partition(cluster).replicas), timeout_s=TIMEOUT_S
    )
    (follower,) = [one for one in partition(cluster).replicas if not one.leads]
    os.kill(follower.pid, signal.SIGSTOP)
    try:
        with cluster.producer(acks="1") as producer:
            producer.send("flights", b"0", partition=0).result(TIMEOUT_S)
        wait_until(lambda: partition(cluster).under_min_isr, timeout_s=TIMEOUT_S)
        yield follower
    finally:
        os.kill(follower.pid, signal.SIGCONT)


def shmlog_says(cluster: shmlog.Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-m", "shmlog", *arguments, "--name", cluster.name]
    return subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def values(cluster: shmlog.Cluster) -> list[bytes | None]:
    with cluster.consumer("flights", consumer_timeout_ms=300) as consumer:
        return [record.value for record in consumer]


def test_a_send_to_all_replicas_waits_for_enough_of_them_and_says_which_is_missing(
    cluster: shmlog.Cluster, stopped: ReplicaInfo
) -> None:
    with (
        cluster.producer(acks="all", delivery_timeout_ms=300) as hasty,
        cluster.producer(acks="all", delivery_timeout_ms=60_000) as patient,
        cluster.producer(acks="1") as leader_alone,
    ):
        delivery = patient.send("flights", b"1", partition=0)
        wait_until(lambda: delivery.done or patient.metrics()["pending_batches"] == 1)
        assert leader_alone.send("flights", b"2", partition=0).result(TIMEOUT_S).offset >= 1
        with pytest.raises(shmlog.NotEnoughReplicasError) as caught:
            hasty.send("flights", b"3", partition=0).result(TIMEOUT_S)
        with pytest.raises(shmlog.PollTimeoutError, match="replica 1 in "):
            patient.flush(0.1)
        said = str(caught.value)
        assert "1 replica is in sync, and 2 are needed (min.insync.replicas): replica 1 in " in said
        assert f"{stopped.log_dir} is not: it is following, " in said
        assert "--config min.insync.replicas=1" in said
        assert (caught.value.code, caught.value.retriable) == (19, True)
        assert not delivery.done
        assert values(cluster) == []
        os.kill(stopped.pid, signal.SIGCONT)
        assert delivery.result(TIMEOUT_S).offset >= 1
    wait_until(lambda: len(values(cluster)) == 4, timeout_s=TIMEOUT_S)


def test_a_partition_with_too_few_in_sync_is_shown_and_goes_on_when_it_is_told_to(
    cluster: shmlog.Cluster, stopped: ReplicaInfo
) -> None:
    for command in (["status"], ["topic", "describe", "flights"]):
        said = shmlog_says(cluster, *command)
        assert "flights-0 is under min ISR (UnderMinIsr): 1 of 2 replicas are in sync" in said.stderr
    (row,) = orjson.loads(shmlog_says(cluster, "status", "-o", "json").stdout)["partitions"]
    assert (row["in_sync"], row["under_min_isr"]) == (1, True)
    with cluster.producer(acks="all") as producer:
        delivery = producer.send("flights", b"1", partition=0)
        cluster.admin.alter_topic("flights", set={"min.insync.replicas": 1})
        delivery.result(TIMEOUT_S)
    assert values(cluster) == [b"0", b"1"]
    assert "UnderMinIsr" not in shmlog_says(cluster, "status").stderr


def fill(producer: shmlog.Producer) -> None:
    """Send more than a lane and half a ring hold."""
    for _ in range(1000):
        producer.send("flights", bytes(100_000), partition=0)


def test_a_lane_that_is_full_for_want_of_replicas_says_so_at_every_level_of_acks(
    cluster: shmlog.Cluster, stopped: ReplicaInfo
) -> None:
    producer = cluster.producer(acks="1", delivery_timeout_ms=300)
    with pytest.raises(shmlog.NotEnoughReplicasError, match=r"it was not sent.*2 are needed.*replica 1 in "):
        fill(producer)
    with pytest.raises(shmlog.NotEnoughReplicasError, match=r"their outcome is unknown.*2 are needed.*replica 1 in "):
        producer.close()
    os.kill(stopped.pid, signal.SIGCONT)
    wait_until(lambda: len(values(cluster)) > 4, timeout_s=TIMEOUT_S)


def test_more_than_there_are_counts_as_all_and_is_explained(cluster: shmlog.Cluster) -> None:
    altered = cluster.admin.alter_topic("flights", set={"min.insync.replicas": 5})
    assert "is 5 and its partitions have a replication factor of 2: it counts as 2, and while one" in altered.warning
    made = cluster.admin.create_topic("alone", config={"min.insync.replicas": 2})
    assert made.warning.endswith("it counts as 1")
    with cluster.producer(acks="all") as producer:
        for topic in ("flights", "alone"):
            producer.send(topic, b"1", partition=0).result(TIMEOUT_S)

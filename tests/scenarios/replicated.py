"""Clusters with topics of two replicas, as several scenarios use them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import shmlog
from shmlog.client.results import ReplicaInfo
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

TIMEOUT_S = 60.0


@contextmanager
def cluster_at(place: Path, *, disks: tuple[str, ...] = ("a", "b")) -> Iterator[shmlog.Cluster]:
    directories = [str(place / disk) for disk in disks]
    with shmlog.start(place / "data", config={"log.dirs": directories}) as cluster:
        yield cluster


def replicas(cluster: shmlog.Cluster, topic: str = "flights", partition: int = 0) -> tuple[ReplicaInfo, ...]:
    return cluster.admin.describe_topic(topic).partitions[partition].replicas


def leader_and_follower(cluster: shmlog.Cluster) -> tuple[ReplicaInfo, ReplicaInfo]:
    leader, follower = sorted(replicas(cluster), key=lambda one: not one.leads)
    return leader, follower


def wait_for_sync(cluster: shmlog.Cluster) -> None:
    wait_until(lambda: all(one.in_sync and one.pid for one in replicas(cluster)), timeout_s=TIMEOUT_S)


def wait_for_another(cluster: shmlog.Cluster, before: ReplicaInfo) -> None:
    def has_come() -> bool:
        found = {one.replica_id: one for one in replicas(cluster)}[before.replica_id]
        return found.pid not in (0, before.pid) and found.in_sync

    wait_until(has_come, timeout_s=TIMEOUT_S)


def send(cluster: shmlog.Cluster, first: int, count: int) -> None:
    with cluster.producer(acks="all") as producer:
        deliveries = [producer.send("flights", b"%d" % number, partition=0) for number in range(first, first + count)]
        producer.flush(TIMEOUT_S)
        assert [delivery.result(TIMEOUT_S).offset for delivery in deliveries] == list(range(first, first + count))


def read(cluster: shmlog.Cluster) -> list[bytes | None]:
    return [record.value for record in read_all(cluster, "flights")]


def run(command: str, cluster: shmlog.Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-m", "shmlog", command, *arguments, "--name", cluster.name]
    return subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def files(directory: Path) -> dict[str, bytes]:
    """Logs and indexes of a replica."""
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.suffix in (".log", ".index", ".timeindex")
    }

"""Topics with two replicas: both have every record, and consumers see only what both have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.client.results import ReplicaInfo
from shmlog.testing import wait_until

pytestmark = pytest.mark.slow

TIMEOUT_S = 20.0


@contextmanager
def cluster_at(place: Path, *, disks: tuple[str, ...] = ("a", "b")) -> Iterator[shmlog.Cluster]:
    directories = [str(place / disk) for disk in disks]
    with shmlog.start(place / "data", config={"log.dirs": directories}) as cluster:
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with cluster_at(tmp_path) as started:
        yield started


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
    with cluster.consumer("flights", consumer_timeout_ms=500) as consumer:
        return [record.value for record in consumer]


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


def test_both_directories_have_every_record_byte_for_byte_also_over_rolls(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2, config={"segment.bytes": "1048576"})
        value = bytes(10_000)
        with cluster.producer() as producer:
            for _ in range(30):
                producer.send_many("flights", [value] * 10, partition=0)
                producer.flush(TIMEOUT_S)
        assert len(read(cluster)) == 300
        first, second = (Path(one.log_dir) for one in replicas(cluster))
    assert {first.parent, second.parent} == {tmp_path / "a", tmp_path / "b"}
    assert files(first) == files(second)
    assert len(files(first)) >= 9, "three segments"


def test_leaders_are_spread_over_the_directories(cluster: shmlog.Cluster, tmp_path: Path) -> None:
    cluster.admin.create_topic("flights", partitions=4, replication_factor=2)
    leaders = [one.log_dir for number in range(4) for one in replicas(cluster, partition=number) if one.leads]
    assert sorted(Path(log_dir).parent.name for log_dir in leaders) == ["a", "a", "b", "b"]


def test_a_follower_that_dies_is_out_at_once_and_another_one_catches_up(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "600000"})
    send(cluster, 0, 100)
    _, follower = leader_and_follower(cluster)
    os.kill(follower.pid, signal.SIGKILL)
    send(cluster, 100, 100)  # nobody waits for a dead one, however long a slow one is waited for
    wait_for_another(cluster, follower)
    send(cluster, 200, 1)
    assert read(cluster) == [b"%d" % number for number in range(201)]


def test_a_follower_that_stands_still_holds_acknowledgements_up_until_it_lags(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "300"})
    send(cluster, 0, 10)
    _, follower = leader_and_follower(cluster)
    os.kill(follower.pid, signal.SIGSTOP)
    try:
        with cluster.producer(acks="all") as producer, cluster.producer(acks="1") as hasty:
            delivery = producer.send("flights", b"10", partition=0)
            assert hasty.send("flights", b"11", partition=0).result(TIMEOUT_S).offset in (10, 11)
            assert delivery.result(TIMEOUT_S).offset in (10, 11)
            assert [one.in_sync for one in leader_and_follower(cluster)] == [True, False]
            shown = run("status", cluster)
            assert f"flights-0: replica 1 in {follower.log_dir} is not in sync: it is following\n" in shown.stderr
            (row,) = orjson.loads(run("status", cluster, "-o", "json").stdout)["partitions"]
            assert (row["in_sync"], row["replicas"]) == (1, 2)
            assert "1 of 2" in run("topic", cluster, "describe", "flights").stdout
    finally:
        os.kill(follower.pid, signal.SIGCONT)
    wait_for_sync(cluster)
    assert sorted(read(cluster), key=lambda value: int(value or b"")) == [b"%d" % number for number in range(12)]


def test_what_the_in_sync_set_is_outlives_supervisor_and_owners(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 50)
    shutil.move(tmp_path / "b", tmp_path / "elsewhere")
    with cluster_at(tmp_path, disks=("a", "data")) as cluster:
        leader, follower = leader_and_follower(cluster)
        wait_until(lambda: not leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
        assert leader.log_dir.startswith(str(tmp_path / "a"))
        wait_until(lambda: "directory.id" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
        assert follower.pid == 0
        send(cluster, 50, 50)
    shutil.move(tmp_path / "elsewhere", tmp_path / "b")
    with cluster_at(tmp_path) as cluster:
        wait_for_sync(cluster)
        assert read(cluster) == [b"%d" % number for number in range(100)]
        first, second = (Path(one.log_dir) for one in replicas(cluster))
    assert files(first) == files(second)


def test_a_follower_cuts_nothing_after_a_leader_that_has_lost_its_log(tmp_path: Path) -> None:
    """Regression: the leader began empty, and the only copy that was left followed it."""
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 100)
        leader, follower = leader_and_follower(cluster)
    kept = files(Path(follower.log_dir))
    shutil.rmtree(leader.log_dir)
    with cluster_at(tmp_path) as cluster:
        wait_until(lambda: "seems to have lost its log" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
    assert files(Path(follower.log_dir)) == kept
    shutil.rmtree(leader.log_dir)
    shutil.copytree(follower.log_dir, leader.log_dir)  # as the error says
    with cluster_at(tmp_path) as cluster:
        wait_for_sync(cluster)
        assert read(cluster) == [b"%d" % number for number in range(100)]


def test_an_owner_that_dies_is_replaced_and_no_acknowledged_record_is_lost(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    for turn in range(5):
        send(cluster, 100 * turn, 100)
        leader, _ = leader_and_follower(cluster)
        os.kill(leader.pid, signal.SIGKILL)
        wait_for_another(cluster, leader)
    wait_for_sync(cluster)
    send(cluster, 500, 1)
    assert read(cluster) == [b"%d" % number for number in range(501)]


def test_a_new_owner_is_believed_what_it_says_of_followers(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "300"})
    leader, follower = leader_and_follower(cluster)
    for pid in (follower.pid, leader.pid):  # both, so that the first owner was told of changes
        os.kill(pid, signal.SIGKILL)
    wait_for_another(cluster, leader)
    wait_for_another(cluster, follower)
    _, follower = leader_and_follower(cluster)
    os.kill(follower.pid, signal.SIGSTOP)
    send(cluster, 0, 10)
    assert not leader_and_follower(cluster)[1].in_sync
    os.kill(follower.pid, signal.SIGCONT)
    wait_for_sync(cluster)


def test_a_topic_that_is_deleted_leaves_neither_replica(cluster: shmlog.Cluster, tmp_path: Path) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    send(cluster, 0, 10)
    pids = [one.pid for one in replicas(cluster)]
    cluster.admin.delete_topic("flights")
    wait_until(lambda: not [path for disk in "ab" for path in (tmp_path / disk).glob("flights*")], timeout_s=TIMEOUT_S)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), timeout_s=TIMEOUT_S)
    cluster.admin.create_topic("flights", replication_factor=2)
    send(cluster, 0, 10)


def test_a_follower_that_stands_still_does_not_keep_the_cluster_from_ending(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "300"})
        _, follower = leader_and_follower(cluster)
        os.kill(follower.pid, signal.SIGSTOP)
        send(cluster, 0, 10)
    status = Path(f"/proc/{follower.pid}/status")
    assert not status.exists() or "(zombie)" in status.read_text()
    with cluster_at(tmp_path) as cluster:
        wait_for_sync(cluster)
        assert read(cluster) == [b"%d" % number for number in range(10)]


def test_settings_that_change_reach_the_followers(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    send(cluster, 0, 10)
    cluster.admin.alter_topic("flights", set={"flush.messages": "1"})
    send(cluster, 10, 10)  # acknowledged when both have synced
    assert read(cluster) == [b"%d" % number for number in range(20)]


def test_two_replicas_in_one_directory_are_made_with_a_warning(tmp_path: Path) -> None:
    with cluster_at(tmp_path, disks=("a",)) as cluster:
        made = cluster.admin.create_topic("flights", replication_factor=2)
        assert "lost together" in made.warning
        send(cluster, 0, 10)
        first, second = (Path(one.log_dir) for one in replicas(cluster))
    assert {first.name, second.name} == {"flights-0", "flights-0.r1"}
    assert files(first) == files(second)

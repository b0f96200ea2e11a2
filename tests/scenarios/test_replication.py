"""Topics with two replicas: both have every record, and consumers see only what both have."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.testing import wait_until
from tests.scenarios.replicated import (
    TIMEOUT_S,
    cluster_at,
    files,
    leader_and_follower,
    read,
    replicas,
    run,
    send,
    wait_for_another,
    wait_for_sync,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with cluster_at(tmp_path) as started:
        yield started


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
    cluster.admin.create_topic("flights", replication_factor=2, config={"file.delete.delay.ms": 0})
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

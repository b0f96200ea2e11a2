"""A log directory that goes while the cluster runs takes its replicas along, visibly, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import shmlog
from shmlog.testing import wait_until
from tests.scenarios.replicated import (
    TIMEOUT_S,
    cluster_at,
    files,
    leader_and_follower,
    read,
    send,
    wait_for_another,
    wait_for_sync,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with cluster_at(tmp_path) as started:
        started.admin.create_topic("flights", replication_factor=2)
        send(started, 0, 10)
        yield started


@contextmanager
def unmounted(disk: Path) -> Iterator[Path]:
    """What an empty mount point looks like; files that are open stay so."""
    away = disk.rename(disk.with_name("away"))
    disk.mkdir()
    yield disk
    disk.rmdir()
    away.rename(disk)


def test_a_follower_whose_disk_goes_leaves_visibly_and_comes_back_with_it(cluster: shmlog.Cluster) -> None:
    leader, follower = leader_and_follower(cluster)
    with unmounted(Path(follower.log_dir).parent) as mount_point:
        wait_until(lambda: leader_and_follower(cluster)[1].state == "waiting", timeout_s=TIMEOUT_S)
        gone = leader_and_follower(cluster)[1]
        assert (gone.in_sync, gone.pid) == (False, 0)
        assert f"{mount_point} (directory.id {follower.directory_id}), which has no meta.properties any" in gone.error
        assert leader_and_follower(cluster)[0].pid == leader.pid
        send(cluster, 10, 10)
        assert list(mount_point.iterdir()) == [], "nothing is begun in a mount point"
        (described,) = [one for one in cluster.describe().directories if one.directory_id == follower.directory_id]
        assert "mend or mount its disk" in described.error
    wait_until(lambda: leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
    assert read(cluster) == [b"%d" % number for number in range(20)]


def test_a_leader_whose_disk_goes_is_replaced_by_its_follower_and_follows_when_it_is_back(
    cluster: shmlog.Cluster,
) -> None:
    leader, follower = leader_and_follower(cluster)
    with unmounted(Path(leader.log_dir).parent) as mount_point:
        wait_until(lambda: leader_and_follower(cluster)[0].replica_id == follower.replica_id, timeout_s=TIMEOUT_S)
        send(cluster, 10, 10)
        assert list(mount_point.iterdir()) == []
        wait_until(lambda: "meta.properties" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
    wait_until(lambda: leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
    assert read(cluster) == [b"%d" % number for number in range(20)]


def test_a_partition_without_another_replica_waits_for_its_disk_and_loses_nothing(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights")
        send(cluster, 0, 10)

        def state() -> str:
            return cluster.admin.describe_topic("flights").partitions[0].state

        (partition,) = cluster.admin.describe_topic("flights").partitions
        with unmounted(Path(partition.log_dir).parent) as mount_point:
            wait_until(lambda: state() == "waiting", timeout_s=TIMEOUT_S)
            (waiting,) = cluster.admin.describe_topic("flights").partitions
            assert "has no meta.properties any more: mend or mount its disk" in waiting.error
            assert list(mount_point.iterdir()) == []
            others = cluster.admin.create_topic("other", partitions=2).partitions
            assert mount_point not in [Path(one.log_dir).parent for one in others], "no new replica goes there"
        wait_until(lambda: state() == "running", timeout_s=TIMEOUT_S)
        send(cluster, 10, 10)
        assert read(cluster) == [b"%d" % number for number in range(20)]


def unlink_all(directory: str) -> None:
    """The directory stays, and so do its files in the hands of who has them open."""
    for path in Path(directory).iterdir():
        path.unlink()


def test_a_follower_whose_files_are_removed_gets_a_new_copy(cluster: shmlog.Cluster) -> None:
    follower = leader_and_follower(cluster)[1]
    unlink_all(follower.log_dir)
    send(cluster, 10, 10)
    wait_for_another(cluster, follower)
    leader, follower = leader_and_follower(cluster)
    assert files(Path(follower.log_dir)) == files(Path(leader.log_dir))


def test_a_leader_whose_files_are_removed_is_replaced_and_nothing_is_lost(cluster: shmlog.Cluster) -> None:
    leader, follower = leader_and_follower(cluster)
    unlink_all(leader.log_dir)
    send(cluster, 10, 10)
    wait_until(lambda: leader_and_follower(cluster)[0].replica_id == follower.replica_id, timeout_s=TIMEOUT_S)
    wait_for_sync(cluster)
    send(cluster, 20, 10)
    assert read(cluster) == [b"%d" % number for number in range(30)]
    assert files(Path(follower.log_dir)) == files(Path(leader.log_dir))


@pytest.mark.parametrize("suffixes", [("",), (".log",)], ids=["all", "logs"])
def test_a_partition_without_another_replica_says_that_its_files_were_removed(
    tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights")
        send(cluster, 0, 10)
        (partition,) = cluster.admin.describe_topic("flights").partitions
        for path in Path(partition.log_dir).iterdir():
            if path.name.endswith(suffixes):
                path.unlink()
        with cluster.producer(acks=0) as producer:
            producer.send("flights", b"10", partition=0)

        def error() -> str:
            return cluster.admin.describe_topic("flights").partitions[0].error

        wait_until(lambda: "no empty one is begun in its place" in error(), timeout_s=TIMEOUT_S)
        cluster.admin.delete_topic("flights")  # else its ring may stay in memory, which has what no file has any more

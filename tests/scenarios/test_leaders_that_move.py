"""Another replica leads: because the leader's log is gone, or because somebody wants it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import shmlog
from shmlog.errors import InvalidRequestError, LeaderNotAvailableError
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
    wait_for_sync,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with cluster_at(tmp_path) as started:
        yield started


def metadata(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((directory / "__cluster_metadata-0").glob("*.log"))]


def numbers(first: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, end)]


def test_a_follower_leads_when_the_leaders_log_is_gone(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    for turn in range(4):
        leader, follower = leader_and_follower(cluster)
        shutil.rmtree(leader.log_dir)
        os.kill(leader.pid, signal.SIGKILL)
        send(cluster, 100 * turn, 100)
        after, _ = leader_and_follower(cluster)
        assert after.replica_id == follower.replica_id
        wait_for_sync(cluster)  # the leader before has made a new copy
    assert read(cluster) == numbers(0, 400)
    first, second = leader_and_follower(cluster)
    cluster.close()
    assert files(Path(first.log_dir)) == files(Path(second.log_dir))


def test_producers_and_consumers_go_on_through_a_change_of_leader(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    with cluster.producer() as producer, cluster.consumer("flights", consumer_timeout_ms=2000) as consumer:
        seen: list[bytes | None] = []
        for turn in range(6):
            for number in range(1000 * turn, 1000 * turn + 500):
                producer.send("flights", b"%d" % number, partition=0)
            leader, _ = leader_and_follower(cluster)
            if turn % 2:
                shutil.rmtree(leader.log_dir)
                os.kill(leader.pid, signal.SIGKILL)
            for number in range(1000 * turn + 500, 1000 * turn + 1000):
                producer.send("flights", b"%d" % number, partition=0)
            producer.flush(TIMEOUT_S)
            wait_for_sync(cluster)
            while len(seen) < 1000 * (turn + 1):
                records = consumer.poll(timeout=TIMEOUT_S)
                assert records
                seen += [record.value for record in records]
        assert seen == numbers(0, 6000)


def test_a_disk_that_is_missing_at_a_start_leaves_the_partition_to_the_other_replica_until_it_is_back(
    tmp_path: Path,
) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 100)
        leader, follower = leader_and_follower(cluster)
    disk = Path(leader.log_dir).parent
    away = disk.rename(tmp_path / "away")
    disk.mkdir()
    with cluster_at(tmp_path) as cluster:
        wait_until(lambda: leader_and_follower(cluster)[0].replica_id == follower.replica_id, timeout_s=TIMEOUT_S)
        send(cluster, 100, 100)
        wait_until(lambda: "its log is in" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
        assert not leader_and_follower(cluster)[1].in_sync
        assert read(cluster) == numbers(0, 200)
        disk.rmdir()
        away.rename(disk)
        wait_for_sync(cluster)
        assert [one.error for one in cluster.describe().directories] == ["", ""]
        wait_until(lambda: metadata(disk) == metadata(tmp_path / "data"), timeout_s=TIMEOUT_S)
        assert leader_and_follower(cluster)[0].replica_id == follower.replica_id
        assert read(cluster) == numbers(0, 200)


def test_a_leader_that_lost_its_log_while_the_cluster_was_down_begins_no_empty_one(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 100)
        leader, _ = leader_and_follower(cluster)
    shutil.rmtree(leader.log_dir)
    with cluster_at(tmp_path) as cluster:
        assert read(cluster) == numbers(0, 100)
        wait_for_sync(cluster)
        assert leader_and_follower(cluster)[1].replica_id == leader.replica_id


def test_without_a_replica_in_sync_the_partition_waits_and_says_for_whom(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 10)
        leader, follower = leader_and_follower(cluster)
        shutil.move(follower.log_dir, tmp_path / "kept")
        Path(follower.log_dir).touch()  # it cannot be made again
        os.kill(follower.pid, signal.SIGKILL)
        wait_until(lambda: not leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
        send(cluster, 10, 10)
        shutil.move(leader.log_dir, tmp_path / "leader")
        os.kill(leader.pid, signal.SIGKILL)

        def error() -> str:
            return cluster.admin.describe_topic("flights").partitions[0].error

        wait_until(lambda: "replica 1, not in sync, does not run" in error(), timeout_s=TIMEOUT_S)
        Path(follower.log_dir).unlink()
        shutil.move(tmp_path / "kept", follower.log_dir)
        wait_until(lambda: "unclean.leader.election.enable" in error(), timeout_s=TIMEOUT_S)
        shutil.move(tmp_path / "leader", leader.log_dir)
        wait_for_sync(cluster)
        assert read(cluster) == numbers(0, 20)


def test_an_unclean_election_loses_what_only_the_leader_had_and_says_so(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 10)
        leader, follower = leader_and_follower(cluster)
        shutil.move(follower.log_dir, tmp_path / "kept")
        Path(follower.log_dir).touch()
        os.kill(follower.pid, signal.SIGKILL)
        wait_until(lambda: not leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
        send(cluster, 10, 10)
    shutil.rmtree(leader.log_dir)
    Path(follower.log_dir).unlink()
    shutil.move(tmp_path / "kept", follower.log_dir)
    with cluster_at(tmp_path) as cluster:
        assert not replicas(cluster)[1].leads
        cluster.admin.alter_topic("flights", set={"unclean.leader.election.enable": "true"})
        wait_until(lambda: replicas(cluster)[1].leads and replicas(cluster)[1].pid != 0, timeout_s=TIMEOUT_S)
        assert read(cluster) == numbers(0, 10)
        send(cluster, 10, 5)
        wait_for_sync(cluster)


def test_a_leader_that_is_wanted_leads_and_nothing_is_lost_under_load(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2)
    with cluster.producer(acks="all") as producer:
        for turn in range(6):
            for number in range(1000 * turn, 1000 * turn + 1000):
                producer.send("flights", b"%d" % number, partition=0)
            wait_for_sync(cluster)
            cluster.admin.elect_leader("flights", 0, (turn + 1) % 2)
            assert leader_and_follower(cluster)[0].replica_id == (turn + 1) % 2
        producer.flush(TIMEOUT_S)
    assert read(cluster) == numbers(0, 6000)


def test_who_is_not_in_sync_is_not_elected(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "100"})
    _, follower = leader_and_follower(cluster)
    os.kill(follower.pid, signal.SIGSTOP)
    send(cluster, 0, 10)
    wait_until(lambda: not leader_and_follower(cluster)[1].in_sync, timeout_s=TIMEOUT_S)
    with pytest.raises(LeaderNotAvailableError, match="replica 1 cannot lead: it is not in sync"):
        cluster.admin.elect_leader("flights", 0, 1)
    with pytest.raises(InvalidRequestError, match="flights-0 has no replica 5, but"):
        cluster.admin.elect_leader("flights", 0, 5)
    os.kill(follower.pid, signal.SIGCONT)


@pytest.mark.parametrize("moved", [0, 1])
def test_a_replica_moves_to_another_disk_under_load(tmp_path: Path, moved: int) -> None:
    with cluster_at(tmp_path, disks=("a", "b", "c")) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        before = {one.replica_id: one for one in replicas(cluster)}
        with cluster.producer(acks="all") as producer:
            for number in range(2000):
                producer.send("flights", b"%d" % number, partition=0)
            cluster.admin.move_replica("flights", 0, moved, str(tmp_path / "c"))
            for number in range(2000, 4000):
                producer.send("flights", b"%d" % number, partition=0)
            wait_until(lambda: {one.replica_id for one in replicas(cluster)} == {1 - moved, 2}, timeout_s=TIMEOUT_S)
            producer.flush(TIMEOUT_S)
        wait_for_sync(cluster)
        after = {one.replica_id: one for one in replicas(cluster)}
        assert Path(after[2].log_dir).parent == tmp_path / "c"
        assert read(cluster) == numbers(0, 4000)
        wait_until(lambda: not Path(before[moved].log_dir).exists(), timeout_s=TIMEOUT_S)
    assert files(Path(after[2].log_dir)) == files(Path(after[1 - moved].log_dir))
    with cluster_at(tmp_path, disks=("a", "b", "c")) as cluster:
        assert read(cluster) == numbers(0, 4000)


def test_a_topic_with_one_replica_moves_too(tmp_path: Path) -> None:
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights")
        send(cluster, 0, 1000)
        (before,) = replicas(cluster)
        target = {str(tmp_path / "a"), str(tmp_path / "b")} - {str(Path(before.log_dir).parent)}
        cluster.admin.move_replica("flights", 0, 0, target.pop())
        wait_until(lambda: [one.replica_id for one in replicas(cluster)] == [1], timeout_s=TIMEOUT_S)
        send(cluster, 1000, 10)
        assert read(cluster) == numbers(0, 1010)
        cluster.admin.delete_topic("flights")
        wait_until(lambda: not any((tmp_path / disk / "flights-0").exists() for disk in "ab"), timeout_s=TIMEOUT_S)


def test_a_move_goes_on_when_the_cluster_comes_back(tmp_path: Path) -> None:
    with cluster_at(tmp_path, disks=("a", "b", "c")) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 100)
        leader, _ = leader_and_follower(cluster)
        (tmp_path / "c" / "flights-0").touch()  # the new replica cannot begin
        cluster.admin.move_replica("flights", 0, leader.replica_id, str(tmp_path / "c"))
        wait_until(lambda: len(replicas(cluster)) == 3, timeout_s=TIMEOUT_S)
    (tmp_path / "c" / "flights-0").unlink()
    with cluster_at(tmp_path, disks=("a", "b", "c")) as cluster:
        wait_until(lambda: {one.replica_id for one in replicas(cluster)} == {1, 2}, timeout_s=TIMEOUT_S)
        assert read(cluster) == numbers(0, 100)


def test_a_disk_is_drained_from_the_command_line(tmp_path: Path) -> None:
    with cluster_at(tmp_path, disks=("a", "b", "c")) as cluster:
        cluster.admin.create_topic("flights", partitions=3, replication_factor=2)
        done = run("replica", cluster, "drain", str(tmp_path / "a"))
        assert done.returncode == 0, done.stderr
        assert "2 replicas moved out of" in done.stdout
        assert not [path for path in (tmp_path / "a").iterdir() if path.is_dir() and path.name.startswith("flights")]
        for number in range(3):
            assert len({Path(one.log_dir).parent for one in replicas(cluster, partition=number)}) == 2
        done = run("replica", cluster, "elect", "flights")
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_leader_whose_disk_is_full_leaves_the_lead_to_one_that_has_room(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", tmp_path / "a"], check=True)
    try:
        with cluster_at(tmp_path) as cluster:
            cluster.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "200"})
            leader, follower = leader_and_follower(cluster)
            assert Path(leader.log_dir).parent == tmp_path / "a"
            with cluster.producer(acks="all") as producer:
                for number in range(6000):
                    producer.send("flights", b"%d;" % number + bytes(1000), partition=0)
                producer.flush(TIMEOUT_S)
            after, full = leader_and_follower(cluster)
            assert after.replica_id == follower.replica_id
            assert not full.in_sync
            wait_until(lambda: "No space left on device" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
            found = [int(value.split(b";")[0]) for value in read(cluster) if value]
            assert found == list(range(6000))
            subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / "a"], check=True)
            wait_for_sync(cluster)
    finally:
        subprocess.run(["umount", "-l", tmp_path / "a"], check=True)


def test_the_last_follower_in_sync_may_die_before_it_leads(tmp_path: Path) -> None:
    """Regression: it left the set, and nobody could lead any more though it had everything."""
    with cluster_at(tmp_path) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        send(cluster, 0, 100)
        leader, follower = leader_and_follower(cluster)
    shutil.rmtree(leader.log_dir)
    shutil.move(follower.log_dir, tmp_path / "kept")
    with cluster_at(tmp_path) as cluster:
        wait_until(lambda: "counts as in sync" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
        assert not Path(follower.log_dir).exists()  # an empty one would have led, and 100 records were gone
        shutil.move(tmp_path / "kept", follower.log_dir)
        assert read_when_led(cluster) == numbers(0, 100)
        wait_for_sync(cluster)


def read_when_led(cluster: shmlog.Cluster) -> list[bytes | None]:
    wait_until(lambda: cluster.admin.describe_topic("flights").partitions[0].state == "running", timeout_s=TIMEOUT_S)
    return read(cluster)

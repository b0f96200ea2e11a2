"""Followers that live and do nothing, or whose replica regions somebody has spoiled, are killed and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.client.results import ReplicaInfo
from shmlog.memory import layout, names, region
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

pytestmark = pytest.mark.slow

TIMEOUT_S = 60.0
CONFIG = '[cluster]\nlog.dirs = ["{0}/a", "{0}/b"]\nowner.unresponsive.ms = 1500\n'


@pytest.fixture
def cluster(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[shmlog.Cluster]:
    """One partition with two replicas, ten records."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.config = CONFIG.format(real_daemon.directory)
    real_daemon.start()
    with shmlog.connect("t") as connected:
        connected.admin.create_topic("flights", replication_factor=2, config={"replica.lag.time.max.ms": "300"})
        send(connected, 0)
        yield connected


def send(cluster: shmlog.Cluster, first: int) -> None:
    with cluster.producer(acks="all") as producer:
        for number in range(first, first + 10):
            assert producer.send("flights", b"%d" % number).result(TIMEOUT_S).offset == number


def replicas(cluster: shmlog.Cluster) -> tuple[ReplicaInfo, ReplicaInfo]:
    leader, follower = sorted(
        cluster.admin.describe_topic("flights").partitions[0].replicas, key=lambda one: not one.leads
    )
    return leader, follower


def wait_for_another(cluster: shmlog.Cluster, before: ReplicaInfo) -> None:
    def has_come() -> bool:
        _, follower = replicas(cluster)
        return follower.pid not in (0, before.pid) and follower.in_sync

    wait_until(has_come, timeout_s=TIMEOUT_S, what="another follower in sync")


def killed(daemon: Daemon) -> list[str]:
    """Why, as the log says."""
    return [line.split(": ", 1)[1] for line in daemon.log().splitlines() if "; killing its process" in line]


def test_a_follower_that_stands_still_is_replaced_by_one_that_catches_up(
    real_daemon: Daemon, cluster: shmlog.Cluster
) -> None:
    leader, follower = replicas(cluster)
    os.kill(follower.pid, signal.SIGSTOP)
    send(cluster, 10)
    wait_for_another(cluster, follower)
    send(cluster, 20)
    (why,) = killed(real_daemon)
    assert "it has shown no sign of life for" in why
    assert f"killing its process {follower.pid} " in why
    assert replicas(cluster)[0].pid == leader.pid, "the leader has shown that it lives"


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (layout.REPLICA_STATE, "state 18446744073709551615, which there is not"),
        (layout.REPLICA_PID, "that it is process 18446744073709551615"),
        (layout.REPLICA_WRITTEN_OFFSET, "less of the log than it had"),
        (0, "its replica region"),
    ],
)
def test_a_follower_whose_region_is_spoiled_is_replaced_and_the_log_says_why(
    real_daemon: Daemon, cluster: shmlog.Cluster, cell: int, says: str
) -> None:
    _, follower = replicas(cluster)
    mapping = region.open_region(names.replica(real_daemon.peer().welcome.cid8, 0, 1), writable=True)
    mapping.store(cell, 2**64 - 1)
    mapping.close()
    wait_for_another(cluster, follower)
    send(cluster, 10)
    assert any(says in why for why in killed(real_daemon))


def test_a_follower_whose_region_is_cut_is_replaced_and_everybody_else_lives(
    real_daemon: Daemon, cluster: shmlog.Cluster
) -> None:
    leader, follower = replicas(cluster)
    os.truncate(f"/dev/shm/{names.replica(real_daemon.peer().welcome.cid8, 0, 1)}", 0)
    wait_for_another(cluster, follower)
    send(cluster, 10)
    assert replicas(cluster)[0].pid == leader.pid

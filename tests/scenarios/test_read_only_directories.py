"""A log directory that turns read-only under a running cluster, as disks do that the kernel has given up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import shmlog
from shmlog.native import fault_shim
from shmlog.testing import wait_until
from tests.scenarios.replicated import TIMEOUT_S, cluster_at, leader_and_follower, read, send, wait_for_sync

pytestmark = pytest.mark.slow

WRITES = ("open", "pwrite", "write", "posix_fallocate", "fdatasync", "fsync", "rename", "ftruncate")
FOR_EVER = 1_000_000


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fault_shim.FaultOrders:
    """What the cluster's processes obey, as the kernel's word."""
    made = fault_shim.FaultOrders(str(tmp_path / "orders"), str(tmp_path))
    preload = " ".join(filter(None, [fault_shim.LIBRARY, os.environ.get("LD_PRELOAD", "")]))
    monkeypatch.setenv("LD_PRELOAD", preload)
    monkeypatch.setenv(fault_shim.VARIABLE, made.path)
    return made


@pytest.fixture
def cluster(tmp_path: Path, orders: fault_shim.FaultOrders) -> Iterator[shmlog.Cluster]:
    with cluster_at(tmp_path, disks=("disk0", "disk1")) as started:
        started.admin.create_topic("flights", replication_factor=2)
        send(started, 0, 10)
        wait_for_sync(started)
        yield started


@contextmanager
def read_only(orders: fault_shim.FaultOrders, log_dir: str) -> Iterator[None]:
    """All of the disk that has this log."""
    disk = Path(log_dir).parent.name
    number = orders.arm(WRITES, "EROFS", place=f"{disk}/", count=FOR_EVER, seconds=60.0)
    yield
    assert orders.disarm(number) > 0


def test_a_leader_whose_directory_turns_read_only_is_replaced_and_follows_when_it_can_be_written_to(
    cluster: shmlog.Cluster, orders: fault_shim.FaultOrders
) -> None:
    leader, follower = leader_and_follower(cluster)
    with read_only(orders, leader.log_dir):
        send(cluster, 10, 10)
        after, before = leader_and_follower(cluster)
        assert (after.replica_id, before.in_sync) == (follower.replica_id, False)
        wait_until(lambda: "Read-only file system" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
        send(cluster, 20, 10)
    wait_for_sync(cluster)
    assert read(cluster) == [b"%d" % number for number in range(30)]


def test_a_follower_whose_directory_turns_read_only_leaves_visibly_and_holds_nobody_up(
    cluster: shmlog.Cluster, orders: fault_shim.FaultOrders
) -> None:
    leader, follower = leader_and_follower(cluster)
    with read_only(orders, follower.log_dir):
        send(cluster, 10, 10)
        wait_until(lambda: "Read-only file system" in leader_and_follower(cluster)[1].error, timeout_s=TIMEOUT_S)
        gone = leader_and_follower(cluster)[1]
        assert (gone.replica_id, gone.in_sync) == (follower.replica_id, False)
        assert leader_and_follower(cluster)[0].pid == leader.pid
    wait_for_sync(cluster)
    assert read(cluster) == [b"%d" % number for number in range(20)]

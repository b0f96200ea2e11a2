"""Somebody empties /dev/shm and the runtime directory under a running cluster, as logind does at a logout."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.memory import names, region
from shmlog.testing.whole_topic import read_all

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon


@pytest.fixture
def daemon(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    return real_daemon


def remove(daemon: Daemon, cluster: shmlog.Cluster, what: str) -> None:
    info = cluster.describe()
    if what in ("everything", "regions"):
        region.sweep(names.cluster_tag(info.cluster_id, info.runtime_dir))
    if what in ("everything", "runtime directory"):
        shutil.rmtree(daemon.directory / "run")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["everything", "regions", "runtime directory"])
def test_a_cluster_whose_names_are_removed_says_so_closes_and_comes_back_with_every_accepted_record(
    daemon: Daemon, what: str
) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        producer = cluster.producer(linger_ms=1000)
        for number in range(500):
            producer.send("flights", b"%d" % number)
        remove(daemon, cluster, what)
        for number in range(500, 600):
            producer.send("flights", b"%d" % number)  # into lanes that it has
        assert daemon.ended() == 1
        with pytest.raises(shmlog.NoClusterError, match="start it again with `shmlog up --name t`"):
            cluster.describe()
        said = daemon.log()
        assert "of cluster 't' were removed while it was running" in said
        assert "RemoveIPC=no" in said
        assert "Traceback" not in said
        daemon.start()
        for number in range(600, 700):
            producer.send("flights", b"%d" % number)
        producer.flush(20.0)
        assert sorted(int(record.value) for record in read_all(cluster, "flights")) == list(range(700))


@pytest.mark.slow
def test_what_was_acknowledged_is_in_the_files_though_the_owner_died_when_its_memory_had_been_removed(
    daemon: Daemon,
) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=1)
        (pid,) = [one.pid for one in cluster.admin.describe_topic("flights").partitions]
        producer = cluster.producer(acks="all")
        deliveries = [producer.send("flights", b"%d" % number) for number in range(500)]
        remove(daemon, cluster, "regions")
        deliveries += [producer.send("flights", b"%d" % number) for number in range(500, 600)]
        acknowledged = [delivery.result(20.0).offset for delivery in deliveries]
        os.kill(pid, signal.SIGKILL)
        assert daemon.ended() == 1, "its successor made regions of the same names"
        assert "were removed while it was running" in daemon.log()
        daemon.start()
        found = {record.offset: int(record.value) for record in read_all(cluster, "flights")}
        assert [found.get(offset) for offset in acknowledged] == list(range(600))


@pytest.mark.slow
def test_a_namesake_that_came_in_its_place_keeps_its_socket_its_lock_and_its_clients(
    daemon: Daemon, tmp_path: Path
) -> None:
    shutil.rmtree(daemon.directory / "run")
    with shmlog.start(tmp_path / "other", name="t") as namesake:
        namesake.admin.create_topic("flights", partitions=1)
        assert daemon.ended() == 1
        with shmlog.connect("t") as cluster:
            assert cluster.describe().pid == namesake.describe().pid
            assert len(os.listdir(daemon.runtime.lives)) == 2
            assert os.path.exists(daemon.runtime.supervisor_lock)

"""A supervisor dies, and its workers go on under the next one: same processes, same epochs, nothing missed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.control import life
from shmlog.control.messages import CloseLane, Done, Subscribe
from shmlog.errors import BrokerNotAvailableError, NoClusterError
from shmlog.memory import region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

pytestmark = pytest.mark.slow

Gone = Callable[[int], None]


@pytest.fixture
def place_of_run(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of a user find the cluster."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))


@pytest.fixture
def with_standby(real_daemon: Daemon, place_of_run: None, gone: Gone) -> Iterator[Daemon]:
    real_daemon.start("--standbys", "1")
    wait_until(lambda: life.holder(real_daemon.runtime.standby(0)))
    yield real_daemon
    assert real_daemon.process is not None
    real_daemon.process.wait()
    real_daemon.process = None
    pid = wait_until(lambda: life.holder(real_daemon.runtime.supervisor_lock) or 0)
    os.kill(pid, signal.SIGTERM)
    gone(pid)


def owners(cluster: shmlog.Cluster, topic: str = "flights") -> list[tuple[int, int]]:
    return [(one.pid, one.leader_epoch) for one in cluster.admin.describe_topic(topic).partitions]


def create(cluster: shmlog.Cluster, topic: str) -> None:
    while True:
        with suppress(BrokerNotAvailableError, NoClusterError):  # it died over this request
            cluster.admin.create_topic(topic)
            return


def test_with_a_standby_owners_stay_topics_are_created_and_a_consumer_sees_every_record(with_standby: Daemon) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        before = owners(cluster)
        with cluster.producer() as producer, cluster.consumer("flights") as consumer:
            seen: set[bytes | None] = set()
            for number in range(300):
                producer.send("flights", b"%d" % number, partition=number % 2)
                if number == 100:
                    os.kill(with_standby.pid, signal.SIGKILL)
                if number == 200:
                    create(cluster, "after")
                seen.update(record.value for record in consumer.poll(timeout=0.0))
            producer.flush(10.0)
            while len(seen) < 300:
                seen.update(record.value for record in consumer.poll(timeout=10.0))
        wait_until(lambda: owners(cluster) == before)
        assert seen == {b"%d" % number for number in range(300)}
    assert "ended" not in with_standby.log()


def test_whoever_starts_the_cluster_again_has_its_owners_back_with_their_lanes(real_daemon: Daemon) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights", 2)
    lane = peer.open_lane("flights")
    before = [(one.pid, one.leader_epoch) for one in peer.topic("flights").partitions]
    real_daemon.kill()
    real_daemon.start()
    back = real_daemon.peer(peer.welcome.client_id)
    assert [(one.pid, one.leader_epoch) for one in back.topic("flights").partitions] == before
    back.ask(CloseLane(0, lane.lane_id), Done)  # its owner drained it, so it takes orders from this supervisor
    assert lane.region.split(".")[2] not in real_daemon.regions(back)
    real_daemon.resources.close()
    assert real_daemon.stop() == 0


def test_an_owner_that_does_not_come_back_is_killed_and_replaced(real_daemon: Daemon, gone: Gone) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights")
    first = peer.partition("flights")
    real_daemon.kill()
    os.kill(first.pid, signal.SIGSTOP)
    real_daemon.start()
    gone(first.pid)
    wait_until(lambda: real_daemon.running("flights", but_not=first.pid))
    assert real_daemon.peer().partition("flights").leader_epoch == first.leader_epoch + 1
    assert f"the owner of flights-0 (process {first.pid}) does not come back" in real_daemon.log()


def test_workers_of_another_data_directory_are_ended_at_once(real_daemon: Daemon, gone: Gone) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights")
    first, tag = peer.partition("flights").pid, peer.partition("flights").ctl.split(".")[1]
    peer.close()
    real_daemon.kill()
    real_daemon.data_dir = real_daemon.directory / "other"
    real_daemon.start()
    gone(first)
    assert "ended 1 workers that an earlier supervisor left" in real_daemon.log()
    region.sweep(tag)  # of a cluster that nobody starts again


READING = """
import sys
import shmlog
with shmlog.connect("t") as cluster, cluster.consumer("flights") as consumer:
    consumer.poll(timeout=0.1)
    print(flush=True)
    sys.stdin.read()
"""


def test_an_owner_forgets_a_client_that_died_with_the_supervisor(real_daemon: Daemon, place_of_run: None) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights")
    peer.ask(Subscribe(0, [0]), Done)
    owner = peer.partition("flights").pid
    command = [sys.executable, "-P", "-c", READING]
    with killed_afterwards(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as client:
        assert client.stdout is not None
        client.stdout.readline()
        wait_until(lambda: len(rung(owner)) == 2)
        real_daemon.kill()
        client.kill()
        client.wait()
    real_daemon.start()
    back = real_daemon.peer(peer.welcome.client_id)
    assert back.partition("flights").pid == owner
    wait_until(lambda: rung(owner) == {f"c{peer.welcome.client_id}"})


def rung(owner: int) -> set[str]:
    """Client regions that an owner has mapped."""
    with open(f"/proc/{owner}/maps", encoding="utf-8") as maps:
        names = {line.split("/dev/shm/")[1].split()[0] for line in maps if "/dev/shm/shmlog." in line}
    last = {name.split(".", 2)[2] for name in names}
    return {name for name in last if name.startswith("c") and name[1:].isdigit()}


def test_followers_stay_and_stay_in_sync(real_daemon: Daemon, place_of_run: None) -> None:
    disks = [argument for name in "ab" for argument in ("--log-dir", str(real_daemon.directory / name))]
    real_daemon.start(*disks)

    def replicas(cluster: shmlog.Cluster) -> list[tuple[int, bool]]:
        return [(one.pid, one.in_sync) for one in cluster.admin.describe_topic("flights").partitions[0].replicas]

    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", replication_factor=2)
        wait_until(lambda: all(pid and in_sync for pid, in_sync in replicas(cluster)))
        before = replicas(cluster)
        with cluster.producer(acks="all") as producer:
            producer.send("flights", b"before").result(60.0)
            real_daemon.kill()
            producer.send("flights", b"meanwhile").result(60.0)  # by both, without anybody above them
            real_daemon.start(*disks)
            assert replicas(cluster) == before
            producer.send("flights", b"after").result(60.0)
    assert "in sync" not in real_daemon.log()

"""What runs out: the disk, shared memory, descriptors, processes. Errors with figures, nothing lost, and it goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.control.messages import AlterTopic
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.settings import ClusterConfig
from shmlog.supervisor.metadata import Catalog
from shmlog.testing import wait_until
from tests.scenarios.small_disk import SmallDisk, needs_root

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

TIMEOUT_S = 60.0

MIB = 1 << 20


@pytest.fixture(autouse=True)
def runtime_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(place / "run"))


def fill(producer: shmlog.Producer, topic: str) -> int:
    """Send numbered records of a kilobyte until one is refused; how many were accepted."""
    accepted = 0

    def send_all() -> None:
        nonlocal accepted
        while True:
            producer.send(topic, b"%08d" % accepted + bytes(1000))
            accepted += 1

    with pytest.raises(shmlog.DeliveryTimeoutError, match=r"No space left on device; 0 bytes are free"):
        send_all()
    return accepted


def numbers(cluster: shmlog.Cluster, topic: str) -> list[int]:
    """All that can be read now."""
    with cluster.consumer(topic, consumer_timeout_ms=500) as consumer:
        return [int(record.value[:8]) for record in consumer]


def owner_of(cluster: shmlog.Cluster, topic: str) -> tuple[int, str]:
    (partition,) = cluster.admin.describe_topics([topic])[0].partitions
    return partition.pid, partition.state


@needs_root
def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_by_itself_when_there_is_room(
    small_disk: SmallDisk, real_daemon: Daemon
) -> None:
    real_daemon.data_dir = small_disk.path / "data"
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", config={"segment.bytes": MIB})
        with cluster.producer(delivery_timeout_ms=2000) as producer:
            accepted = fill(producer, "flights")
            readable = numbers(cluster, "flights")
            assert readable == list(range(len(readable)))
            assert len(readable) > 5000
            pid, _ = owner_of(cluster, "flights")
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: owner_of(cluster, "flights")[0] != pid, timeout_s=TIMEOUT_S)
            assert numbers(cluster, "flights") == readable
            small_disk.resize(100)
            producer.flush(TIMEOUT_S)
        assert numbers(cluster, "flights") == list(range(accepted))


@needs_root
def test_on_a_full_disk_topics_are_refused_with_the_reason_and_can_be_deleted(
    small_disk: SmallDisk, real_daemon: Daemon
) -> None:
    real_daemon.data_dir = small_disk.path / "data"
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", config={"segment.bytes": MIB})
        producer = cluster.producer(delivery_timeout_ms=500)
        fill(producer, "flights")
        with pytest.raises(shmlog.StorageError, match="No space left on device"):
            cluster.admin.create_topic("hotels")
        cluster.admin.delete_topic("flights")
        with pytest.raises((shmlog.UnknownTopicOrPartitionError, shmlog.DeliveryTimeoutError)):
            producer.close()

        def create_again() -> bool:
            try:
                cluster.admin.create_topic("hotels")
            except shmlog.TopicAlreadyExistsError:  # the one that was refused is still being taken back
                return False
            return True

        wait_until(create_again)
        with cluster.producer() as producer:
            producer.send("hotels", b"00000000").result(TIMEOUT_S)
        assert numbers(cluster, "hotels") == [0]
    assert real_daemon.process is not None
    assert real_daemon.process.poll() is None


@needs_root
def test_decisions_have_room_on_a_full_disk_and_beyond_it_are_refused_and_can_be_repeated(
    small_disk: SmallDisk,
) -> None:
    catalog = Catalog(str(small_disk.path), ClusterConfig.from_mapping({}))

    epochs = itertools.count(1)

    def decide() -> None:
        catalog.commit((LeaderEpochRaised(0, next(epochs)),))

    catalog.commit(catalog.machine.create_topic("t", topic_id="id", partitions=1).records)
    with open(small_disk.path / "filler", "wb") as filler, contextlib.suppress(OSError):
        while True:
            os.write(filler.fileno(), bytes(4096))
    for _ in range(500):
        decide()

    def decide_until_refused() -> None:
        while True:
            decide()

    with pytest.raises(shmlog.DiskFullError, match=r"has no room for \d+ bytes .No space left.*delete topics"):
        decide_until_refused()
    small_disk.resize(30)
    decide()
    catalog.close(clean=False)
    Catalog(str(small_disk.path), ClusterConfig.from_mapping({})).close(clean=True)


@needs_root
def test_lowering_retention_frees_a_full_disk_at_once(small_disk: SmallDisk, real_daemon: Daemon) -> None:
    """Regression: with batches that were not written, retention took nothing, for ever."""
    real_daemon.data_dir = small_disk.path / "data"
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", config={"segment.bytes": MIB})
        with cluster.producer(delivery_timeout_ms=500) as producer:
            accepted = fill(producer, "flights")
            cluster.admin.alter_topic("flights", {"retention.bytes": 3 * MIB})
            producer.flush(TIMEOUT_S)
            left = numbers(cluster, "flights")
        assert left == list(range(left[0], accepted))


def test_clients_cannot_take_the_descriptors_that_replacing_an_owner_needs(real_daemon: Daemon) -> None:
    real_daemon.prefix = ["prlimit", "--nofile=120:120"]
    real_daemon.start()
    first = real_daemon.peer()
    first.create("flights")

    def crowd() -> None:
        for _ in range(100):
            real_daemon.peer()

    with pytest.raises(AssertionError, match=r"open files of 120.*close clients, or raise LimitNOFILE"):
        crowd()
    pid = first.partition("flights").pid
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: first.partition("flights").state == "running" and first.partition("flights").pid != pid,
        timeout_s=TIMEOUT_S,
    )


def test_raising_max_message_bytes_beyond_the_budget_is_refused(daemon: Daemon) -> None:
    """An owner grows its ring when the first batch comes that needs it, and asks nobody then."""
    daemon.config = "[cluster]\nshm.budget.bytes = 10_500_000\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("flights", 2)
    refused = peer.refused(AlterTopic(0, "flights", {"max.message.bytes": "2000000"}, [], None))
    assert "growth of its rings to 8000000 bytes" in refused.message
    assert "of the cluster's 10500000 are taken" in refused.message


class ControlGroup:
    """A control group of one controller, version 2 or 1, with one limit."""

    def __init__(self, controller: str, **limits: int) -> None:
        unified = Path("/sys/fs/cgroup/cgroup.controllers")
        version_2 = unified.exists() and controller in unified.read_text().split()
        root = unified.parent if version_2 else unified.parent / controller
        self.path = root / f"shmlog-test-{os.getpid()}"
        try:
            self.path.mkdir()
            limit = limits["v2" if version_2 else "v1"]
            name = {"memory": "memory.max" if version_2 else "memory.limit_in_bytes", "pids": "pids.max"}[controller]
            (self.path / name).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error}")

    def remove(self) -> None:
        wait_until(self._is_empty, timeout_s=TIMEOUT_S)
        self.path.rmdir()

    def _is_empty(self) -> bool:
        return not (self.path / "cgroup.procs").read_text()


def in_group(group: ControlGroup) -> list[str]:
    """What to put in front of a command so that it runs in the group."""
    return ["sh", "-c", f'echo $$ > {group.path}/cgroup.procs && exec "$@"', "sh"]


@needs_root
def test_a_pids_cgroup_refuses_partitions_before_it_refuses_a_fork(real_daemon: Daemon) -> None:
    group = ControlGroup("pids", v1=25, v2=25)
    real_daemon.resources.callback(group.remove)
    real_daemon.prefix = in_group(group)
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=4)
        with pytest.raises(shmlog.InvalidPartitionsError, match=r"pids\.max leaves \d+: raise TasksMax"):
            cluster.admin.create_topic("hotels", partitions=20)
        with cluster.producer() as producer:
            producer.send("flights", b"00000007").result(TIMEOUT_S)
        assert numbers(cluster, "flights") == [7]
    real_daemon.stop()


@needs_root
def test_in_a_memory_cgroup_the_budget_refuses_before_the_kernel_kills(real_daemon: Daemon) -> None:
    group = ControlGroup("memory", v1=160 * MIB, v2=160 * MIB)
    real_daemon.resources.callback(group.remove)
    real_daemon.prefix = in_group(group)
    real_daemon.start()

    def create_many() -> None:
        for number in range(100):
            cluster.admin.create_topic(f"t{number}", config={"shm.ring.bytes": 8 * MIB})

    with shmlog.connect("t") as cluster:
        with pytest.raises(shmlog.ShmBudgetExceededError, match=r"control group leaves \d+.*raise MemoryMax"):
            create_many()
        with cluster.producer() as producer:
            for number in range(60_000):
                producer.send("t0", b"%08d" % number + bytes(1000))
        assert len(numbers(cluster, "t0")) == 60_000
    assert "died" not in real_daemon.log()
    real_daemon.stop()

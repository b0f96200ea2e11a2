"""Clients against real clusters: embedded ones, daemons, and processes that are killed underneath."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

LEFT_TO_READ_S = 20.0


@pytest.fixture
def daemon(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A running supervisor that shmlog.connect("t") finds, which a test kills and starts again."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    return real_daemon


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as running:
        yield running


def send_numbers(cluster: shmlog.Cluster, first: int, stop: int, topic: str = "flights") -> None:
    with cluster.producer() as producer:
        for number in range(first, stop):
            producer.send(topic, b"%d" % number, key=b"%d" % (number % 17))


def read_numbers(consumer: shmlog.Consumer, count: int) -> list[int]:
    """Values of the next `count` records, sorted; fewer if they do not come."""
    found: list[int] = []

    def all_there() -> bool:
        found.extend(int(record.value) for record in consumer.poll(timeout=0.1))
        return len(found) >= count

    with contextlib.suppress(TimeoutError):
        wait_until(all_there, timeout_s=LEFT_TO_READ_S)
    return sorted(found)


def owner_pids(cluster: shmlog.Cluster, topic: str = "flights") -> list[int]:
    return [partition.pid for partition in cluster.admin.describe_topic(topic).partitions]


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_a_record_arrives_with_everything_it_was_sent_with(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=3)
    with cluster.producer() as producer, cluster.consumer("flights") as consumer:
        delivery = producer.send(
            "flights", b"value", key=b"AA", headers=[("source", b"csv"), ("empty", None)], partition=2, timestamp_ms=77
        )
        metadata = delivery.result(timeout=60.0)
        (record,) = consumer.poll(timeout=60.0)
    assert metadata == shmlog.RecordMetadata("flights", 2, 0, 77)
    assert record == shmlog.Record("flights", 2, 0, 77, b"AA", b"value", [("source", b"csv"), ("empty", None)])


def test_a_consumer_that_waits_is_woken_by_the_record(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=1)
    with cluster.producer() as producer, cluster.consumer("flights") as consumer:
        for number in range(20):
            assert consumer.poll() == []
            producer.send("flights", b"%d" % number)
            assert [record.value for record in consumer.poll(timeout=60.0)] == [b"%d" % number]


def test_a_consumer_that_lags_reads_files_and_catches_up_with_the_ring(cluster: shmlog.Cluster) -> None:
    config = {"max.message.bytes": 50_000, "shm.ring.bytes": 524_288}
    cluster.admin.create_topic("flights", partitions=1, config=config)
    with cluster.consumer("flights") as consumer, cluster.producer() as producer:
        payload = b"x" * 1000
        found: list[int] = []
        for number in range(3000):
            producer.send("flights", b"%d:" % number + payload)
        producer.flush(20.0)
        while records := consumer.poll(timeout=1.0):
            found += [int(record.value.partition(b":")[0]) for record in records]
        assert found == list(range(3000))
        metrics = consumer.metrics()
        assert metrics["segment_chunks"] > 0
        assert metrics["ring_chunks"] > 0
        assert consumer.lag() == {shmlog.TopicPartition("flights", 0): 0}


def test_partitions_that_are_added_are_picked_up(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=1)
    with cluster.consumer("flights", auto_offset_reset="latest") as consumer:
        assert consumer.poll() == []
        cluster.admin.create_partitions("flights", 3)
        with cluster.producer() as producer:
            producer.send("flights", b"1", partition=2)
        assert read_numbers(consumer, 1) == [1]


def test_a_deleted_topic_is_a_clear_error_for_its_consumer(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=2)
    send_numbers(cluster, 0, 10)
    with cluster.consumer("flights") as consumer:
        assert read_numbers(consumer, 10) == list(range(10))
        cluster.admin.delete_topic("flights")
        with pytest.raises(shmlog.UnknownTopicOrPartitionError, match="flights"):
            wait_until(lambda: consumer.poll(timeout=0.1), timeout_s=LEFT_TO_READ_S)
    with pytest.raises(shmlog.UnknownTopicOrPartitionError):
        cluster.consumer("flights")


def test_records_that_retention_deleted_are_a_clear_error_or_skipped_as_the_consumer_was_told(tmp_path: Path) -> None:
    config = {"segment.bytes": 1 << 20, "retention.bytes": 1 << 20, "max.message.bytes": 50_000}
    partition = shmlog.TopicPartition("flights", 0)
    with shmlog.start(tmp_path / "data", config={"log.retention.check.interval.ms": 1000}) as cluster:
        cluster.admin.create_topic("flights", partitions=1, config=config)
        strict, lenient = cluster.consumer("flights", auto_offset_reset="none"), cluster.consumer("flights")
        strict.seek(partition, 0)
        with cluster.producer() as producer:
            producer.send_many("flights", [b"%d:" % number + b"x" * 1000 for number in range(5000)])
            producer.flush(20.0)
        wait_until(lambda: strict.watermarks(partition).low > 0, timeout_s=LEFT_TO_READ_S)
        low = strict.watermarks(partition).low
        with pytest.raises(shmlog.OffsetOutOfRangeError, match=f"offset 0 of flights-0 .* has {low} to 5000"):
            strict.poll()
        strict.seek_to_beginning()
        for consumer in (strict, lenient):
            first = consumer.poll(1, timeout=60.0)[0]
            assert (first.offset, first.value.partition(b":")[0]) == (low, b"%d" % low)


def test_offsets_are_found_by_time_in_the_files(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=1)
    partition = shmlog.TopicPartition("flights", 0)
    with cluster.producer() as producer, cluster.consumer("flights") as consumer:
        for number in range(100):
            producer.send("flights", b"%d" % number, timestamp_ms=1000 + 10 * number)
        producer.flush(10.0)
        assert consumer.offsets_for_times({partition: 1495}) == {partition: shmlog.OffsetAndTimestamp(50, 1500)}
        assert consumer.offsets_for_times({partition: 9999}) == {partition: None}
        assert consumer.watermarks(partition) == shmlog.Watermarks(0, 100)


# --- processes that die -----------------------------------------------------------------------------------------------


def test_a_consumer_notices_a_killed_owner_as_a_pause_and_nothing_else(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=2)
    with cluster.consumer("flights") as consumer:
        for round_number in range(3):
            send_numbers(cluster, 100 * round_number, 100 * round_number + 100)
            os.kill(owner_pids(cluster)[round_number % 2], signal.SIGKILL)
            found = read_numbers(consumer, 100)
            assert found == list(range(100 * round_number, 100 * round_number + 100))
        assert consumer.poll(timeout=0.2) == []


def test_clients_outlive_a_killed_supervisor_under_their_old_id(daemon: Daemon) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        (client,) = cluster.describe().clients
        with cluster.consumer("flights") as consumer:
            send_numbers(cluster, 0, 100)
            assert read_numbers(consumer, 100) == list(range(100))
            daemon.kill()
            daemon.start()
            send_numbers(cluster, 100, 200)
            assert read_numbers(consumer, 100) == list(range(100, 200))
            assert [found.client_id for found in cluster.describe().clients] == [client.client_id]


def test_a_consumer_goes_on_when_everything_was_killed_and_started_again(daemon: Daemon) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        with cluster.consumer("flights") as consumer:
            send_numbers(cluster, 0, 100)
            assert read_numbers(consumer, 100) == list(range(100))
            victims = [*owner_pids(cluster), cluster.describe().zygote_pid]
            daemon.kill()
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            daemon.start()
            with shmlog.connect("t") as another:
                send_numbers(another, 100, 200)
            assert read_numbers(consumer, 100) == list(range(100, 200))


def test_a_consumer_goes_on_when_the_cluster_was_stopped_and_started_again(daemon: Daemon) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        with cluster.consumer("flights") as consumer:
            send_numbers(cluster, 0, 100)
            assert read_numbers(consumer, 100) == list(range(100))
            assert daemon.stop() == 0
            assert consumer.poll(timeout=0.1) == []
            daemon.start()
            with shmlog.connect("t") as another:
                send_numbers(another, 100, 200)
            assert read_numbers(consumer, 100) == list(range(100, 200))


# --- embedded clusters ------------------------------------------------------------------------------------------------


def test_other_processes_join_an_embedded_cluster_by_its_name(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", partitions=1)
    program = f"""
        import shmlog
        with shmlog.connect({cluster.name!r}) as cluster, cluster.producer() as producer:
            producer.send("flights", b"1")
    """
    subprocess.run([sys.executable, "-P", "-c", textwrap.dedent(program)], check=True)
    with cluster.consumer("flights") as consumer:
        assert read_numbers(consumer, 1) == [1]


def test_records_of_an_embedded_cluster_are_there_at_its_next_start(tmp_path: Path) -> None:
    for first in (0, 50):
        with shmlog.start(tmp_path / "data") as cluster:
            if not first:
                cluster.admin.create_topic("flights", partitions=2)
            send_numbers(cluster, first, first + 50)
            with cluster.consumer("flights") as consumer:
                assert read_numbers(consumer, first + 50) == list(range(first + 50))


def test_a_second_cluster_on_the_same_data_or_of_the_same_name_is_refused_in_the_supervisors_words(
    cluster: shmlog.Cluster, tmp_path: Path
) -> None:
    with pytest.raises(shmlog.DataDirectoryInUseError, match="is in use by process"):
        shmlog.start(tmp_path / "data")
    with pytest.raises(shmlog.ClusterAlreadyRunningError, match="is already running"):
        shmlog.start(tmp_path / "other", name=cluster.name)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(shmlog.StartError, match=r"is not a data directory of shmlog: it has thesis\.txt"):
        shmlog.start(tmp_path / "full")
    assert cluster.admin.list_topics() == []


def test_settings_of_an_embedded_cluster_can_be_given_and_are_checked(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data", config={"num.partitions": 4, "retention.ms": 1000}) as cluster:
        topic = cluster.admin.create_topic("flights")
        assert len(topic.partitions) == 4
        assert topic.effective_config["retention.ms"] == "1000"
    with pytest.raises(shmlog.InvalidConfigError, match="did you mean 'num.partitions'"):
        shmlog.start(tmp_path / "data", config={"num_partition": 4})
    with pytest.raises(shmlog.InvalidConfigError, match=r"retention\.ms must be"):
        shmlog.start(tmp_path / "data", config={"retention.ms": "soon"})

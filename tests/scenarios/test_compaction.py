"""Compacted topics as users meet them: of each key the newest record, whatever dies, and nobody waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import shmlog
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.storage import OsStorage
from shmlog.testing import wait_until

from .replicated import replicas

pytestmark = pytest.mark.slow

TIMEOUT_S = 30.0
KEYS = 200
VALUE = b"." * 500
CLUSTER = {"log.cleaner.backoff.ms": 100, "log.cleaner.dedupe.buffer.size": 1_048_576}
TOPIC = {
    "cleanup.policy": "compact",
    "segment.bytes": 1_048_576,
    "min.cleanable.dirty.ratio": 0.1,
    "flush.ms": 100,
    "file.delete.delay.ms": 0,
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    directories = [str(tmp_path / disk) for disk in ("a", "b")]
    with shmlog.start(tmp_path / "data", config=CLUSTER | {"log.dirs": directories}) as started:
        started.admin.create_topic("flights", replication_factor=2, config=TOPIC)
        yield started


def key(number: int) -> bytes:
    return b"key %d" % (number % KEYS)


def send(cluster: shmlog.Cluster, first: int, count: int) -> None:
    """Numbered values, round the keys."""
    with cluster.producer() as producer:
        for number in range(first, first + count):
            producer.send("flights", b"%d;" % number + VALUE, key=key(number))
        producer.flush(TIMEOUT_S)


def read(cluster: shmlog.Cluster) -> list[shmlog.Record]:
    with cluster.consumer("flights", consumer_timeout_ms=1000) as consumer:
        return list(consumer)


def newest(records: list[shmlog.Record]) -> dict[bytes, bytes]:
    return {record.key: record.value for record in records if record.key is not None and record.value is not None}


def wait_until_compacted(cluster: shmlog.Cluster, beyond: int) -> None:
    """Both replicas, up to an offset behind `beyond`."""

    def is_done() -> bool:
        found = [read_compaction_checkpoint(OsStorage(), one.log_dir) for one in replicas(cluster)]
        return all(one.first_dirty_offset > beyond for one in found)

    wait_until(is_done, timeout_s=TIMEOUT_S)


def cleaner_of(cluster: shmlog.Cluster) -> list[psutil.Process]:
    supervisor = psutil.Process(cluster.describe().pid)
    return [one for one in supervisor.children() if "shmlog.workers.cleaner" in one.cmdline()]


def assert_right(cluster: shmlog.Cluster, sent: int) -> list[shmlog.Record]:
    """Of each key the newest record that was sent is the newest that is read, and nothing is out of order."""
    records = read(cluster)
    assert [one.offset for one in records] == sorted({one.offset for one in records})
    last = {key(number): number for number in range(max(0, sent - KEYS), sent)}
    assert {name: int(value.split(b";")[0]) for name, value in newest(records).items()} == last
    assert all(int((one.value or b"").split(b";")[0]) == one.offset for one in records)
    return records


def test_a_compacted_topic_keeps_the_newest_record_of_each_key_on_every_replica(cluster: shmlog.Cluster) -> None:
    send(cluster, 0, 10_000)
    wait_until_compacted(cluster, 4000)
    assert len(assert_right(cluster, 10_000)) < 6000
    send(cluster, 10_000, 5000)
    wait_until_compacted(cluster, 10_000)
    assert len(assert_right(cluster, 15_000)) < 5000
    program = [sys.executable, "-P", "-m", "shmlog", "segment", "verify", replicas(cluster)[0].log_dir]
    assert subprocess.run(program, timeout=TIMEOUT_S, check=False).returncode == 0
    cluster.admin.elect_leader("flights", 0, 1)
    assert_right(cluster, 15_000)


def test_a_cleaner_that_is_killed_or_stopped_holds_nobody_up(cluster: shmlog.Cluster) -> None:
    send(cluster, 0, 6000)
    wait_until(lambda: bool(cleaner_of(cluster)), timeout_s=TIMEOUT_S)
    (first,) = cleaner_of(cluster)
    os.kill(first.pid, signal.SIGSTOP)
    send(cluster, 6000, 4000)
    os.kill(first.pid, signal.SIGKILL)
    wait_until_compacted(cluster, 6000)
    assert_right(cluster, 10_000)
    assert first.pid not in [one.pid for one in cleaner_of(cluster)]


def test_owners_and_followers_that_are_killed_while_segments_are_swapped_lose_nothing(cluster: shmlog.Cluster) -> None:
    sent = 0
    for _ in range(6):
        send(cluster, sent, 2500)
        sent += 2500
        for one in replicas(cluster):
            if one.pid:
                os.kill(one.pid, signal.SIGKILL)
        assert_right(cluster, sent)
    wait_until_compacted(cluster, 8000)
    assert_right(cluster, sent)


def test_a_consumer_that_reads_while_segments_are_swapped_misses_no_key(cluster: shmlog.Cluster) -> None:
    send(cluster, 0, 3000)
    with cluster.consumer("flights") as consumer:
        seen: dict[bytes, int] = {}
        sent = 3000
        while sent < 15_000:
            send(cluster, sent, 1000)
            sent += 1000
            consumer.seek_to_beginning()
            seen.clear()
            while consumer.position(shmlog.TopicPartition("flights", 0)) < sent:
                for record in consumer.poll(max_records=100, timeout=1.0):
                    assert record.key is not None
                    assert record.value is not None
                    number = int(record.value.split(b";")[0])
                    assert number == record.offset
                    assert number > seen.get(record.key, -1)
                    seen[record.key] = number
            assert seen == {key(number): number for number in range(sent - KEYS, sent)}

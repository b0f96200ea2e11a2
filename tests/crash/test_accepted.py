"""Accepted means that send() returned: what that promises when processes are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import shmlog
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

DEADLINE_S = 60.0

KILLED_PRODUCER = """
import os, signal, sys
import shmlog
name, acks, count, linger_ms = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
producer = shmlog.connect(name).producer(acks=acks, linger_ms=linger_ms)
for number in range(count):
    producer.send("flights", b"%d" % number, key=b"%d" % (number % 5))
os.kill(os.getpid(), signal.SIGKILL)
"""

KILLED_HOST = """
import os, signal, sys
import shmlog
cluster = shmlog.start(sys.argv[1])
cluster.admin.create_topic("flights", partitions=2)
producer = cluster.producer(linger_ms=1000)
for number in range(int(sys.argv[2])):
    producer.send("flights", b"%d" % number)
print(cluster.describe().pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as started:
        started.admin.create_topic("flights", partitions=3)
        yield started


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def read(consumer: shmlog.Consumer, count: int) -> list[shmlog.Record]:
    """The next `count` records or more, waiting for them until the deadline."""
    found: list[shmlog.Record] = []

    def enough() -> bool:
        found.extend(consumer.poll(timeout=0.1))
        return len(found) >= count

    assert wait_until(enough, timeout_s=DEADLINE_S)
    return found


def gone(pid: int) -> bool:
    """Dead, even if nobody has reaped it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def everything(cluster: shmlog.Cluster, at_least: int) -> list[int]:
    """All records, as numbers, partition by partition; what a dead producer has left behind may still be on its way."""
    return [int(record.value) for record in read_all(cluster, "flights", at_least=at_least)]


@pytest.mark.parametrize("acks", ["0", "1", "all"])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_exactly_what_was_accepted_is_delivered_after_the_producer_is_killed(
    cluster: shmlog.Cluster, acks: str, count: int
) -> None:
    done = run(KILLED_PRODUCER, cluster.name, acks, str(count), "1000")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert wait_until(lambda: len(cluster.describe().clients) == 1, timeout_s=DEADLINE_S)
    assert sorted(everything(cluster, count)) == list(range(count))


@pytest.mark.parametrize("linger_ms", [0, 50])
def test_one_record_into_a_busy_lane_and_then_silence_becomes_readable(cluster: shmlog.Cluster, linger_ms: int) -> None:
    with cluster.producer(linger_ms=linger_ms) as producer:
        for number in range(5000):
            producer.send("flights", b"%d" % number, partition=0)
        producer.send("flights", b"5000", partition=0)
        with cluster.consumer("flights") as consumer:
            seen = read(consumer, 5001)
        assert [int(record.value) for record in seen] == list(range(5001))


def test_an_embedded_cluster_whose_host_is_killed_drains_closes_and_leaves_nothing(tmp_path: Path) -> None:
    done = run(KILLED_HOST, str(tmp_path / "data"), "500")
    assert done.returncode == -signal.SIGKILL, done.stderr
    supervisor = int(done.stdout)
    assert wait_until(lambda: gone(supervisor), timeout_s=DEADLINE_S)
    with shmlog.start(tmp_path / "data") as cluster:
        assert sorted(everything(cluster, 500)) == list(range(500))


def test_owners_killed_under_load_lose_and_repeat_nothing(cluster: shmlog.Cluster) -> None:
    with cluster.producer() as producer, cluster.consumer("flights", value_deserializer=int) as consumer:
        seen: list[shmlog.Record] = []
        sent = 0
        for kill in range(12):
            for _ in range(2000):
                producer.send("flights", b"%d" % sent, key=b"%d" % (sent % 7))
                sent += 1
            pid = cluster.admin.describe_topic("flights").partitions[kill % 3].pid
            if pid:
                with suppress(ProcessLookupError):  # it was killed a round before, and is not replaced yet
                    os.kill(pid, signal.SIGKILL)
            seen += consumer.poll(max_records=5000)
        producer.flush(DEADLINE_S)
        seen += read(consumer, sent - len(seen))
    assert Counter(record.value for record in seen) == Counter(range(sent))
    for partition in range(3):
        offsets = [record.offset for record in seen if record.partition == partition]
        assert offsets == list(range(len(offsets)))
        order = [record.value for record in seen if record.partition == partition]
        assert order == sorted(order)


def test_a_cluster_killed_to_the_last_process_comes_back_with_everything(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data", name="phoenix") as first:
        first.admin.create_topic("flights", partitions=3)
        producer = first.producer(linger_ms=1000)
        for number in range(700):
            producer.send("flights", b"%d" % number)
        supervisor = psutil.Process(first.describe().pid)
        for process in [supervisor, *supervisor.children(recursive=True)]:
            process.kill()
        assert wait_until(lambda: gone(supervisor.pid), timeout_s=DEADLINE_S)
        with shmlog.start(tmp_path / "data", name="phoenix") as second:
            producer.send("flights", b"700")  # the producer lived through it and goes on
            producer.flush(DEADLINE_S)
            assert sorted(everything(second, 701)) == list(range(701))
            producer.close()

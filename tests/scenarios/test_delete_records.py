"""Records are deleted under running consumers, who get data or are told; never a wrong record, nor a silent gap."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import shmlog
from shmlog.cli.main import run
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

PLACE = shmlog.TopicPartition("flights", 0)
VALUE_BYTES = 8000
BATCHES = 400
"""Of ten records: some 30 MB in segments of one, behind a ring of half a megabyte."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as running:
        yield running


def value_of(offset: int) -> bytes:
    return random.Random(offset).randbytes(16) * (VALUE_BYTES // 16)


def send(producer: shmlog.Producer, first: int, count: int) -> None:
    producer.send_many("flights", [value_of(offset) for offset in range(first, first + count)])
    producer.flush()


def test_records_are_deleted_by_a_command_and_stay_deleted_when_the_owner_is_killed(
    cluster: shmlog.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.admin.create_topic("flights")
    with cluster.producer() as producer:
        for second in range(10):
            producer.send("flights", b"%d" % second, timestamp_ms=1_700_000_000_000 + 1000 * second)
        producer.flush()

    def delete(*words: str) -> str:
        assert run(["topic", "delete-records", "flights", *words, "--name", cluster.name]) == 0
        return capsys.readouterr().err

    assert "would delete 4 records of flights" in delete("--before", "4", "--dry-run")
    assert "would delete 7 records" in delete("--before", "@1700000006500", "--dry-run")
    assert cluster.admin.delete_records({PLACE: 2}) == {PLACE: 2}
    assert "deleted 2 records of flights" in delete("--before", "4", "--partition", "0", "--yes")
    with pytest.raises(shmlog.OffsetOutOfRangeError, match="offset 11 is beyond the high watermark, 10"):
        cluster.admin.delete_records({PLACE: 11})
    pid = cluster.admin.describe_topic("flights").partitions[0].pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: cluster.admin.describe_topic("flights").partitions[0].pid not in (0, pid))
    assert [record.value for record in read_all(cluster, "flights")] == [b"%d" % second for second in range(4, 10)]
    with cluster.consumer("flights") as consumer:
        assert consumer.watermarks(PLACE) == (4, 10)
    assert cluster.admin.delete_records({PLACE: -1}) == {PLACE: 10}


class Follower(threading.Thread):
    """Reads from anywhere, and checks every record; a gap must have come with an OffsetOutOfRangeError."""

    def __init__(self, cluster: shmlog.Cluster, seed: int) -> None:
        super().__init__()
        self.expected = 0
        self.records = 0
        self.resets = 0
        self.wrong: list[str] = []
        self.stopped = threading.Event()
        self._cluster = cluster
        self._random = random.Random(seed)

    def run(self) -> None:
        with self._cluster.consumer(auto_offset_reset="none", fetch_max_bytes=100_000) as consumer:
            consumer.assign([PLACE])
            consumer.seek_to_beginning()
            expected = -1
            while not self.stopped.is_set():
                try:
                    for record in consumer.poll(timeout=0.05):
                        if record.offset != expected >= 0 or record.value != value_of(record.offset):
                            self.wrong.append(f"{record.offset} came where {expected} was next")
                        expected = self.expected = record.offset + 1
                        self.records += 1
                    again = expected == consumer.watermarks(PLACE).high or self._random.random() < 0.05
                except shmlog.OffsetOutOfRangeError:
                    self.resets += 1
                    again = True
                if again:  # anywhere: in the ring, in the active segment, in old ones
                    low, high = consumer.watermarks(PLACE)
                    consumer.seek(PLACE, self._random.randint(low, high))
                    expected = -1


def test_consumers_read_while_segments_vanish_and_miss_nothing_unknowingly(cluster: shmlog.Cluster) -> None:
    config = {"segment.bytes": 1 << 20, "file.delete.delay.ms": 0, "max.message.bytes": 100_000}
    cluster.admin.create_topic("flights", config=config)
    chance, start = random.Random(4), 0
    readers = [Follower(cluster, seed) for seed in range(3)]
    with cluster.producer() as producer:
        send(producer, 0, 300)
        for reader in readers:
            reader.start()
        for batch in range(30, BATCHES):
            send(producer, 10 * batch, 10)
            end = 10 * batch + 10
            if chance.random() < 0.3:  # right where somebody reads, or a piece of what is left
                aimed = chance.choice(readers).expected + chance.randint(-15, 30)
                start = min(end, max(start, aimed if chance.random() < 0.7 else start + (end - start) // 3))
                assert cluster.admin.delete_records({PLACE: start}) == {PLACE: start}
    wait_until(lambda: all(reader.records > 100 for reader in readers))
    for reader in readers:
        reader.stopped.set()
        reader.join()
    assert [reader.wrong for reader in readers] == [[], [], []]
    assert sum(reader.resets for reader in readers) > 0

"""A disk of which some is to stay free: old records go early where they may, then writers wait, and readers do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.testing import wait_until
from tests.scenarios.small_disk import SmallDisk, needs_root

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

MIB = 1 << 20
TIMEOUT_S = 60.0
VALUE = bytes(1000)


@pytest.fixture(autouse=True)
def runtime_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(place / "run"))


def shmlog_says(*arguments: str) -> str:
    program = [sys.executable, "-P", "-m", "shmlog", *arguments, "--name", "t"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    return done.stdout + done.stderr


def low(cluster: shmlog.Cluster, topic: str) -> int:
    with cluster.consumer(topic) as consumer:
        return consumer.watermarks(shmlog.TopicPartition(topic, 0)).low


def readable(cluster: shmlog.Cluster, topic: str) -> int:
    with cluster.consumer(topic, consumer_timeout_ms=500) as consumer:
        return sum(1 for _ in consumer)


@needs_root
def test_a_disk_keeps_its_reserve_by_deleting_early_where_it_may_and_then_by_refusing(
    small_disk: SmallDisk, real_daemon: Daemon
) -> None:
    small_disk.resize(40)
    real_daemon.config = f"[cluster]\ndisk.reserve.bytes = {34 * MIB}\n"
    real_daemon.data_dir = small_disk.path / "data"
    real_daemon.start()
    keeps = {"retention.ms": -1, "segment.bytes": MIB}
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("old", config={"segment.bytes": MIB})
        cluster.admin.create_topic("kept", config=keeps)
        with cluster.producer(delivery_timeout_ms=500) as producer:

            def send(topic: str, mebibytes: int) -> None:
                producer.send_many(topic, [VALUE] * (mebibytes * MIB // 1000))

            send("old", 3)
            producer.flush(TIMEOUT_S)
            assert low(cluster, "old") == 0
            send("kept", 4)
            producer.flush(TIMEOUT_S)
            wait_until(lambda: low(cluster, "old") > 0, timeout_s=TIMEOUT_S)
            send("kept", 2)
            producer.flush(TIMEOUT_S)
            sent = 4 * MIB // 1000 + 2 * MIB // 1000
            wait_until(lambda: cluster.describe().directories[0].refusal, timeout_s=TIMEOUT_S)
            assert (low(cluster, "kept"), readable(cluster, "kept")) == (0, sent)

            refusals: list[shmlog.NotEnoughDiskError] = []

            def refused() -> bool:
                try:
                    producer.send("kept", VALUE).result(TIMEOUT_S)
                except shmlog.NotEnoughDiskError as error:
                    refusals.append(error)
                return bool(refusals)

            wait_until(refused, timeout_s=TIMEOUT_S)
            assert refusals[0].retriable
            assert "less than disk.reserve.bytes" in str(refusals[0])
            producer.send("kept", VALUE)
            with pytest.raises(shmlog.PollTimeoutError, match=r"less than disk\.reserve\.bytes"):
                producer.flush(0.05)
            with pytest.raises(shmlog.NotEnoughDiskError, match=r"less than disk\.reserve\.bytes"):
                producer.flush()
            assert "takes no records, because of its reserve" in shmlog_says("status")
            assert "are to stay free" in (said := shmlog_says("doctor"))
            assert "its partitions take no records" in said
            small_disk.resize(60)
            wait_until(lambda: not cluster.describe().directories[0].refusal, timeout_s=TIMEOUT_S)
            producer.send("kept", VALUE).result(TIMEOUT_S)
        assert readable(cluster, "kept") > sent

"""Compression through whole clusters: every codec, owners that are killed, topics that change, a missing library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
import pytest

import shmlog
from shmlog.cli import main as cli
from shmlog.errors import UnsupportedCompressionTypeError
from shmlog.log.dump import BatchRow, dump_log
from shmlog.testing import wait_until
from shmlog.testing.segments import read_partition

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

Codec = Literal["none", "gzip", "snappy", "lz4", "zstd"]
CODECS: tuple[Codec, ...] = ("gzip", "snappy", "lz4", "zstd")
COUNT = 3000
LEFT_TO_READ_S = 20.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[shmlog.Cluster]:
    with shmlog.start(tmp_path / "data") as running:
        yield running


def value_of(number: int) -> bytes:
    return b"%06d EWR IAH on time " % number * 5


def partition_of(cluster: shmlog.Cluster, topic: str) -> shmlog.PartitionInfo:
    return cluster.admin.describe_topic(topic).partitions[0]


def codecs_in_files(cluster: shmlog.Cluster, topic: str) -> list[str]:
    """The codec of every batch of the topic's partition, in order."""
    directory = Path(partition_of(cluster, topic).log_dir)
    rows = [row for path in sorted(directory.glob("*.log")) for row in dump_log(str(path))]
    return [row.header.codec for row in rows if isinstance(row, BatchRow)]


def values(cluster: shmlog.Cluster, topic: str, count: int) -> list[bytes]:
    found: list[bytes] = []
    with cluster.consumer(topic) as consumer:

        def all_there() -> bool:
            found.extend(record.value for record in consumer.poll(timeout=0.1))
            return len(found) >= count

        wait_until(all_there, timeout_s=LEFT_TO_READ_S)
    return found


def kill_owner(cluster: shmlog.Cluster, before: int) -> int:
    """Kill the owner that came after the process `before`; returns its pid."""
    wait_until(lambda: partition_of(cluster, "flights").pid not in (0, before), timeout_s=LEFT_TO_READ_S)
    pid = partition_of(cluster, "flights").pid
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_produced_with_a_codec_survives_owners_that_are_killed(cluster: shmlog.Cluster, codec: Codec) -> None:
    cluster.admin.create_topic("flights")
    killed = 0
    with cluster.producer(compression_type=codec) as producer:
        for number in range(COUNT):
            producer.send("flights", value_of(number))
            if number in (COUNT // 3, COUNT // 2):
                killed = kill_owner(cluster, killed)
    assert values(cluster, "flights", COUNT) == [value_of(number) for number in range(COUNT)]
    assert codec in codecs_in_files(cluster, "flights")
    with cluster.consumer("flights") as consumer:
        partition = shmlog.TopicPartition("flights", 0)
        newest = consumer.watermarks(partition).high - 1
        consumer.seek(partition, newest)
        (record,) = consumer.poll(timeout=60.0)
        assert record.value == value_of(COUNT - 1)
        assert consumer.offsets_for_times({partition: record.timestamp_ms})[partition] is not None


def test_after_the_last_process_was_closed_the_files_alone_have_it_all(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights")
        for codec in CODECS:
            with cluster.producer(compression_type=codec) as producer:
                producer.send_many("flights", [value_of(number) for number in range(COUNT)])
        directory = partition_of(cluster, "flights").log_dir
    assert [record.value for record in read_partition(directory)] == [
        value_of(number) for _ in CODECS for number in range(COUNT)
    ]
    with shmlog.start(tmp_path / "data") as cluster:  # read from segments: the ring is new
        assert len(values(cluster, "flights", 4 * COUNT)) == 4 * COUNT


def test_a_topic_changes_its_codec_while_a_producer_goes_on(cluster: shmlog.Cluster) -> None:
    cluster.admin.create_topic("flights", config={"compression.type": "gzip"})
    sent = 0
    with cluster.producer() as producer:
        for kind, expected in (("gzip", "gzip"), ("zstd", "zstd"), ("uncompressed", "none"), ("producer", "none")):
            cluster.admin.alter_topic("flights", set={"compression.type": kind})

            def another_batch_has_it(wanted: str = expected) -> bool:
                nonlocal sent
                producer.send("flights", value_of(sent)).result(60.0)
                sent += 1
                return codecs_in_files(cluster, "flights")[-1] == wanted  # the order travels beside the records

            wait_until(another_batch_has_it, timeout_s=LEFT_TO_READ_S)
    assert values(cluster, "flights", sent) == [value_of(number) for number in range(sent)]


def test_the_shell_produces_compressed(cluster: shmlog.Cluster, tmp_path: Path) -> None:
    cluster.admin.create_topic("flights")
    lines = tmp_path / "lines"
    lines.write_bytes(b"".join(value_of(number) + b"\n" for number in range(COUNT)))
    arguments = ["produce", "flights", "--name", cluster.name, "--file", str(lines), "--compression", "lz4"]
    assert cli.run(arguments) == 0
    assert "lz4" in codecs_in_files(cluster, "flights")


# --- without the library ----------------------------------------------------------------------------------------------


@pytest.fixture
def poor_daemon(real_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A cluster whose Python has no cramjam; this process has."""
    make_poor(real_daemon, tmp_path)
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    return real_daemon


def make_poor(daemon: Daemon, tmp_path: Path) -> Path:
    """From its next start on, it has no cramjam, until the file that this returns is removed."""
    instead = tmp_path / "without" / "cramjam.py"
    instead.parent.mkdir()
    instead.write_text("raise ImportError('not installed')\n")
    daemon.environment = {"PYTHONPATH": str(instead.parent)}
    return instead


def test_a_partition_whose_codec_was_uninstalled_says_so_and_starts_once_it_is_there_again(
    real_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", config={"compression.type": "zstd"})
        with cluster.producer() as producer:
            producer.send("flights", value_of(0)).result(60.0)
    assert real_daemon.stop() == 0
    instead = make_poor(real_daemon, tmp_path)
    real_daemon.start()
    with shmlog.connect("t") as cluster:

        def it_says_so() -> bool:
            cli.run(["status", "--name", "t"])
            return "needs the package cramjam" in "".join(capfd.readouterr())

        wait_until(it_says_so, timeout_s=LEFT_TO_READ_S)
        instead.unlink()
        with cluster.producer() as producer:
            producer.send("flights", value_of(1)).result(LEFT_TO_READ_S)
        assert values(cluster, "flights", 2) == [value_of(0), value_of(1)]
        assert codecs_in_files(cluster, "flights") == ["zstd", "zstd"]


def test_a_cluster_whose_topic_defaults_it_cannot_carry_out_does_not_start(real_daemon: Daemon, tmp_path: Path) -> None:
    make_poor(real_daemon, tmp_path)
    real_daemon.config = '[topic-defaults]\ncompression.type = "lz4"\n'
    assert real_daemon.spawn().wait(LEFT_TO_READ_S) == 1
    assert "error: compression.type=lz4: lz4 needs the package cramjam" in real_daemon.log_file.read_text()


def test_a_cluster_that_cannot_compress_says_so_where_it_is_asked_to(poor_daemon: Daemon) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights")
        needs = "zstd needs the package cramjam, which is not installed here: .* -m pip install cramjam"
        with pytest.raises(UnsupportedCompressionTypeError, match=needs):
            cluster.producer(compression_type="zstd")
        with pytest.raises(UnsupportedCompressionTypeError, match=needs):
            cluster.admin.create_topic("others", config={"compression.type": "zstd"})
        with pytest.raises(UnsupportedCompressionTypeError, match=needs):
            cluster.admin.alter_topic("flights", set={"compression.type": "zstd"})
        assert cluster.admin.list_topics() == ["flights"]
        with cluster.producer(compression_type="gzip") as producer:
            producer.send("flights", value_of(1)).result(60.0)
        assert codecs_in_files(cluster, "flights") == ["gzip"]


def test_the_command_line_prints_what_to_install(poor_daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights")
    assert cli.run(["topic", "alter", "flights", "--name", "t", "--config", "compression.type=lz4"]) == 1
    assert "-m pip install cramjam" in capfd.readouterr().err
    assert cli.run(["produce", "flights", "--name", "t", "--compression", "snappy", "--file", os.devnull]) == 1
    assert "-m pip install cramjam" in capfd.readouterr().err


def test_a_consumer_without_the_library_is_told_at_the_first_batch_that_needs_it(
    cluster: shmlog.Cluster, tmp_path: Path
) -> None:
    cluster.admin.create_topic("flights")
    with cluster.producer(compression_type="zstd") as producer:
        producer.send("flights", value_of(1)).result(60.0)
    (tmp_path / "cramjam.py").write_text("raise ImportError('not installed')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "shmlog", "consume", "flights", "--name", cluster.name],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "flights-0: the zstd batch at offset 0 cannot be read here: zstd needs the package cramjam" in done.stderr
    assert "pip install cramjam" in done.stderr


def test_metrics_and_status_stay_json_with_compressed_partitions(
    cluster: shmlog.Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.admin.create_topic("flights", config={"compression.type": "zstd", "compression.zstd.level": 9})
    with cluster.producer() as producer:
        producer.send_many("flights", [value_of(number) for number in range(100)])
    assert cli.run(["topic", "describe", "flights", "--name", cluster.name, "-o", "json"]) == 0
    described = orjson.loads(capfd.readouterr().out)
    assert "zstd" in str(described)

"""A topic goes from one cluster into a file and into another cluster, and is there what it was."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.cli import main as cli
from shmlog.control.paths import runtime_paths
from shmlog.log.archive import ArchivedPartition, ArchiveReader, ArchiveWriter, Manifest
from shmlog.log.imported_topic import ImportedTopic
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.supervisor.topic_import import import_topic, stopped_cluster
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

pytestmark = pytest.mark.slow

COUNT = 500


def everything(cluster: shmlog.Cluster, topic: str) -> list[shmlog.Record]:
    return sorted(read_all(cluster, topic), key=lambda record: (record.partition, record.offset))


def fields(record: shmlog.Record) -> tuple[object, ...]:
    return record.partition, record.offset, record.timestamp_ms, record.key, record.value, record.headers


@pytest.mark.parametrize("name", ["orders.tar", "orders.tar.gz"])
def test_a_topic_reads_as_it_did_after_a_way_through_a_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, elsewhere = str(tmp_path / name), tmp_path / "elsewhere"
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("orders", partitions=2, config={"retention.ms": -1, "compression.type": "gzip"})
        with cluster.producer() as producer:
            for number in range(COUNT):
                key = b"%d" % number if number % 3 else None
                producer.send(
                    "orders", b"value %d" % number, key=key, headers=[("n", b"%d" % number)], timestamp_ms=1000 + number
                )
        gone = cluster.admin.delete_records({shmlog.TopicPartition("orders", 0): 7})
        assert list(gone.values()) == [7]
        sent = everything(cluster, "orders")
        assert cli.run(["topic", "export", "orders", file, "--name", cluster.name]) == 0
        assert f"2 partitions, {COUNT - 7} records" in capsys.readouterr().out
        assert cli.run(["topic", "export", "orders", file, "--name", cluster.name]) == 2
    assert len(sent) == COUNT - 7

    arguments = ["topic", "import", file, "--data-dir", str(elsewhere), "--config", "segment.bytes=1048576"]
    assert cli.run([*arguments, "--topic", "old-orders"]) == 0
    assert f"imported old-orders: 2 partitions, {COUNT - 7} records" in capsys.readouterr().out
    assert cli.run([*arguments, "--topic", "old-orders"]) == 1
    assert "already exists" in capsys.readouterr().err
    with shmlog.start(elsewhere) as cluster:
        assert list(map(fields, everything(cluster, "old-orders"))) == list(map(fields, sent))
        settings = cluster.admin.describe_topic("old-orders").config
        assert settings == {"retention.ms": "-1", "compression.type": "gzip", "segment.bytes": "1048576"}
        ends = {partition: max(one.offset for one in sent if one.partition == partition) + 1 for partition in range(2)}
        for _ in range(2):
            with cluster.producer() as producer:
                for partition, end in ends.items():
                    assert producer.send("old-orders", b"new", partition=partition).result(60.0).offset == end
                    ends[partition] += 1
        found = everything(cluster, "old-orders")
    assert len(found) == COUNT - 7 + 4
    assert {one.leader_epoch for one in found if one.value == b"new"} == {1}


def test_a_log_that_begins_late_and_has_holes_is_led_and_followed(tmp_path: Path) -> None:
    offsets = [1000, 1001, 1010, 1500]
    partitions = [ArchivedPartition(0, 990, 2000, [[4, 0]])]
    path = str(tmp_path / "sparse.tar")
    with ArchiveWriter(path, Manifest("sparse", {}, partitions, 0, "0")) as archive:
        for offset in offsets:
            batch = encode_batch([NewRecord(b"%d" % offset, b"key", 5)], base_offset=offset, leader_epoch=4)
            archive.add(0, offset, batch)
        archive.finish()
    data, disks = tmp_path / "data", [tmp_path / "disk0", tmp_path / "disk1"]
    with (
        closing(ArchiveReader(path)) as reader,
        stopped_cluster("default", runtime_paths("default"), str(data), list(map(str, disks))) as stopped,
    ):
        made = import_topic(
            stopped,
            reader.manifest,
            reader.batches(),
            topic="sparse",
            replication_factor=2,
            config={"retention.ms": "-1"},
        )
    assert made == len(offsets)
    for life in range(2):
        with shmlog.start(data, config={"log.dirs": disks}) as cluster:
            assert [one.offset for one in everything(cluster, "sparse")][: len(offsets)] == offsets
            with cluster.producer() as producer:
                assert producer.send("sparse", b"more").result(60.0).offset == 2000 + life
            partition = shmlog.TopicPartition("sparse", 0)

            def is_in_sync(cluster: shmlog.Cluster = cluster) -> bool:
                (found,) = cluster.admin.describe_topic("sparse").partitions
                return sum(one.in_sync for one in found.replicas) == 2

            wait_until(is_in_sync)
            with cluster.consumer("sparse", consumer_timeout_ms=500) as consumer:
                consumer.seek(partition, 1002)
                assert next(iter(consumer)).offset == 1010
    copies = [shmlog.open_log(path) for path in (disk / "sparse-0" for disk in disks)]
    assert [one.offset for one in copies[0]] == [one.offset for one in copies[1]] == [*offsets, 2000, 2001]


def test_a_topic_is_imported_while_its_cluster_and_producers_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = [tmp_path / "disk0", tmp_path / "disk1"]
    file, imported = str(tmp_path / "orders.tar"), {shmlog.TopicPartition("again", number): 0 for number in range(2)}
    with shmlog.start(tmp_path / "data", config={"log.dirs": disks}) as cluster:
        cluster.admin.create_topic("orders", partitions=2, replication_factor=2, config={"retention.ms": -1})
        with cluster.producer() as producer:
            for number in range(COUNT):
                producer.send("orders", b"%d" % number, partition=number % 2, timestamp_ms=1000 + number)
            producer.flush()
            cluster.admin.delete_records({shmlog.TopicPartition("orders", 1): 5})
            sent = everything(cluster, "orders")
            assert cli.run(["topic", "export", "orders", file, "--name", cluster.name]) == 0
            nowhere = str(tmp_path / "nowhere" / "orders.tar")
            assert cli.run(["topic", "export", "orders", nowhere, "--name", cluster.name]) == 1
            assert f"{nowhere}: No such file or directory; nothing was exported" in capsys.readouterr().err
            command = ["topic", "import", file, "--name", cluster.name, "--replication-factor", "2"]
            assert cli.run(command) == 1
            assert "'orders' already exists" in capsys.readouterr().err
            assert cli.run([*command, "--topic", "again", "--log-dir", str(tmp_path)]) == 2
            assert "--log-dir is for a cluster that is stopped" in capsys.readouterr().err
            assert cli.run([*command, "--topic", "again", "--data-dir", str(tmp_path)]) == 2
            assert f"with its data in {tmp_path / 'data'}: leave it out" in capsys.readouterr().err
            assert cli.run([*command, "--topic", "again"]) == 0
            assert f"imported again: 2 partitions, {COUNT - 5} records\n" in capsys.readouterr().out
            assert list(map(fields, everything(cluster, "again"))) == list(map(fields, sent))
            for partition in imported:
                assert producer.send("again", b"new", partition=partition.partition).result(60.0).offset == COUNT // 2
            producer.send("orders", b"new", partition=0).result(60.0)

            def all_in_sync() -> bool:
                found = cluster.admin.describe_topic("again").partitions
                return all(sum(replica.in_sync for replica in one.replicas) == 2 for one in found)

            wait_until(all_in_sync)
        assert cluster.admin.describe_topic("again").config == {"retention.ms": "-1"}
        assert not [path for disk in disks for path in disk.glob("*.import")]
    copies = [[one.value for one in shmlog.open_log(disk / "again-1").records(from_offset=5)] for disk in disks]
    assert copies[0] == copies[1] == [b"%d" % number for number in range(11, COUNT, 2)] + [b"new"]


@pytest.mark.parametrize("when", ["while the logs are written", "before it is asked for the topic"])
def test_an_import_that_a_supervisor_dies_over_leaves_nothing_and_can_be_repeated(
    when: str, real_daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "small.tar")
    with ArchiveWriter(file, Manifest("small", {}, [ArchivedPartition(0, 3, 9, [[4, 0]])], 0, "0")) as archive:
        archive.add(0, 3, encode_batch([NewRecord(b"a")], base_offset=3, leader_epoch=4))
        archive.finish()
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()

    def replace_supervisor() -> None:
        real_daemon.kill()
        real_daemon.start()

    fill = ImportedTopic.fill

    def filled_before(topic: ImportedTopic, batches: Iterable[tuple[int, bytes]]) -> None:
        fill(topic, batches)
        replace_supervisor()

    def written(done: int, size: int) -> None:
        assert 0 < done <= size
        if when.startswith("while"):
            replace_supervisor()

    with shmlog.connect("t") as cluster:
        with monkeypatch.context() as patched:
            if when.startswith("before"):
                patched.setattr(ImportedTopic, "fill", filled_before)
            with pytest.raises(shmlog.ShmlogError, match="import .* again") as raised:
                cluster.admin.import_topic(file, config={"retention.ms": -1}, progress=written)
        assert type(raised.value) is (shmlog.StorageError if when.startswith("while") else shmlog.InvalidRequestError)
        assert cluster.admin.list_topics() == []
        wait_until(lambda: not list(real_daemon.data_dir.glob("*import*")))
        made = cluster.admin.import_topic(file, config={"retention.ms": -1})
        assert (made.topic.name, made.records) == ("small", 1)
        with cluster.producer() as producer:
            assert producer.send("small", b"b").result(60.0).offset == 9
        assert [one.offset for one in everything(cluster, "small")] == [3, 9]


def test_an_import_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path, data = str(tmp_path / "broken.tar"), tmp_path / "data"
    manifest = Manifest("broken", {}, [ArchivedPartition(0, 0, 4), ArchivedPartition(1, 0, 4)], 0, "0")
    with ArchiveWriter(path, manifest) as archive:
        archive.add(0, 0, encode_batch([NewRecord(b"a")], base_offset=0))
        archive.add(1, 0, encode_batch([NewRecord(b"a")], base_offset=0) + b"garbage" * 20)
        archive.finish()
    assert cli.run(["topic", "import", path, "--data-dir", str(data)]) == 1
    assert not list(data.glob("broken-*"))
    with shmlog.start(data) as cluster:
        assert cluster.admin.list_topics() == []
        cluster.admin.create_topic("broken")

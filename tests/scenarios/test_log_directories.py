"""A cluster on two disks: where partitions go, and what becomes of it when one disk is not there at a start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

import shmlog
from shmlog.control.messages import AlterTopic, DeleteTopic, Done, TopicsDescribed
from shmlog.errors import InvalidReplicationFactorError, LeaderNotAvailableError, StartError, StorageError
from shmlog.limits import LANE_BYTES_FIRST
from shmlog.memory import names, region
from shmlog.memory.lane import create_lane
from shmlog.testing import wait_until
from tests.released import fixtures

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

pytestmark = pytest.mark.slow


@pytest.fixture
def disks(tmp_path: Path) -> dict[str, object]:
    """The configuration of a cluster with two of them, below `tmp_path`."""
    return {"log.dirs": [tmp_path / "disk0", tmp_path / "disk1"]}


def values(cluster: shmlog.Cluster, *places: shmlog.TopicPartition) -> list[bytes | None]:
    """What is in these partitions, in order of the partitions."""
    with cluster.consumer(consumer_timeout_ms=5000) as consumer:
        consumer.assign(places)
        found: list[shmlog.Record] = []
        while len(found) < len(places):
            found.append(next(consumer))
    return [record.value for record in sorted(found, key=lambda record: record.partition)]


def one_each(cluster: shmlog.Cluster, topic: str, partitions: int) -> None:
    """One record in each partition: its number."""
    with cluster.producer() as producer:
        for number in range(partitions):
            producer.send(topic, b"%d" % number, partition=number)


def test_a_topic_is_spread_over_the_disks_and_survives_a_restart(tmp_path: Path, disks: dict[str, object]) -> None:
    places = [shmlog.TopicPartition("t", number) for number in range(4)]
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        created = cluster.admin.create_topic("t", partitions=3, config={"file.delete.delay.ms": 0})
        cluster.admin.create_partitions("t", 4)
        one_each(cluster, "t", 4)
        assert [Path(one.log_dir) for one in created.partitions] == [
            tmp_path / "disk0" / "t-0",
            tmp_path / "disk1" / "t-1",
            tmp_path / "disk0" / "t-2",
        ]
        first, second = cluster.describe().directories
        assert (first.path, first.replicas, second.path, second.replicas) == (
            *(str(tmp_path / "disk0"), 2),
            *(str(tmp_path / "disk1"), 2),
        )
        assert {one.directory_id for one in created.partitions} == {first.directory_id, second.directory_id}
        assert (first.free_bytes or 0) > 0
        assert (first.error, first.takes_new) == ("", True)
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        assert values(cluster, *places) == [b"0", b"1", b"2", b"3"]
        cluster.admin.delete_topic("t")

        wait_until(lambda: not list(tmp_path.glob("disk?/t-*")), timeout_s=20.0)
    assert not any(path.name.startswith("t-") for path in (tmp_path / "data").iterdir())


def test_a_cluster_without_one_of_its_disks_runs_what_it_has_and_names_what_is_missing(
    tmp_path: Path, disks: dict[str, object]
) -> None:
    places = [shmlog.TopicPartition("t", number) for number in range(4)]
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        cluster.admin.create_topic("t", partitions=4)
        one_each(cluster, "t", 4)
    (tmp_path / "disk1").rename(tmp_path / "unplugged")
    missing = f"its log is in {tmp_path / 'disk1'} (directory.id "
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        found = cluster.admin.describe_topic("t").partitions
        assert [one.state for one in found] == ["running", "offline", "running", "offline"]
        assert missing in found[1].error
        assert values(cluster, places[0], places[2]) == [b"0", b"2"]
        with pytest.raises(LeaderNotAvailableError) as caught, cluster.producer(max_block_ms=10_000) as producer:
            producer.send("t", b"x", partition=3)
        assert missing in str(caught.value)
        (gone,) = [one for one in cluster.describe().directories if one.error]
        assert (gone.path, gone.replicas, gone.free_bytes) == (str(tmp_path / "disk1"), 2, None)
        elsewhere = cluster.admin.create_topic("u", partitions=2)
        assert {Path(one.log_dir).parent for one in elsewhere.partitions} == {tmp_path / "disk0"}
    (tmp_path / "unplugged").rename(tmp_path / "disk2")
    with shmlog.start(tmp_path / "data", config={"log.dirs": f"{tmp_path}/disk0, {tmp_path}/disk2"}) as cluster:
        assert values(cluster, *places) == [b"0", b"1", b"2", b"3"]
        assert {one.state for one in cluster.admin.describe_topic("t").partitions} == {"running"}


def test_a_topic_can_be_deleted_and_made_again_without_one_of_its_disks_and_its_old_log_goes_when_it_is_back(
    tmp_path: Path, disks: dict[str, object]
) -> None:
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        cluster.admin.create_topic("t", partitions=2)
        cluster.admin.create_topic("kept", partitions=2)
        one_each(cluster, "t", 2)
        one_each(cluster, "kept", 2)
    (tmp_path / "disk1").rename(tmp_path / "unplugged")
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        cluster.admin.delete_topic("t")
        cluster.admin.create_topic("t", partitions=2)
    (tmp_path / "unplugged").rename(tmp_path / "disk1")
    for _ in range(2):
        with shmlog.start(tmp_path / "data", config=disks) as cluster:
            wait_until(lambda: not any(name.startswith("t-") for name in os.listdir(tmp_path / "disk1")))
            assert values(cluster, shmlog.TopicPartition("kept", 0), shmlog.TopicPartition("kept", 1)) == [b"0", b"1"]
            assert cluster.admin.create_topic(f"new{len(cluster.admin.list_topics())}").partitions[0].state == "running"


def test_a_log_that_has_got_the_name_of_one_that_waits_to_be_erased_is_not_erased(
    tmp_path: Path, disks: dict[str, object]
) -> None:
    """As after a start that erased the old log and was killed before it could note that."""
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        cluster.admin.create_topic("t", partitions=2)
    (tmp_path / "disk1").rename(tmp_path / "unplugged")
    with shmlog.start(tmp_path / "data", config=disks) as cluster:
        cluster.admin.delete_topic("t")
    (tmp_path / "unplugged").rename(tmp_path / "disk1")
    (tmp_path / "disk1" / "t-1" / "partition.metadata").write_text(f"version: 0\ntopic_id: {'B' * 22}\n")
    with shmlog.start(tmp_path / "data", config=disks):
        assert (tmp_path / "disk1" / "t-1").is_dir()


def test_offline_partitions_are_deleted_with_their_topic_and_a_clean_stop_leaves_no_memory(
    daemon: Daemon, tmp_path: Path
) -> None:
    daemon.config = f'[cluster]\nlog.dirs = ["{tmp_path}/disk0", "{tmp_path}/disk1"]\n'
    daemon.start()
    daemon.peer().create("t", 2)
    assert daemon.stop() == 0
    shutil.rmtree(tmp_path / "disk1")
    daemon.start()
    peer = daemon.peer()
    assert [one.state for one in peer.topic("t").partitions] == ["running", "offline"]
    assert f"the log directory {tmp_path}/disk1 (directory.id " in daemon.log()
    assert "; partitions that are offline until then: 1\n" in daemon.log()
    grown = peer.ask(AlterTopic(0, "t", {}, [], 3), TopicsDescribed).topics[0]
    assert grown.partitions[2].log_dir == f"{tmp_path}/disk0/t-2"
    peer.create("u", 1)
    peer.ask(DeleteTopic(0, "t"), Done)
    peer.close()
    assert daemon.stop() == 0
    assert not (daemon.directory / "run").exists()
    assert "could not be closed" not in daemon.log()
    daemon.start()  # nothing of the lost directory is needed any more: it is made anew
    assert (tmp_path / "disk1" / "meta.properties").is_file()
    assert daemon.peer().create("v", 1).partitions[0].log_dir == f"{tmp_path}/disk1/v-0"


def test_what_a_killed_owner_had_not_written_waits_in_memory_for_the_disk(real_daemon: Daemon, tmp_path: Path) -> None:
    disk = ("--log-dir", str(tmp_path / "disk"))
    real_daemon.start(*disk)
    peer = real_daemon.peer()
    peer.create("t")
    tag, owner = peer.welcome.cid8, peer.partition("t").pid
    real_daemon.kill()
    os.kill(owner, signal.SIGKILL)
    peer.close()
    before = {name for name, _ in region.list_regions(tag) if ".p0." in name}
    assert before
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    real_daemon.start(*disk)
    assert real_daemon.running("t") == 0
    assert real_daemon.stop() == 0
    assert {name for name, _ in region.list_regions(tag)} == before
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    real_daemon.start(*disk)
    wait_until(lambda: real_daemon.running("t"), timeout_s=20.0)
    assert "took over at offset 0" in real_daemon.log()


def test_lanes_of_the_dead_are_removed_though_a_disk_is_missing_but_for_those_of_its_partitions(
    real_daemon: Daemon, tmp_path: Path
) -> None:
    """Regression: nothing was removed before all partitions ran."""
    disks = ("--log-dir", str(tmp_path / "disk0"), "--log-dir", str(tmp_path / "disk1"))
    real_daemon.start(*disks)
    peer = real_daemon.peer()
    topic = peer.create("t", 2)
    away, here = (peer.open_lane("t", number).region for number in range(2))
    tag = peer.welcome.cid8
    real_daemon.kill()
    for partition in topic.partitions:
        os.kill(partition.pid, signal.SIGKILL)
    peer.close()
    stray = names.lane(tag, 10_000)  # killed before the owner had heard of it, or before it was unlinked
    create_lane(stray, lane_id=10_000, data_bytes=LANE_BYTES_FIRST, linger_us=0, mode=0o600)

    def lanes() -> set[str]:
        return {name for name, _ in region.list_regions(tag)} & {away, here, stray}

    (tmp_path / "disk0").rename(tmp_path / "unplugged")
    real_daemon.start(*disks)
    wait_until(lambda: lanes() == {away}, timeout_s=20.0, what="the end of the other lanes")
    assert real_daemon.stop() == 0
    assert lanes() == {away}
    (tmp_path / "unplugged").rename(tmp_path / "disk0")
    real_daemon.start(*disks)
    wait_until(lambda: lanes() == set(), timeout_s=20.0, what="the end of all lanes")


def test_a_cluster_whose_only_disk_is_missing_starts_and_refuses_new_topics_with_the_reason(tmp_path: Path) -> None:
    disk = {"log.dirs": tmp_path / "disk"}
    with shmlog.start(tmp_path / "data", config=disk) as cluster:
        cluster.admin.create_topic("t")
    (tmp_path / "disk").rename(tmp_path / "gone")
    with shmlog.start(tmp_path / "data", config=disk) as cluster:
        with pytest.raises(StorageError, match="the log directory .*/disk cannot be read"):
            cluster.admin.create_topic("u")
        assert cluster.admin.list_topics() == ["t"]


def test_a_log_directory_is_used_by_one_cluster_at_a_time_and_belongs_to_it(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start("--log-dir", str(tmp_path / "disk"))
    daemon.peer().close()
    with pytest.raises(StartError, match=rf"log directory .*/disk is in use by process {daemon.pid} \(cluster 't'\)"):
        shmlog.start(tmp_path / "data", config={"log.dirs": tmp_path / "disk"})
    assert daemon.stop(signal.SIGTERM) == 0
    with pytest.raises(StartError, match="belongs to another cluster"):
        shmlog.start(tmp_path / "data", config={"log.dirs": tmp_path / "disk"})
    with pytest.raises(StartError, match="is a log directory of the cluster with id"):
        shmlog.start(tmp_path / "disk")


def test_a_cluster_that_is_shared_with_a_group_lets_its_members_into_its_log_directories(
    daemon: Daemon, tmp_path: Path
) -> None:
    group = 12345 if os.getuid() == 0 else max(os.getgroups())
    daemon.config = f'[cluster]\nshm.group = "{group}"\nshm.mode = 660\nlog.dirs = "{tmp_path}/disk"\n'
    daemon.start()
    status = (tmp_path / "disk").stat()
    assert (status.st_gid, status.st_mode & 0o777) == (group, 0o750)


def test_a_topic_that_does_not_say_how_many_replicas_gets_the_default_and_nobody_gets_none(tmp_path: Path) -> None:
    with shmlog.start(tmp_path, config={"default.replication.factor": 2}) as cluster:
        (partition,) = cluster.admin.create_topic("t").partitions
        assert [one.replica_id for one in partition.replicas] == [0, 1]
        with pytest.raises(InvalidReplicationFactorError, match="must be 1 to 16, not 0"):
            cluster.admin.create_topic("u", replication_factor=0)


@pytest.mark.parametrize("how_it_ended", ["cluster", "clean"])
def test_a_cluster_of_before_there_were_log_directories_gets_disks_and_keeps_its_topics_where_they_are(
    tmp_path: Path, disks: dict[str, object], how_it_ended: str
) -> None:
    data = tmp_path / "data"
    fixtures.restore("1.0", how_it_ended, data)
    assert "directory.id" not in (data / "meta.properties").read_text()
    with shmlog.start(data, config=disks) as cluster:
        for topic in fixtures.TOPICS:
            for partition in cluster.admin.describe_topic(topic).partitions:
                assert (partition.state, Path(partition.log_dir).parent) == ("running", data)
        (old,) = [one for one in cluster.describe().directories if not one.takes_new]
        assert (old.path, old.replicas) == (str(data), sum(fixtures.TOPICS.values()))
        assert f"directory.id={old.directory_id}\n" in (data / "meta.properties").read_text()
        assert Path(cluster.admin.create_topic("new").partitions[0].log_dir) == tmp_path / "disk0" / "new-0"
    with shmlog.start(data) as cluster:  # and without them again
        assert [one.state for one in cluster.admin.describe_topic("new").partitions] == ["offline"]
        assert [one.state for one in cluster.admin.describe_topic("weather").partitions] == ["running"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "shmlog.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60.0)


def test_status_and_describe_show_where_logs_are_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHMLOG_CLUSTER", f"disks-{os.getpid()}")
    up = ["up", "--detach", "--data-dir", str(tmp_path / "data")]
    up += ["--log-dir", str(tmp_path / "disk0"), "--log-dir", str(tmp_path / "disk1")]
    assert run(*up).returncode == 0
    assert run("topic", "create", "t", "--partitions", "2").returncode == 0
    assert str(tmp_path / "disk1" / "t-1") in run("topic", "describe", "t").stdout
    whole = run("status")
    assert whole.returncode == 0
    assert f"logs {tmp_path / 'disk0'} (" in whole.stdout
    assert "): 1 replica, " in whole.stdout
    assert run("down").returncode == 0
    (tmp_path / "disk1").rename(tmp_path / "unplugged")
    started = run(*up)
    assert started.returncode == 0
    assert f"; 1 of 2 partitions run; the log directory {tmp_path / 'disk1'} cannot be read" in started.stdout
    broken = run("status")
    assert broken.returncode == 1
    assert "offline: it cannot be read (No such file or directory)" in broken.stdout
    told = f"t-1: StorageError: its log is in {tmp_path / 'disk1'} (directory.id "
    assert told in broken.stderr
    assert told in run("topic", "describe", "t").stderr
    shown = orjson.loads(run("status", "-o", "json").stdout)
    assert [(one["path"], one["replicas"], one["free_bytes"] is None) for one in shown["directories"]] == [
        (str(tmp_path / "disk0"), 1, False),
        (str(tmp_path / "disk1"), 1, True),
    ]
    assert run("down").returncode == 0


def test_a_cluster_whose_metadata_log_was_deleted_has_its_topics_back_and_says_so(daemon: Daemon) -> None:
    disks = [argument for name in "ab" for argument in ("--log-dir", str(daemon.directory / name))]
    daemon.start(*disks)
    daemon.peer().create("calm", 2)
    daemon.resources.close()
    daemon.stop()
    shutil.rmtree(daemon.data_dir / "__cluster_metadata-0")
    daemon.start(*disks)
    assert len(daemon.peer().topic("calm").partitions) == 2
    (status,) = [notice for notice in daemon.notices if notice.startswith("STATUS=") and "restored" in notice]
    assert f"from its copy {daemon.directory / 'a' / '__cluster_metadata-0'}" in status


def test_who_lost_all_of_the_data_directory_goes_on_with_a_new_one_that_names_the_cluster(daemon: Daemon) -> None:
    disks = ["--log-dir", str(daemon.directory / "a")]
    daemon.start(*disks)
    daemon.peer().create("calm", 2)
    daemon.resources.close()
    daemon.stop()
    properties = (daemon.directory / "a" / "meta.properties").read_text().splitlines()
    (cluster_id,) = [line for line in properties if line.startswith("cluster.id=")]
    shutil.rmtree(daemon.data_dir)
    daemon.data_dir.mkdir()
    (daemon.data_dir / "meta.properties").write_text(f"version=1\n{cluster_id}\n")
    daemon.start(*disks)
    partitions = daemon.peer().topic("calm").partitions
    assert [partition.state for partition in partitions] == ["running", "running"]

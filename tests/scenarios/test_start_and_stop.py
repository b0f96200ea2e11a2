"""How a cluster begins, how it ends, and what the next start makes of what the last one left."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shmlog.control.messages import ClusterDescribed, DeleteTopic, DescribeCluster, Done, Subscribe
from shmlog.log.partition_log import PartitionLog
from shmlog.memory import region
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.supervisor.metadata import METADATA_TOPIC_ID
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

Gone = Callable[[int], None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_leaves_only_the_data(daemon: Daemon, number: signal.Signals, gone: Gone) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm", 3)
    peer.open_lane("calm", 1)
    tag, owner = peer.welcome.cid8, peer.partition("calm", 2).pid
    zygote = peer.ask(DescribeCluster(0), ClusterDescribed).zygote_pid
    assert daemon.stop(number) == 0
    daemon.heard("STOPPING=1")
    for pid in (owner, zygote):
        gone(pid)
    assert region.list_regions(tag) == []
    assert not (daemon.directory / "run").exists()
    assert sorted(path.name for path in daemon.data_dir.iterdir() if "orders" not in path.name) == [
        ".lock",
        "__cluster_metadata-0",
        *(f"calm-{number}" for number in range(3)),
        "meta.properties",
    ]


def test_an_embedded_cluster_ends_cleanly_when_its_host_is_gone(daemon: Daemon) -> None:
    reading, writing = os.pipe()
    daemon.start("--embedded", str(reading), pass_fds=(reading,))
    os.close(reading)
    peer = daemon.peer()
    peer.create("calm")
    assert os.getsid(daemon.pid) == daemon.pid, "Ctrl-C in the host's terminal is not for it"
    peer.close()
    os.close(writing)  # as the kernel does for a host that was killed
    assert daemon.ended() == 0
    assert daemon.kinds("calm")[-1] == "Close"
    assert not (daemon.directory / "run").exists()


def test_the_watchdog_is_fed_and_the_limit_of_open_files_is_raised(daemon: Daemon) -> None:
    daemon.environment = {"WATCHDOG_USEC": "100000"}
    daemon.prefix = ["sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh"]
    daemon.start()
    daemon.heard("WATCHDOG=1")
    daemon.heard("WATCHDOG=1")
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
    peer = daemon.peer()
    zygote = peer.ask(DescribeCluster(0), ClusterDescribed).zygote_pid
    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{zygote}/environ").read_bytes()


def test_a_cluster_that_is_shared_with_a_group_lets_its_members_into_the_data_directory(daemon: Daemon) -> None:
    group = 12345 if os.getuid() == 0 else max(os.getgroups())
    daemon.config = f'[cluster]\nshm.group = "{group}"\nshm.mode = 660\n'
    daemon.start()
    status = daemon.data_dir.stat()
    assert (status.st_gid, status.st_mode & 0o777) == (group, 0o750)
    assert os.stat(daemon.runtime.control_socket).st_mode & 0o777 == 0o660


# --- what keeps it from starting --------------------------------------------------------------------------------------


def test_a_second_cluster_of_the_same_name_is_refused_naming_process_and_data_directory(daemon: Daemon) -> None:
    daemon.start()
    last = daemon.fails_to_start("--data-dir", str(daemon.directory / "other"))
    assert last.startswith("error: cluster 't' is already running: ")
    assert f"process {daemon.pid}, data directory {daemon.data_dir}" in last
    daemon.peer().close()


def test_a_data_directory_in_use_is_refused_naming_the_process_and_nothing_is_left(daemon: Daemon) -> None:
    daemon.start()
    last = daemon.fails_to_start("--name", "other")
    assert f"the data directory {daemon.data_dir} is in use by process {daemon.pid} (cluster 't')" in last
    assert os.listdir(daemon.directory / "run") == ["t"]
    daemon.peer().close()


def test_a_data_directory_of_another_version_is_refused_naming_both(daemon: Daemon) -> None:
    daemon.data_dir.mkdir()
    (daemon.data_dir / "meta.properties").write_text("version=7\ncluster.id=x\nshmlog.version=9.9.9\n")
    last = daemon.fails_to_start()
    assert "has version 7 (written by shmlog 9.9.9)" in last
    assert "reads version 1" in last
    assert not (daemon.directory / "run").exists()


def test_a_directory_with_somebody_elses_files_is_not_made_a_data_directory(daemon: Daemon) -> None:
    daemon.data_dir.mkdir()
    (daemon.data_dir / "thesis.txt").write_text("important")
    assert "it has thesis.txt but no meta.properties" in daemon.fails_to_start()
    assert sorted(os.listdir(daemon.data_dir)) == [".lock", "thesis.txt"]


def test_a_metadata_log_of_a_newer_version_is_refused_and_left_alone(daemon: Daemon) -> None:
    daemon.start()
    daemon.stop()
    directory = str(daemon.data_dir / "__cluster_metadata-0")
    log = PartitionLog.open(directory, TopicConfig.from_mapping({}), topic_id=METADATA_TOPIC_ID)
    log.append(encode_batch([NewRecord(b'{"type":"TopicSharded","version":3}')], base_offset=log.log_end_offset))
    log.close(clean=True)
    last = daemon.fails_to_start()
    assert "'TopicSharded' of version 3" in last
    assert not (daemon.directory / "run").exists()


def test_a_wrong_setting_in_the_file_is_the_last_line(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nshm.budget.bites = 1\n"
    last = daemon.fails_to_start()
    assert "unknown cluster setting 'shm.budget.bites': did you mean 'shm.budget.bytes'?" in last


# --- after kill -9 ----------------------------------------------------------------------------------------------------


def test_a_new_supervisor_ends_orphans_that_do_not_come_back_keeps_living_clients_and_buries_dead_ones(
    daemon: Daemon, gone: Gone
) -> None:
    daemon.start()
    living, dead = daemon.peer(), daemon.peer()
    living.create("remembers", 2)
    living.ask(Subscribe(0, [0, 1]), Done)
    kept, lost = living.open_lane("remembers"), dead.open_lane("remembers")
    old_pids = {living.partition("remembers", number).pid for number in (0, 1)}
    daemon.kill()
    dead.close()  # it dies meanwhile: its life lock is free
    daemon.start()
    for pid in old_pids:
        gone(pid)
    back = daemon.peer(living.welcome.client_id)
    assert back.welcome.client_region == living.welcome.client_region
    wait_until(lambda: lost.region.split(".")[2] not in daemon.regions(back))
    names = daemon.regions(back)
    assert kept.region.split(".")[2] in names
    assert f"c{dead.welcome.client_id}" not in names
    (order,) = [order for order in daemon.orders("remembers") if order["kind"] == "DetachLane"]
    assert (order["lane_id"], order["reason"]) == (lost.lane_id, "dead")


def test_a_client_that_leaves_before_it_has_come_back_to_a_new_supervisor_is_buried(daemon: Daemon) -> None:
    daemon.start()
    client = daemon.peer()
    client.create("remembers")
    lane = client.open_lane("remembers")
    daemon.kill()
    daemon.start()
    other = daemon.peer()
    assert lane.region.split(".")[2] in daemon.regions(other)
    client.close()  # this process lives on, so its pidfd stays silent: only the life lock tells
    gone = {lane.region.split(".")[2], f"c{client.welcome.client_id}"}
    wait_until(lambda: not gone & daemon.regions(other))


def test_real_owners_are_taken_over_after_kill_9_of_everything(real_daemon: Daemon) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights", 2)
    pids = [peer.partition("flights", number).pid for number in (0, 1)]
    zygote = peer.ask(DescribeCluster(0), ClusterDescribed).zygote_pid
    for pid in (real_daemon.pid, zygote, *pids):
        os.kill(pid, signal.SIGKILL)
    assert real_daemon.ended() == -signal.SIGKILL
    peer.close()
    real_daemon.start()
    peer = real_daemon.peer()
    partitions = peer.topic("flights").partitions
    assert [(partition.state, partition.leader_epoch) for partition in partitions] == [("running", 1), ("running", 1)]
    assert real_daemon.log().count("took over at offset 0") == 2
    tag = peer.welcome.cid8
    peer.close()
    assert real_daemon.stop() == 0
    assert region.list_regions(tag) == []


def test_a_real_owner_killed_under_an_open_lane_is_replaced_over_its_ring(real_daemon: Daemon) -> None:
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights")
    lane = peer.open_lane("flights")
    first = peer.partition("flights")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: real_daemon.running("flights", but_not=first.pid))
    assert peer.partition("flights").leader_epoch == first.leader_epoch + 1
    assert lane.region.split(".")[2] in real_daemon.regions(peer)


@pytest.mark.parametrize("end", ["the topic is deleted", "the cluster stops"])
def test_an_owner_that_is_stopped_while_it_closes_is_replaced_and_the_end_comes(real_daemon: Daemon, end: str) -> None:
    real_daemon.config = "[cluster]\nowner.unresponsive.ms = 500\n"
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights")
    os.kill(peer.partition("flights").pid, signal.SIGSTOP)
    if end == "the topic is deleted":
        peer.ask(DeleteTopic(0, "flights"), Done)
    peer.close()
    assert real_daemon.stop() == 0
    assert "the owner of flights-0 does not react: killing it" in real_daemon.log()
    assert not (real_daemon.directory / "run").exists()


def test_a_stopped_owner_is_replaced_even_if_nobody_asked_it_for_anything(real_daemon: Daemon) -> None:
    real_daemon.config = "[cluster]\nowner.unresponsive.ms = 1000\n"
    real_daemon.start()
    peer = real_daemon.peer()
    peer.create("flights", 2)
    stuck, idle = peer.topic("flights").partitions
    os.kill(stuck.pid, signal.SIGSTOP)
    wait_until(lambda: real_daemon.running("flights", but_not=stuck.pid), timeout_s=30.0)
    assert peer.partition("flights", 0).leader_epoch == stuck.leader_epoch + 1
    assert peer.partition("flights", 1).pid == idle.pid, "an idle owner answers its bell"

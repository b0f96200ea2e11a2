"""A real supervisor and its processes, with owners that misbehave on request: who is replaced, what is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import (
    AlterTopic,
    CloseLane,
    ClusterDescribed,
    CreateTopic,
    DeleteTopic,
    DescribeCluster,
    DescribeTopics,
    Done,
    Failed,
    Hello,
    InitProducerId,
    OpenLane,
    ProducerIdGranted,
    Shutdown,
    Subscribe,
    TopicsDescribed,
    Unsubscribe,
)
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

Gone = Callable[[int], None]


def cluster(daemon: Daemon) -> ClusterDescribed:
    peer = daemon.peer()
    found = peer.ask(DescribeCluster(0), ClusterDescribed)
    peer.close()
    return found


def is_running(daemon: Daemon, topic: str, *, but_not: int = 0) -> int:
    """Pid of the topic's running owner, 0 if there is none or if it is `but_not`."""
    peer = daemon.peer()
    partition = peer.partition(topic)
    peer.close()
    return partition.pid if partition.state == "running" and partition.pid != but_not else 0


# --- owners -----------------------------------------------------------------------------------------------------------


def test_a_killed_owner_is_replaced_under_a_higher_epoch(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    first = peer.partition("calm")
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: is_running(daemon, "calm", but_not=first.pid))
    assert [order["epoch"] for order in daemon.orders("calm") if order["kind"] == "start"] == [0, 1]
    assert peer.partition("calm").leader_epoch == 1
    assert cluster(daemon).restarts == 1
    peer.close()


def test_an_owner_gets_nothing_of_its_ancestors_but_its_channel(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    for name in ("calm.1", "calm.2"):
        peer.create(name)
        pid = peer.partition(name).pid
        opened = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2}
        assert len([link for link in opened if link.startswith("socket:")]) == 1, opened
        assert not [link for link in opened if "pidfd" in link or "poll" in link], opened
        assert os.getsid(pid) == pid
    peer.close()


def test_workers_outlive_signals_that_are_not_for_them(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    owner, zygote = peer.partition("calm").pid, cluster(daemon).zygote_pid
    for pid in (owner, zygote):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    peer.create("calm.2")
    assert peer.partition("calm").pid == owner
    assert cluster(daemon).zygote_pid == zygote
    peer.close()


def test_a_topic_whose_owner_cannot_start_is_not_created_and_the_reason_is_told(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "refuses", 2, 1, {}))
    assert refusal.error == "StorageError"
    assert "was not created: the disk is full" in refusal.message

    def is_free() -> bool:
        again = peer.refused(CreateTopic(0, "refuses", 2, 1, {}))
        return "the disk is full" in again.message  # not "already exists" or "being deleted"

    wait_until(is_free)
    assert peer.ask(DescribeTopics(0, None), TopicsDescribed).topics == []
    peer.close()


def test_an_owner_that_no_restart_can_help_takes_only_its_partition_offline(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    os.rename(daemon.data_dir / "calm-0.orders", daemon.data_dir / "kept")
    daemon.environment = {}
    refusal = peer.refused(CreateTopic(0, "foreign", 1, 1, {}))
    assert refusal.error == "ForeignVersionError"
    assert peer.partition("calm").state == "running"
    peer.close()


def test_an_owner_that_talks_nonsense_is_killed_and_replaced(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("babbles")
    wait_until(lambda: len([order for order in daemon.orders("babbles") if order["kind"] == "start"]) >= 3)
    assert "talks nonsense" in daemon.log()
    peer.ask(DeleteTopic(0, "babbles"), Done)  # closed uncleanly, it would be left for the next start
    peer.close()


def test_an_owner_that_does_not_answer_is_killed_and_its_successor_gets_the_order(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nowner.unresponsive.ms = 300\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("deaf")
    first = peer.partition("deaf").pid
    peer.send(OpenLane(0, "deaf", 0, peer.producer_id(), 0, 0, None))
    other = daemon.peer()
    wait_until(lambda: other.partition("deaf").pid not in (0, first))
    wait_until(lambda: daemon.kinds("deaf").count("AttachLane") >= 2)
    assert "does not react" in daemon.log()
    peer.close()
    other.close()


def test_an_owner_that_dies_while_it_closes_has_a_successor_that_closes(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("dies")
    peer.close()
    assert daemon.stop() == 0
    assert daemon.kinds("dies") == ["start", "Close", "start", "Close"]


# --- the zygote -------------------------------------------------------------------------------------------------------


def test_a_killed_zygote_is_replaced_and_its_owners_live_on_and_are_still_watched(daemon: Daemon, gone: Gone) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm.1")
    owner, zygote = peer.partition("calm.1").pid, cluster(daemon).zygote_pid
    os.kill(zygote, signal.SIGKILL)
    peer.create("calm.2")
    assert peer.partition("calm.1").pid == owner
    assert cluster(daemon).zygote_pid not in (0, zygote)
    os.kill(owner, signal.SIGKILL)
    wait_until(lambda: is_running(daemon, "calm.1", but_not=owner))
    gone(owner)
    assert not os.path.exists(f"/proc/{owner}"), "the supervisor reaps owners whose zygote is gone"
    peer.close()


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_an_owner_knows_a_client_before_its_first_lane_and_forgets_it_after_the_last(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    lane = peer.open_lane("calm")
    assert lane.region.split(".")[2] in daemon.regions(peer)
    peer.ask(Subscribe(0, [0]), Done)
    peer.ask(CloseLane(0, lane.lane_id), Done)
    assert lane.region.split(".")[2] not in daemon.regions(peer)
    peer.ask(CloseLane(0, lane.lane_id), Done)  # twice is as good as once
    peer.ask(Unsubscribe(0, [0]), Done)
    wait_until(lambda: daemon.kinds("calm")[-1] == "DetachClient")
    assert daemon.kinds("calm") == ["start", "AttachClient", "AttachLane", "DetachLane", "DetachClient"]
    peer.close()


def test_a_successor_gets_the_clients_and_lanes_that_its_predecessor_had(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("remembers")
    peer.ask(Subscribe(0, [0]), Done)
    lane = peer.open_lane("remembers")
    first = peer.partition("remembers").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: is_running(daemon, "remembers", but_not=first))
    peer.ask(CloseLane(0, lane.lane_id), Done)
    after = daemon.kinds("remembers")[4:]
    assert after == ["AttachClient", "DetachLane"]  # the lane itself it found in its table
    assert daemon.kinds("remembers")[:4] == ["start", "AttachClient", "AttachLane", "start"]
    peer.close()


def test_a_lane_that_the_successor_does_not_find_is_attached_again(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    peer.open_lane("calm")
    first = peer.partition("calm").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: daemon.kinds("calm") == 2 * ["start", "AttachClient", "AttachLane"])
    peer.close()


CLIENT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from conftest import Peer
from shmlog.control.paths import runtime_paths
peer = Peer(runtime_paths("t", sys.argv[2]))
peer.open_lane("calm")
child = 0
if len(sys.argv) > 3:
    child = os.fork()  # keeps the socket open when its parent is dead
    if child == 0:
        signal.pause()
print(child, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("somebody_keeps_the_socket", [False, True])
def test_what_a_killed_client_left_is_drained_and_removed(daemon: Daemon, somebody_keeps_the_socket: bool) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    command = [sys.executable, "-c", CLIENT, os.path.dirname(__file__), str(daemon.directory / "run")]
    command += ["fork"] * somebody_keeps_the_socket
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        child = int(client.stdout.readline())
        assert {"l1", "c2"} <= daemon.regions(peer)
        client.kill()
        wait_until(lambda: not {"l1", "c2"} & daemon.regions(peer))
        if child:
            os.kill(child, signal.SIGKILL)
    (order,) = [order for order in daemon.orders("calm") if order["kind"] == "DetachLane"]
    assert order["reason"] == "dead"
    assert os.listdir(daemon.runtime.lives) == ["1"]
    assert [client.client_id for client in peer.ask(DescribeCluster(0), ClusterDescribed).clients] == [1]
    peer.close()


def test_a_lane_beyond_the_budget_is_refused_with_the_figures(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nshm.budget.bytes = 7_000_000\n"
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "calm", 2, 1, {}))
    assert refusal.error == "ShmBudgetExceededError"
    peer.create("calm", 1)
    peer.open_lane("calm")
    fourth = None
    for _ in range(3):
        peer.send(OpenLane(0, "calm", 0, 0, 0, 0, None))
        fourth = peer.channel.receive(10.0)
    assert isinstance(fourth, Failed)
    assert "of the cluster's 7000000 are taken: raise shm.budget.bytes" in fourth.message
    peer.close()


# --- topics -----------------------------------------------------------------------------------------------------------


def test_a_deleted_topic_leaves_neither_files_nor_regions_and_its_name_is_free(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    topic = peer.create("calm", 2)
    os.mkdir(daemon.data_dir / "calm-0")
    (daemon.data_dir / "calm-0" / "00000000000000000000.log").write_bytes(b"x")
    peer.open_lane("calm", 1)
    peer.ask(DeleteTopic(0, "calm"), Done)
    assert not any(name.startswith(("p", "l")) for name in daemon.regions(peer))
    assert not (daemon.data_dir / "calm-0").exists()
    wait_until(lambda: not [name for name in os.listdir(daemon.data_dir) if name.endswith("-delete")])
    assert peer.refused(DescribeTopics(0, ["calm"])).error == "UnknownTopicOrPartitionError"
    again = peer.create("calm", 1)
    assert again.topic_id != topic.topic_id
    assert again.partitions[0].partition_id == 2
    peer.close()


def test_an_altered_topic_tells_its_owners_and_starts_new_ones(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm", 1, retention_ms="5")
    altered = peer.ask(AlterTopic(0, "calm", {"segment.ms": "77"}, ["retention.ms"], 2), TopicsDescribed).topics[0]
    assert altered.config == {"segment.ms": "77"}
    assert [partition.state for partition in altered.partitions] == ["running", "running"]
    wait_until(lambda: daemon.kinds("calm")[-1] == "AlterConfig")
    config = daemon.orders("calm")[-1]["config"]
    assert (config["segment.ms"], config["retention.ms"]) == ("77", "604800000")
    peer.close()


def test_retention_is_ordered_at_its_interval(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nlog.retention.check.interval.ms = 100\n"
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    wait_until(lambda: daemon.kinds("calm").count("ApplyRetention") >= 2)
    peer.close()


def test_the_catalog_and_its_ids_survive_a_restart(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    before = peer.create("calm", 2, segment_ms="9")
    producer_id = peer.producer_id()
    client_id = peer.welcome.client_id
    peer.close()
    assert daemon.stop() == 0
    daemon.start()
    peer = daemon.peer()
    after = peer.topic("calm")
    assert (after.topic_id, after.config) == (before.topic_id, before.config)
    assert [(one.partition_id, one.leader_epoch) for one in after.partitions] == [(0, 1), (1, 1)]
    assert peer.producer_id() > producer_id
    assert peer.welcome.client_id > client_id
    peer.close()


def test_a_producer_gets_the_next_epoch_of_its_own_id_and_a_new_id_when_epochs_run_out(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    mine = peer.producer_id()
    assert peer.ask(InitProducerId(0, mine, 4), ProducerIdGranted).epoch == 5
    worn = peer.ask(InitProducerId(0, mine, 32766), ProducerIdGranted)
    assert worn.producer_id != mine
    assert worn.epoch == 0
    assert peer.refused(InitProducerId(0, 999_999, 0)).error == "InvalidRequestError"
    peer.close()


# --- strangers --------------------------------------------------------------------------------------------------------


def test_strangers_on_the_control_socket_disturb_nobody(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for stranger, noise in zip(strangers, (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02[]", b"\x00"), strict=True):
        stranger.connect(daemon.runtime.control_socket)
        stranger.send(noise)
    peer.create("calm")
    for stranger in strangers[:2]:
        stranger.settimeout(10.0)
        while stranger.recv(4096):
            pass  # a refusal, then the end
    for stranger in strangers:
        stranger.close()
    early = Channel.connect(daemon.runtime.control_socket)
    early.send(DescribeTopics(3, None))
    refusal = early.receive(10.0)
    assert isinstance(refusal, Failed)
    assert (refusal.request_id, "first message must be Hello" in refusal.message) == (3, True)
    early.close()
    peer.close()


def test_a_client_of_another_protocol_is_refused_naming_both_versions(daemon: Daemon) -> None:
    daemon.start()
    channel = Channel.connect(daemon.runtime.control_socket)
    channel.send(Hello(1, 99, "7.7.7", 1, None))
    refusal = channel.receive(10.0)
    assert isinstance(refusal, Failed)
    assert refusal.error == "ForeignVersionError"
    assert "7.7.7" in refusal.message
    channel.close()


def test_somebody_elses_lane_cannot_be_closed_and_an_invented_client_id_is_refused(daemon: Daemon) -> None:
    daemon.start()
    peer, thief = daemon.peer(), daemon.peer()
    peer.create("calm")
    lane = peer.open_lane("calm")
    assert "another client" in thief.refused(CloseLane(0, lane.lane_id)).message
    for client_id in (peer.welcome.client_id, 12345):
        channel = Channel.connect(daemon.runtime.control_socket)
        channel.send(Hello(1, 1, "0", os.getpid(), client_id))
        refusal = channel.receive(10.0)
        assert isinstance(refusal, Failed)
        assert refusal.error == "InvalidRequestError"
        channel.close()
    peer.close()
    thief.close()


def test_shutdown_is_answered_before_it_begins(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    peer.ask(Shutdown(0), Done)
    with pytest.raises(ChannelClosedError):
        peer.channel.receive(10.0)
    assert daemon.process is not None
    assert daemon.process.wait(10.0) == 0
    daemon.process = None
    assert not daemon.runtime.directory or not os.path.exists(daemon.runtime.directory)
    peer.channel.close()


def test_more_partitions_than_the_supervisor_can_watch_are_refused_with_the_figures(daemon: Daemon) -> None:
    daemon.prefix = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh"]
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "calm", 40, 1, {}))
    assert refusal.error == "InvalidPartitionsError"
    assert "which may have 128: raise LimitNOFILE" in refusal.message
    peer.create("calm", 2)
    peer.close()

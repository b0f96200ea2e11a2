"""Clients of a real supervisor: their lanes and ids, what is done for them when they die, and who is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import (
    PROTOCOL,
    CloseLane,
    ClusterDescribed,
    CreateTopic,
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
    Unsubscribe,
)
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon


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


def test_a_successor_gets_the_clients_and_lanes_that_its_predecessor_had(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("remembers")
    peer.ask(Subscribe(0, [0]), Done)
    lane = peer.open_lane("remembers")
    first = peer.partition("remembers").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: daemon.running("remembers", but_not=first))
    peer.ask(CloseLane(0, lane.lane_id), Done)
    after = daemon.kinds("remembers")[4:]
    assert after == ["AttachClient", "DetachLane"]  # the lane itself it found in its table
    assert daemon.kinds("remembers")[:4] == ["start", "AttachClient", "AttachLane", "start"]


def test_a_lane_that_the_successor_does_not_find_is_attached_again(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    peer.open_lane("calm")
    first = peer.partition("calm").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: daemon.kinds("calm") == 2 * ["start", "AttachClient", "AttachLane"])


CLIENT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
sys.path.append(os.path.dirname(os.path.dirname(sys.argv[1])))  # behind the installed shmlog
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
    command = [sys.executable, "-P", "-c", CLIENT, os.path.dirname(__file__), str(daemon.directory / "run")]
    command += ["fork"] * somebody_keeps_the_socket
    with killed_afterwards(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) as client:
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


def test_a_lane_beyond_the_budget_is_refused_with_the_figures(daemon: Daemon) -> None:
    daemon.config = "[cluster]\nshm.budget.bytes = 8_000_000\nshm.client.percent = 100\n"
    daemon.start()
    peer = daemon.peer()
    refusal = peer.refused(CreateTopic(0, "calm", 2, 1, {}))
    assert refusal.error == "ShmBudgetExceededError"
    peer.create("calm", 1)
    peer.open_lane("calm")
    fourth = None
    for _ in range(3):
        peer.send(OpenLane(0, "calm", 0, -1, -1, 0, None))
        fourth = peer.channel.receive(10.0)
    assert isinstance(fourth, Failed)
    assert "of the cluster's 8000000 are taken: raise shm.budget.bytes" in fourth.message


def test_a_producer_gets_the_next_epoch_of_its_own_id_and_a_new_id_when_epochs_run_out(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    mine = peer.producer_id()
    assert peer.ask(InitProducerId(0, mine, 4), ProducerIdGranted).epoch == 5
    worn = peer.ask(InitProducerId(0, mine, 32766), ProducerIdGranted)
    assert worn.producer_id != mine
    assert worn.epoch == 0
    assert peer.refused(InitProducerId(0, 999_999, 0)).error == "InvalidProducerIdMappingError"
    assert peer.refused(InitProducerId(0, mine, -1)).error == "InvalidRequestError"


# --- strangers --------------------------------------------------------------------------------------------------------


def test_strangers_on_the_control_socket_disturb_nobody(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    strangers = [daemon.resources.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
    for stranger, noise in zip(strangers, (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02[]", b"\x00"), strict=True):
        stranger.connect(daemon.runtime.control_socket)
        stranger.send(noise)
    peer.create("calm")
    for stranger in strangers[:2]:
        stranger.settimeout(10.0)
        while stranger.recv(4096):
            pass  # a refusal, then the end
    early = daemon.channel()
    early.send(DescribeTopics(3, None))
    refusal = early.receive(10.0)
    assert isinstance(refusal, Failed)
    assert (refusal.request_id, "first message must be Hello" in refusal.message) == (3, True)


def test_a_client_of_another_protocol_is_refused_naming_both_versions(daemon: Daemon) -> None:
    daemon.start()
    channel = daemon.channel()
    channel.send(Hello(1, 99, "7.7.7", 1, None))
    refusal = channel.receive(10.0)
    assert isinstance(refusal, Failed)
    assert refusal.error == "ForeignVersionError"
    assert "7.7.7" in refusal.message


def test_somebody_elses_lane_cannot_be_closed_and_an_invented_client_id_is_refused(daemon: Daemon) -> None:
    daemon.start()
    peer, thief = daemon.peer(), daemon.peer()
    peer.create("calm")
    lane = peer.open_lane("calm")
    assert "another client" in thief.refused(CloseLane(0, lane.lane_id)).message
    for client_id in (peer.welcome.client_id, 12345):
        channel = daemon.channel()
        channel.send(Hello(1, PROTOCOL, "0", os.getpid(), client_id))
        refusal = channel.receive(10.0)
        assert isinstance(refusal, Failed)
        assert refusal.error == "InvalidRequestError"
        channel.close()


def test_shutdown_is_answered_before_it_begins(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    peer.ask(Shutdown(0), Done)
    with pytest.raises(ChannelClosedError):
        peer.channel.receive(10.0)
    assert daemon.ended() == 0
    assert not daemon.runtime.directory or not os.path.exists(daemon.runtime.directory)
    peer.channel.close()

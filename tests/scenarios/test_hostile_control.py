"""Clients that say anything to a real supervisor: it lives, keeps nothing of theirs, and the others do not notice."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import (
    PROTOCOL,
    CheckCompression,
    CloseLane,
    ClusterDescribed,
    DescribeCluster,
    DescribeTopics,
    Done,
    Failed,
    Hello,
    InitProducerId,
    LaneGranted,
    OpenLane,
    ProducerIdGranted,
    TopicsDescribed,
    Welcome,
)
from shmlog.limits import CONTROL_REQUEST_BYTES_MAX, HELLO_BYTES_MAX, STRANGERS_MAX
from shmlog.memory import layout
from shmlog.record.compression import LEVEL_MAX, LEVEL_MIN
from shmlog.testing import wait_until
from shmlog.testing.hostile_client import PREY, HostileClient

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon, Peer

CONVERSATIONS = 200
GROWTH_BYTES_MAX = 64 << 20
OWNER_DESCRIPTORS = 2  # the socket pair's end and the pidfd of an owner


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def owners(peer: Peer) -> int:
    return sum(len(topic.partitions) for topic in peer.ask(DescribeTopics(0, None), TopicsDescribed).topics)


def expect_calm(daemon: Daemon, peer: Peer) -> None:
    """The peer, which was there before, gets its answers."""
    assert peer.ask(DescribeCluster(0), ClusterDescribed).pid == daemon.pid
    assert peer.partition("calm").state == "running", daemon.log()[-4000:]


def besiege(daemon: Daemon, seed: int, conversations: int) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    peer.open_lane("calm")
    peer.create(PREY)
    hostile = HostileClient(daemon.runtime.control_socket, Random(seed))
    descriptors_before, bytes_before = descriptors(daemon.pid), resident_bytes(daemon.pid)
    owners_before = owners(peer)
    for number in range(conversations):
        hostile.speak()
        if number % 10 == 0:
            expect_calm(daemon, peer)
    wait_until(lambda: len(peer.ask(DescribeCluster(0), ClusterDescribed).clients) == 1)
    own = OWNER_DESCRIPTORS * max(0, owners(peer) - owners_before)
    wait_until(lambda: descriptors(daemon.pid) <= descriptors_before + own)
    assert resident_bytes(daemon.pid) < bytes_before + GROWTH_BYTES_MAX
    expect_calm(daemon, peer)
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_said_to_the_supervisor_it_lives_and_keeps_nothing_of_it(daemon: Daemon, seed: int) -> None:
    besiege(daemon, seed, CONVERSATIONS)


@pytest.mark.long
def test_a_long_siege(daemon: Daemon, request: pytest.FixtureRequest) -> None:
    besiege(daemon, int(request.config.getoption("hypothesis_seed") or 0), 5000)


@pytest.mark.parametrize(
    ("name", "lie"),
    [
        ("producer_id", -5),
        ("producer_epoch", -2),
        ("producer_epoch", 32_767),
        ("producer_epoch", (1 << 64) - 1),
        ("linger_us", -1),
        ("linger_us", (1 << 64) - 1),
        ("lane_bytes", -1),
        ("lane_bytes", 1 << 40),
        ("compression_level", LEVEL_MIN - 1),
        ("compression_level", LEVEL_MAX + 1),
        ("compression_level", -(1 << 63)),
        ("compression_level", (1 << 64) - 1),
    ],
)
def test_a_lane_that_cannot_be_made_is_refused_by_the_name_of_what_is_wrong(
    daemon: Daemon, name: str, lie: int
) -> None:
    """Regression: some of these numbers ended the supervisor, with an OverflowError or a struct.error."""
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    terms: dict[str, int | None] = {"producer_id": -1, "producer_epoch": -1, "linger_us": 0, "lane_bytes": None}
    wanted = OpenLane(0, "calm", 0, **(terms | {name: lie}))  # type: ignore[arg-type]  # mypy: a dict of both types
    before = daemon.regions(peer)
    refusal = peer.refused(wanted)
    assert refusal.error == "InvalidRequestError"
    assert f"OpenLane.{name} must be from" in refusal.message
    assert daemon.regions(peer) == before
    expect_calm(daemon, peer)


@pytest.mark.parametrize("name", ["", "brotli", "NONE", "gzip\0", "uncompressed", "producer", "9" * 4000])
def test_a_lane_with_a_compression_that_there_is_not_is_refused_by_its_name(daemon: Daemon, name: str) -> None:
    """What topics may say (`uncompressed`, `producer`) producers may not."""
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    before = daemon.regions(peer)
    for wanted in (OpenLane(0, "calm", 0, -1, -1, 0, None, name, 0), CheckCompression(0, name)):
        refusal = peer.refused(wanted)
        assert refusal.error == "InvalidRequestError"
        assert f"not {name[:40]!r}" in refusal.message
        assert len(refusal.message) < 300
    assert daemon.regions(peer) == before
    expect_calm(daemon, peer)


@pytest.mark.parametrize("supervisor", ["that granted it", "that came later"])
def test_nobody_can_use_another_clients_producer_id(daemon: Daemon, supervisor: str) -> None:
    """Regression: whoever asked for a lane or the next epoch with it fenced that producer."""
    daemon.start()
    peer, thief = daemon.peer(), daemon.peer()
    peer.create("remembers")
    mine, own = peer.producer_id(), thief.producer_id()
    if supervisor == "that came later":
        daemon.kill()
        daemon.start()
        peer, thief = daemon.peer(peer.welcome.client_id), daemon.peer(thief.welcome.client_id)
    refused = [thief.refused(OpenLane(0, "remembers", 0, mine, epoch, 0, None)) for epoch in (0, 1, 32_766)]
    refused += [thief.refused(InitProducerId(0, mine, epoch)) for epoch in (0, 32_766)]
    for refusal in refused:
        assert refusal.error == "InvalidProducerIdMappingError"
        assert f"producer id {mine} was not granted to client {thief.welcome.client_id}" in refusal.message
    assert daemon.kinds("remembers").count("AttachLane") == 0
    assert peer.ask(InitProducerId(0, mine, 0), ProducerIdGranted).epoch == 1
    peer.ask(OpenLane(0, "remembers", 0, mine, 1, 0, None), LaneGranted)
    thief.ask(OpenLane(0, "remembers", 0, own, 0, 0, None), LaneGranted)


def test_one_client_cannot_take_the_whole_budget(daemon: Daemon) -> None:
    """Regression: it could, by opening lanes, and nobody else got one."""
    daemon.config = "[cluster]\nshm.budget.bytes = 30_000_000\nshm.client.percent = 60\n"
    daemon.start()
    peer, greedy = daemon.peer(), daemon.peer()
    peer.create("calm")
    lanes = [greedy.open_lane("calm")]
    while isinstance(answer := greedy.answer(OpenLane(0, "calm", 0, -1, -1, 0, None)), LaneGranted):
        lanes.append(answer)
    size = layout.LANE_DATA + lanes[0].data_bytes
    assert isinstance(answer, Failed)
    assert answer.error == "ShmBudgetExceededError"
    client = f"client {greedy.welcome.client_id} holds {len(lanes) * size} and may hold"
    assert f"a lane to calm-0 needs {size} bytes of shared memory; {client}" in answer.message
    assert "60 % (shm.client.percent)" in answer.message
    larger = greedy.refused(OpenLane(0, "calm", 0, -1, -1, 0, 100_000_000))
    assert larger.error == "ShmBudgetExceededError"
    peer.open_lane("calm")
    greedy.ask(CloseLane(0, lanes[0].lane_id), Done)
    greedy.open_lane("calm")


def test_one_name_asked_for_many_times_is_described_once(daemon: Daemon) -> None:
    """Regression: a message of a few megabytes made the supervisor describe a topic a million times."""
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    assert len(peer.ask(DescribeTopics(0, ["calm"] * 10_000), TopicsDescribed).topics) == 1


def test_a_client_is_heard_for_no_more_than_a_request_has(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.channel.endpoint.send((CONTROL_REQUEST_BYTES_MAX + 1).to_bytes(4, "big"))
    refusal = peer.channel.receive(20.0)
    assert isinstance(refusal, Failed)
    assert f"it must have 1 to {CONTROL_REQUEST_BYTES_MAX}" in refusal.message
    stranger = daemon.channel()
    stranger.endpoint.send((HELLO_BYTES_MAX + 1).to_bytes(4, "big"))
    refusal = stranger.receive(20.0)
    assert isinstance(refusal, Failed)
    assert f"it must have 1 to {HELLO_BYTES_MAX}" in refusal.message


def test_a_crowd_that_never_says_hello_keeps_nobody_out(daemon: Daemon) -> None:
    """Regression: each silent connection was kept for good, until there were no descriptors left for anybody."""
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    before = descriptors(daemon.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            line = stack.enter_context(socket.socket(socket.AF_UNIX))
            line.connect(daemon.runtime.control_socket)
            line.send(b"\0\0")  # half a length: a slow one
        expect_calm(daemon, peer)
        newcomer = daemon.peer()
        expect_calm(daemon, newcomer)
        newcomer.close()
        wait_until(lambda: descriptors(daemon.pid) <= before + STRANGERS_MAX + 1)
    wait_until(lambda: descriptors(daemon.pid) <= before)


def test_a_client_that_asks_without_end_and_reads_nothing_is_cut_off_and_the_others_go_on(daemon: Daemon) -> None:
    daemon.start()
    peer = daemon.peer()
    peer.create("calm")
    flood = daemon.channel()
    flood.send(Hello(1, PROTOCOL, "0", os.getpid(), None))
    assert isinstance(flood.receive(20.0), Welcome)

    def ask_without_end() -> None:
        for number in range(10_000_000):
            flood.send(DescribeTopics(number, None))
            flood.flush(1.0)
            if number % 2000 == 0:
                expect_calm(daemon, peer)

    with pytest.raises(ChannelClosedError):
        ask_without_end()
    expect_calm(daemon, peer)

"""Clients stopped or killed at every point of a send and of a poll: nothing depends on how long they are away."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import shmlog
from shmlog.memory import layout, names, region
from shmlog.memory.layout import LaneState
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from shmlog.testing.whole_topic import read_all

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

CLIENTS = Path(__file__).parents[1] / "crash" / "points" / "clients.py"
DEADLINE_S = 90.0
FIRST_READ = 20

OWNERS = [
    pytest.param(["--owner-module", "hasty_owner"], id="lanes close at once", marks=pytest.mark.slow),
    pytest.param([], id="lanes close after 30 s", marks=pytest.mark.long),
]


Start = Callable[..., shmlog.Cluster]


class Struck:
    """clients.py at work: all its clients are stopped or dead, or were done before."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = self._hear()

    def go_on(self) -> list[dict[str, Any]]:
        """Let the stopped ones go on; what became of each."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        clients: list[dict[str, Any]] = self._hear()["clients"]
        assert self.process.wait(DEADLINE_S) == 0
        return clients

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard


@contextmanager
def struck_clients(cluster: shmlog.Cluster, what: str, how: str) -> Iterator[Struck]:
    command = [sys.executable, "-P", str(CLIENTS), cluster.name, what, how]
    with killed_afterwards(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ) as process:
        yield Struck(process)


@pytest.fixture
def start(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A function that starts the daemon with arguments and connects to it."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))

    def started(*arguments: str) -> shmlog.Cluster:
        real_daemon.start(*arguments)
        cluster = real_daemon.resources.enter_context(shmlog.connect("t"))
        config = {"max.message.bytes": 50_000, "shm.ring.bytes": 524_288}
        cluster.admin.create_topic("flights", partitions=1, config=config)
        return cluster

    return started


def tag_of(cluster: shmlog.Cluster) -> str:
    """What the names of the cluster's regions have in common."""
    info = cluster.describe()
    return names.cluster_tag(info.cluster_id, info.runtime_dir)


def open_lanes(tag: str) -> list[str]:
    """Lanes that their owner has not closed."""
    found = []
    for name, _ in region.list_regions(tag):
        if name.startswith(names.lane(tag, 0)[:-1]):
            try:
                page = region.open_region(name)
            except FileNotFoundError:
                continue
            if page.load(layout.LANE_STATE) in (LaneState.OPEN, LaneState.CLOSING):
                found.append(name)
            page.close()
    return found


def everything(cluster: shmlog.Cluster) -> list[bytes]:
    return [record.value for record in read_all(cluster, "flights")]


def alone(cluster: shmlog.Cluster) -> bool:
    """Whether nothing is left of other clients: no registration, no lane, no client region."""
    tag = tag_of(cluster)
    prefixes = (names.lane(tag, 0)[:-1], names.client(tag, 0)[:-1])
    regions = [name for name, _ in region.list_regions(tag) if name.startswith(prefixes)]
    return len(cluster.describe().clients) == 1 and len(regions) == 1


def by_client(values: list[bytes]) -> dict[int, list[int]]:
    """Numbers of the records of each client, in the order of their offsets."""
    found: dict[int, list[int]] = {}
    for value in values:
        point, number = value.split(b":")
        found.setdefault(int(point), []).append(int(number))
    return found


@pytest.mark.parametrize("arguments", OWNERS)
def test_a_producer_stopped_at_any_point_until_its_lane_is_closed_delivers_everything_once(
    start: Start, arguments: list[str]
) -> None:
    cluster = start(*arguments)
    with struck_clients(cluster, "send", "stop") as struck:
        assert struck.said["stopped"] >= 10
        wait_until(lambda: not open_lanes(tag_of(cluster)), timeout_s=DEADLINE_S)
        clients = struck.go_on()
    assert [client for client in clients if client["code"] != 0] == []
    delivered = by_client(everything(cluster))
    assert delivered == {point: list(range(4)) for point in range(len(clients) + 1)}
    wait_until(lambda: alone(cluster), timeout_s=DEADLINE_S)


@pytest.mark.slow
def test_a_producer_killed_at_any_point_delivers_what_it_had_sent_and_leaves_nothing(
    start: Start,
) -> None:
    cluster = start()
    with struck_clients(cluster, "send", "kill") as struck:
        clients = struck.go_on()
    wait_until(lambda: alone(cluster), timeout_s=DEADLINE_S)
    delivered = by_client(everything(cluster))
    for client in clients:
        numbers = delivered.get(client["point"], [])
        assert numbers == list(range(len(numbers))), client
        assert client["accepted"] <= len(numbers) <= client["intended"], client
    assert Counter(client["code"] for client in clients)[-9] >= 10


@pytest.mark.parametrize("arguments", OWNERS)
def test_a_consumer_stopped_at_any_point_until_its_ring_is_overwritten_reads_on_without_a_gap(
    start: Start, arguments: list[str]
) -> None:
    cluster = start(*arguments)
    with cluster.producer() as producer:
        producer.send_many("flights", [b"x" * 1000] * FIRST_READ)
        producer.flush(DEADLINE_S)
        with struck_clients(cluster, "poll", "stop") as struck:
            assert struck.said["stopped"] >= 10
            producer.send_many("flights", [b"x" * 1000] * 1200)
            producer.flush(DEADLINE_S)
            wait_until(lambda: not open_lanes(tag_of(cluster)), timeout_s=DEADLINE_S)
            producer.send("flights", b"end").result(DEADLINE_S)
            clients = struck.go_on()
    assert [client for client in clients if (client["code"], client["accepted"]) != (0, FIRST_READ + 1201)] == []
    wait_until(lambda: alone(cluster), timeout_s=DEADLINE_S)


@pytest.mark.slow
def test_a_consumer_killed_at_any_point_leaves_nothing(start: Start) -> None:
    cluster = start()
    with cluster.producer() as producer:
        producer.send_many("flights", [b"x"] * FIRST_READ)
        producer.flush(DEADLINE_S)
        with struck_clients(cluster, "poll", "kill") as struck:
            producer.send("flights", b"end").result(DEADLINE_S)
            clients = struck.go_on()
    assert Counter(client["code"] for client in clients)[-9] >= 10
    wait_until(lambda: alone(cluster), timeout_s=DEADLINE_S)

"""Real supervisors for scenarios, and a bare client to talk to them with."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from shmlog.control.channel import Channel
from shmlog.control.life import LifeLock
from shmlog.control.messages import (
    PROTOCOL,
    ClusterDescribed,
    CreateTopic,
    DescribeCluster,
    DescribeTopics,
    Failed,
    Hello,
    InitProducerId,
    LaneGranted,
    Message,
    OpenLane,
    PartitionDescription,
    ProducerIdGranted,
    Reply,
    Request,
    TopicCreated,
    TopicDescription,
    TopicsDescribed,
    Welcome,
)
from shmlog.control.paths import RuntimePaths, runtime_paths
from shmlog.memory import region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from tests.scenarios.small_disk import small_disk  # noqa: F401  # a fixture

TIMEOUT_S = 60.0
ReplyType = TypeVar("ReplyType", bound=Reply)
_numbers = itertools.count(1)


class Peer:
    """A client with nothing but the control protocol."""

    def __init__(self, runtime: RuntimePaths, client_id: int | None = None) -> None:
        self.channel = Channel.connect(runtime.control_socket)
        self._numbers = itertools.count(1)
        self._life: LifeLock | None = None
        try:
            self.welcome = self.ask(Hello(0, PROTOCOL, "0", os.getpid(), client_id), Welcome)
            self._life = LifeLock.acquire(runtime.life(self.welcome.client_id))
        except BaseException:
            self.close()
            raise

    def send(self, request: Request) -> int:
        """Send `request` under a fresh request id, which is returned."""
        number = next(self._numbers)
        fields = {name: getattr(request, name) for name in request.__slots__}
        self.channel.send(type(request)(**{**fields, "request_id": number}))
        return number

    def ask(self, request: Request, expected: type[ReplyType]) -> ReplyType:
        number = self.send(request)
        reply = self.channel.receive(TIMEOUT_S)
        assert isinstance(reply, expected), reply
        assert reply.request_id == number
        return reply

    def answer(self, request: Request) -> Message | None:
        """Whatever the supervisor says to it."""
        self.send(request)
        return self.channel.receive(TIMEOUT_S)

    def refused(self, request: Request) -> Failed:
        return self.ask(request, Failed)

    def create(self, name: str, partitions: int = 1, **config: str) -> TopicDescription:
        dotted = {key.replace("_", "."): value for key, value in config.items()}
        return self.ask(CreateTopic(0, name, partitions, 1, dotted), TopicCreated).topic

    def topic(self, name: str) -> TopicDescription:
        return self.ask(DescribeTopics(0, [name]), TopicsDescribed).topics[0]

    def partition(self, name: str, number: int = 0) -> PartitionDescription:
        return self.topic(name).partitions[number]

    def producer_id(self) -> int:
        return self.ask(InitProducerId(0, None, None), ProducerIdGranted).producer_id

    def open_lane(self, topic: str, partition: int = 0) -> LaneGranted:
        return self.ask(OpenLane(0, topic, partition, self.producer_id(), 0, 0, None), LaneGranted)

    def close(self) -> None:
        self.channel.close()
        if self._life is not None:
            self._life.release()
            self._life = None


class Daemon:
    """A supervisor process of cluster "t" with directories of its own. It ends with its test; `resources` before it."""

    def __init__(self, directory: Path, *, fake_owner: bool) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.runtime = runtime_paths("t", str(directory / "run"))
        self.fake_owner = fake_owner
        self.config = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.notices: list[str] = []
        self.resources = contextlib.ExitStack()
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        self._notify.settimeout(TIMEOUT_S)
        self.environment: dict[str, str] = {}
        self.prefix: list[str] = []
        self.log_file = directory / "log"

    def spawn(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a supervisor without waiting for it."""
        command = [sys.executable, "-P", "-m", "shmlog.workers.supervisor", "--name", "t"]
        command += ["--runtime-dir", str(self.directory / "run"), "--data-dir", str(self.data_dir)]
        if self.config:
            file = self.directory / "shmlog.toml"
            file.write_text(self.config)
            command += ["--config", str(file)]
        if self.fake_owner:
            command += ["--owner-module", "fake_owner"]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "PYTHONPATH": str(Path(__file__).parent),
            **self.environment,
        }
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [*self.prefix, *command, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=pass_fds,
            )

    def start(self, *arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
        """Start and wait until it says that it is ready."""
        self.process = self.spawn(*arguments, pass_fds=pass_fds)
        self.heard("READY=1")

    def heard(self, notice: str) -> None:
        """Wait for a line of sd_notify."""
        while notice not in self.notices:
            self.notices += self._notify.recv(4096).decode().splitlines()
        self.notices.remove(notice)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait until it has ended of its own accord; returns its exit status."""
        assert self.process is not None
        status = self.process.wait(TIMEOUT_S)
        self.process = None
        return status

    def kill(self) -> None:
        """End it as kill -9 does; its owners go on as orphans."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def fails_to_start(self, *arguments: str) -> str:
        """Start it, expect exit status 1, and return its last line."""
        with killed_afterwards(self.spawn(*arguments)) as process:
            assert process.wait(TIMEOUT_S) == 1
        return self.log().splitlines()[-1]

    def log(self) -> str:
        return self.log_file.read_text()

    def peer(self, client_id: int | None = None) -> Peer:
        """A client; it leaves after the test, or when the test says so."""
        return self.resources.enter_context(contextlib.closing(Peer(self.runtime, client_id)))

    def channel(self) -> Channel:
        """A connection that has not said anything yet; closed after the test."""
        return self.resources.enter_context(contextlib.closing(Channel.connect(self.runtime.control_socket)))

    def describe(self) -> ClusterDescribed:
        """What the supervisor says to a client that comes and goes."""
        peer = self.peer()
        found = peer.ask(DescribeCluster(0), ClusterDescribed)
        peer.close()
        return found

    def running(self, topic: str, *, but_not: int = 0) -> int:
        """Pid of the topic's running owner, 0 if there is none or if it is `but_not`."""
        peer = self.peer()
        partition = peer.partition(topic)
        peer.close()
        return partition.pid if partition.state == "running" and partition.pid != but_not else 0

    def orders(self, topic: str, partition: int = 0) -> list[dict[str, Any]]:
        """What the fake owners of a partition noted."""
        file = self.data_dir / f"{topic}-{partition}.orders"
        return [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []

    def kinds(self, topic: str) -> list[str]:
        return [order["kind"] for order in self.orders(topic)]

    def regions(self, peer: Peer) -> set[str]:
        """Last parts of the names of the cluster's regions, such as l1 or p0.bell."""
        return {name.split(".", 2)[2] for name, _ in region.list_regions(peer.welcome.cid8)}

    def end(self) -> None:
        """Close and stop what the test has not; a supervisor that does not stop is killed, and an error."""
        process = self.process
        try:
            self.resources.close()
            if process is not None:
                self.stop()
        finally:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
            self._notify.close()


@pytest.fixture
def place(session_directory: Path) -> Path:
    """A short path: the control socket's may have 107 bytes."""
    directory = session_directory / f"s{next(_numbers)}"
    directory.mkdir()
    return directory


@pytest.fixture
def daemon(place: Path) -> Iterator[Daemon]:
    """A supervisor whose owners are fake; not started yet."""
    one = Daemon(place, fake_owner=True)
    yield one
    one.end()


@pytest.fixture
def real_daemon(place: Path) -> Iterator[Daemon]:
    """A supervisor with real owners; not started yet."""
    one = Daemon(place, fake_owner=False)
    yield one
    one.end()


@pytest.fixture
def peer(real_daemon: Daemon) -> Peer:
    """A client of a real cluster with a topic of four partitions, `flights`."""
    real_daemon.start()
    found = real_daemon.peer()
    found.create("flights", partitions=4)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def gone() -> Callable[[int], None]:
    """Wait until a process has ended."""

    def wait(pid: int) -> None:
        wait_until(lambda: not is_alive(pid), timeout_s=TIMEOUT_S, what=f"the end of process {pid}")

    return wait

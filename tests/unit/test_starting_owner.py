"""Owners that are starting: who gets on may take as long as it takes, who does not is killed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import Message, OwnerReady, OwnerRecovering
from shmlog.control.paths import RuntimePaths
from shmlog.limits import STARTING_SILENCE_S
from shmlog.log import progress
from shmlog.machines.supervision import OwnerPhase
from shmlog.partition.owner import OwnerAgent
from shmlog.settings import ClusterConfig
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.heartbeats import Heartbeats
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.testing.partition_rig import open_rig
from shmlog.testing.processes import killed_afterwards
from tests.no_followers import no_followers

SECOND = 1_000_000_000


class Start:
    """A supervisor without its processes, a clock that the test moves, and one owner that is starting."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.now_ns = SECOND
        self.loop = Loop(lambda: self.now_ns)
        config = ClusterConfig.from_mapping({"owner.unresponsive.ms": "10000"})
        self.catalog = Catalog(str(directory), config)
        self.catalog.commit(self.catalog.machine.create_topic("t", topic_id="id", partitions=1).records)
        directories = LogDirectories([LogDirectory("", str(directory))])
        identity = ClusterIdentity(
            "c", "id", "0" * 8, RuntimePaths(str(directory)), str(directory), config, None, 0, directories
        )
        bell = SimpleNamespace(ring=lambda: None, close=lambda: None)
        regions = SimpleNamespace(
            reserve_partition=lambda *_: None,
            bell=lambda _: bell,
            count_partition=lambda _: None,
            may_have_leftovers=lambda _: False,
        )
        self.zygote = SimpleNamespace(knows=lambda _: None, spawn=self.spawn, look=lambda _: None)
        parts: Any = (self.loop, identity, self.catalog, regions, self.zygote)
        self.owners = Owners(*parts)
        lanes: Any = SimpleNamespace(unanswered=list)
        self.heartbeats = Heartbeats(self.loop, identity, self.owners, no_followers(), lanes)
        self.owners.want(self.catalog.machine.partitions()[:1])
        self.on_spawned(pid, os.pidfd_open(pid))

    def spawn(self, _: object, end: Any, on_spawned: Any, on_refused: Any) -> None:
        self.on_spawned, self.on_refused = on_spawned, on_refused
        self.channel = Channel(end)

    def pass_time(self, seconds: float) -> None:
        """Then the supervisor looks at hearts before it hears what owners have said meanwhile: it was stopped, say."""
        self.now_ns += int(seconds * SECOND)
        self.heartbeats.look()

    def close(self) -> None:
        self.channel.close()
        self.owners.unwant(0, delete=True)
        while self.owners.pid(0):
            self.loop.run_once(1.0)
        if not self.owners.machine.all_gone():
            self.on_refused(None)  # the successor
        self.loop.close()
        self.catalog.close(clean=True)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, in the place of an owner."""
    with killed_afterwards(subprocess.Popen(["sleep", "1000"])) as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, process: subprocess.Popen[bytes]) -> Iterator[Start]:
    made = Start(tmp_path, process.pid)
    yield made
    process.kill()
    made.close()


def test_an_owner_that_says_nothing_while_it_starts_is_killed_after_two_looks(
    start: Start, process: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (9.0, 2.0, 9.0):
        start.pass_time(seconds)
    assert "does not react" not in caplog.text
    start.pass_time(1.0)
    assert "does not react" in caplog.text
    process.wait(timeout=30.0)


def test_a_recovery_that_gets_on_may_take_an_hour(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(400):
        start.channel.send(OwnerRecovering())
        start.pass_time(9.0)
    assert "does not react" not in caplog.text
    start.channel.send(OwnerReady(0, 0, 1, 4096, 64, 0, 0, [], "", False))
    start.pass_time(9.0)
    assert start.owners.machine.phase(0) is OwnerPhase.RUNNING


def received(stage: Channel) -> list[Message]:
    messages = []
    while (message := stage.receive(0.0)) is not None:
        messages.append(message)
    return messages


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_an_owner_whose_disk_is_slow_goes_on_saying_that_it_starts_and_stops_when_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    assert 2 * progress.PROGRESS_EVERY_S < STARTING_SILENCE_S
    monkeypatch.setattr(progress, "PROGRESS_EVERY_S", 0.001)
    stage, theirs = Channel.pair()
    owners_end = Channel(theirs)
    heard: list[Message] = []
    sync = getattr(os, call)

    def hangs(fd: int) -> None:
        """Until three more words have come."""
        wanted = len(heard) + 3
        while len(heard) < wanted:
            message = stage.receive(5.0)
            assert isinstance(message, OwnerRecovering)
            heard.append(message)
        sync(fd)

    with open_rig(tmp_path / "flights-0") as rig:
        rig.lane().send_all(b"1", b"2")
        rig.keeper.close(clean=True)
        monkeypatch.setattr(os, call, hangs)
        rig.spec = rig.spec_for(1)
        owner = OwnerAgent(rig.spec, owners_end)
        monkeypatch.setattr(os, call, sync)
        assert len(heard) >= 3
        *before, last = received(stage)
        assert isinstance(last, OwnerReady)
        assert all(isinstance(message, OwnerRecovering) for message in before)
        monkeypatch.setattr(progress, "PROGRESS_EVERY_S", 0.0)
        owner._keeper._log.write_snapshot(2, [])
        assert received(stage) == [], "its heart beats elsewhere now"
    stage.close()
    owners_end.close()

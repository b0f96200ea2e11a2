"""An owner between the order to fork it and its exit, as the supervisor sees it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import OwnerReady
from shmlog.control.paths import RuntimePaths
from shmlog.machines.supervision import OwnerPhase
from shmlog.settings import ClusterConfig
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.zygote import SpawnRefused, WorkerSpawned
from shmlog.testing.processes import killed_afterwards


class HeldZygote:
    """A zygote whose news the test delivers: `ends` are the owners' ends of their channels."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def knows(self, pids: object) -> None:
        """It does not die."""

    def spawn(self, _: object, end: socket.socket, on_spawned: WorkerSpawned, on_refused: SpawnRefused) -> None:
        self.on_spawned, self.on_refused = on_spawned, on_refused
        self.ends.append(end)


class OneOwner:
    """Owners of one partition, which is wanted, and the zygote that is ordered to fork it."""

    def __init__(self, directory: Path) -> None:
        self.loop, self.catalog = Loop(), Catalog(str(directory), ClusterConfig.from_mapping({}))
        self.zygote = HeldZygote()
        self.catalog.commit(self.catalog.machine.create_topic("t", topic_id="id", partitions=1).records)
        directories = LogDirectories([LogDirectory("", str(directory))])
        config = ClusterConfig.from_mapping({})
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
        parts: Any = (self.loop, identity, self.catalog, regions, self.zygote)
        self.owners = Owners(*parts)
        self.owners.want(self.catalog.machine.partitions()[:1])

    def close(self) -> None:
        """Once its owner, or the order for it, is gone."""
        self.owners.unwant(0, delete=True)
        if not self.owners.machine.all_gone():
            self.zygote.on_refused(None)
        assert self.owners.machine.all_gone()
        for end in self.zygote.ends:
            end.close()
        self.loop.close()
        self.catalog.close(clean=True)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, in the place of an owner."""
    with killed_afterwards(subprocess.Popen(["sleep", "1000"])) as process:
        yield process


@pytest.fixture
def one_owner(tmp_path: Path) -> Iterator[OneOwner]:
    made = OneOwner(tmp_path)
    yield made
    made.close()


def test_an_owner_that_is_ready_before_the_zygote_tells_its_pid_does_not_run_yet(
    one_owner: OneOwner, sleeper: subprocess.Popen[bytes]
) -> None:
    loop, owners, zygote = one_owner.loop, one_owner.owners, one_owner.zygote
    channel = Channel(zygote.ends.pop())
    channel.send(OwnerReady(0, 0, 1, 4096, 64, 0, 0, [], "", False))
    loop.run_once(0.0)
    assert owners.running(0) is None
    assert owners.machine.phase(0) is OwnerPhase.STARTING, "nobody could kill it, and clients would be told pid 0"
    zygote.on_spawned(sleeper.pid, os.pidfd_open(sleeper.pid))
    loop.run_once(0.0)
    assert owners.machine.phase(0) is OwnerPhase.RUNNING
    assert owners.pid(0) == sleeper.pid
    sleeper.kill()
    while owners.pid(0) == sleeper.pid:
        loop.run_once(1.0)  # its pidfd says so
    channel.close()


def test_why_no_process_can_be_had_for_an_owner_is_what_clients_are_told(one_owner: OneOwner) -> None:
    """Regression: "died without saying why" stood in its place, about a process 0."""
    one_owner.zygote.on_refused("fork: Resource temporarily unavailable")
    assert one_owner.owners.machine.error(0) == "StartError: fork: Resource temporarily unavailable"
    assert one_owner.owners.machine.failures(0) == 1

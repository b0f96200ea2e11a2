"""How long the region of a client stays that died, and in which a member of a group has committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.paths import RuntimePaths
from shmlog.memory import names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.memory.client_slot import member_token
from shmlog.supervisor.clients import COMMITS_GRACE_S, Client, Clients
from shmlog.supervisor.loop import Loop


class World:
    """A client, its region, and a clock that goes when it is told to."""

    def __init__(self, directory: Path) -> None:
        self.now_ns = 0
        self.running = True
        self.tag = names.cluster_tag("kept", str(directory))
        self.name = names.client(self.tag, 5)
        create_client_region(self.name, client_id=5, mode=0o600)
        self.loop = Loop(lambda: self.now_ns)
        identity: Any = SimpleNamespace(runtime=RuntimePaths(str(directory)))
        regions: Any = SimpleNamespace(unlink=region.unlink)
        unused: Any = None
        self.clients = Clients(self.loop, identity, unused, regions)
        self.clients.coordinators_run = lambda: self.running
        self.client = Client(5, 0, self.name, attached=False)
        self.clients._add(self.client, None)

    def commit(self) -> None:
        own = ClientRegion.open(self.name)
        own.claim_slot(3, member_token("delays", "a")).commit(7, 0)
        own.close()

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self.loop.run_once(0.0)

    @property
    def is_there(self) -> bool:
        return any(name == self.name for name, _ in region.list_regions(self.tag))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.loop.close()
    region.sweep(one.tag)


def test_a_region_without_commits_goes_at_once(world: World) -> None:
    world.clients.gone(world.client)
    assert not world.is_there


def test_commits_stay_for_a_coordinator_that_may_have_died_too(world: World) -> None:
    world.commit()
    world.clients.gone(world.client)
    world.wait(COMMITS_GRACE_S - 0.1)
    assert world.is_there
    world.wait(0.1)
    assert not world.is_there


def test_commits_stay_until_coordinators_have_run_for_a_while(world: World) -> None:
    world.commit()
    world.running = False
    world.clients.gone(world.client)
    world.wait(COMMITS_GRACE_S)
    world.running = True
    world.wait(COMMITS_GRACE_S)
    assert world.is_there, "it runs, but may have begun just now"
    world.running = False
    world.wait(COMMITS_GRACE_S)
    assert world.is_there, "it has gone meanwhile"
    world.running = True
    world.wait(2 * COMMITS_GRACE_S)
    assert world.is_there, "it was not there when this was looked at last"
    world.wait(COMMITS_GRACE_S)
    assert not world.is_there

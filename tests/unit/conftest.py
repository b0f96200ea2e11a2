"""What several unit tests begin with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shmlog.client import connection as connection_module
from shmlog.testing.fake_cluster import FakeCluster
from shmlog.testing.partition_rig import Rig, open_rig
from shmlog.testing.rig_producer import RigConnection


@pytest.fixture
def world() -> Iterator[FakeCluster]:
    with FakeCluster() as made:
        yield made


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536"}) as made:
        yield made


@pytest.fixture
def nobody_waits_for_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that would pause before it tries to connect again fails the test instead."""

    def waited(seconds: float) -> None:
        raise AssertionError(f"waited {seconds} s for a supervisor")

    monkeypatch.setattr(connection_module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited))


@pytest.fixture
def connection(rig: Rig) -> Iterator[RigConnection]:
    made = RigConnection(rig)
    yield made
    made.loop_bells.close()

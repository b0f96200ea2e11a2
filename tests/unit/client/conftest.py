"""A coordinator of groups beside the cluster on the heap."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shmlog.testing.fake_cluster import FakeCluster
from shmlog.testing.fake_coordinator import FakeCoordinator


@pytest.fixture
def coordinator(world: FakeCluster) -> Iterator[FakeCoordinator]:
    with FakeCoordinator(world.supervisor) as coordinator:
        yield coordinator

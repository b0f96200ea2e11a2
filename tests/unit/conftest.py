"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shmlog.testing.fake_cluster import FakeCluster


@pytest.fixture
def world() -> Iterator[FakeCluster]:
    with FakeCluster() as made:
        yield made

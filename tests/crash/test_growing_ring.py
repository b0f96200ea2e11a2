"""An owner that is killed anywhere while it replaces its ring leaves a partition that its successor goes on with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.native.mapping import Mapping
from shmlog.partition.regeneration import grow_ring
from shmlog.testing.partition_rig import TOPIC_NAME, Rig, open_rig

STORES = 7  # of grow_ring() and store_ring() into the control page, when the ring is not empty
RING_BYTES = 16 << 20


class Killed(Exception):  # noqa: N818 - an owner's end, not an error
    """The owner is gone."""


class KillingPage:
    """A control page whose owner is killed before its n-th store."""

    def __init__(self, page: Mapping, kill_at: int) -> None:
        self._page = page
        self._left = kill_at

    def load(self, offset: int) -> int:
        return self._page.load(offset)

    def store(self, offset: int, value: int) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        self._page.store(offset, value)


def grow_until_killed(rig: Rig, kill_at: int) -> bool:
    """Grow the rig's ring; whether its owner was killed meanwhile."""
    page: Any = KillingPage(rig.control.mapping, kill_at)
    control: Any = SimpleNamespace(mapping=page, generation=rig.control.generation)
    try:
        grow_ring(rig.spec, RING_BYTES, control, rig.publisher)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("kill_at", range(STORES + 1))
@pytest.mark.parametrize("records_before", [0, 3])
def test_the_successor_goes_on_at_the_same_offset(tmp_path: Path, records_before: int, kill_at: int) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536"}) as rig:
        lane = rig.lane()
        for number in range(records_before):
            lane.send(TOPIC_NAME, b"before %d" % number)
        rig.run()
        killed = grow_until_killed(rig, kill_at)
        assert killed is (kill_at < (STORES if records_before else STORES - 3))
        rig.take_over(1)
        rig.lane(producer_id=8).send(TOPIC_NAME, b"after")
        rig.run()
        found = rig.read_all()
        assert [record.offset for record in found] == list(range(records_before + 1))
        assert found[-1].value == b"after"

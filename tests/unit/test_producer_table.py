"""What an owner remembers of its producers: the compiled table against its reference, and what outlives the owner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from shmlog import limits
from shmlog.machines import producer_state
from shmlog.machines.producer_state import Append, Duplicate, Fenced, ProducerBatch, ProducerStateMachine
from shmlog.memory import layout, names, region
from shmlog.native.producer_table import ProducerTable
from shmlog.testing.partition_rig import Rig, open_rig

MANY = 700
"""More than half of what is remembered: twice as many do not fit."""


def verdict_of(machine: ProducerStateMachine, batch: ProducerBatch) -> tuple[str, int]:
    match machine.check(batch):
        case Append():
            return "new", -1
        case Duplicate(base_offset):
            return "duplicate", base_offset
        case Fenced():
            return "fenced", -1
    return "gap", -1


def producer_ids(table: ProducerTable) -> set[int]:
    return {int.from_bytes(entry[:8], "little") for entry in table.entries()}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("hold", "release", "batch", "batch", "batch")),
            st.integers(0, 40),
            st.integers(0, 2),
            st.integers(0, 6),
            st.integers(1, 3),
        ),
        max_size=120,
    )
)
def test_the_compiled_table_judges_and_forgets_as_its_reference_does(
    script: list[tuple[str, int, int, int, int]],
) -> None:
    """With as many others before that somebody must be forgotten."""
    table, machine, lanes, offset = ProducerTable(), ProducerStateMachine(), dict[int, int](), 0
    for producer_id in range(1000, 1000 + limits.PRODUCERS_REMEMBERED_MAX - 2):
        if producer_id % 64:
            for one in (table, machine):
                one.hold(producer_id)
        table.offer(producer_id, 0, 0, 1, offset)
        machine.replay(ProducerBatch(producer_id, 0, 0, 1), offset, 0)
        offset += 1
    for deed, producer_id, epoch, sequence, count in script:
        if deed == "hold" or (deed == "release" and lanes.get(producer_id)):
            lanes[producer_id] = lanes.get(producer_id, 0) + (1 if deed == "hold" else -1)
            getattr(table, deed)(producer_id)
            getattr(machine, deed)(producer_id)
        elif deed == "batch":
            batch = ProducerBatch(producer_id, epoch, sequence, count)
            expected = verdict_of(machine, batch)
            assert table.offer(producer_id, epoch, sequence, count, offset) == expected
            if expected[0] == "new":
                machine.replay(batch, offset, 0)
                offset += count
        assert producer_ids(table) == {entry.producer_id for entry in machine.entries()}


def test_as_many_producers_are_remembered_as_a_partition_has_lanes() -> None:
    assert layout.CTL_IMAGE_PRODUCERS == limits.PRODUCERS_REMEMBERED_MAX == layout.CTL_LANE_SLOTS
    assert limits.LANES_PER_PARTITION_MAX == layout.CTL_LANE_SLOTS
    assert producer_state.BATCHES_REMEMBERED == 5


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "4096"}) as made:
        yield made


def send_once(rig: Rig, producer_id: int) -> int:
    """One record of this producer, always the same one; its lane."""
    lane_id = rig.make_lane(producer_id=producer_id, lane_bytes=16384)
    lane = rig.attached(lane_id)
    lane.send_all(b"%d" % producer_id)
    rig.run()
    lane.mapping.close()
    return lane_id


@pytest.mark.parametrize("restart", ["over its ring", "from its files"])
def test_after_a_restart_every_one_of_many_producers_is_known(rig: Rig, restart: str) -> None:
    """Regression: an image held 511 producers, and who was not in it could append twice."""
    lanes = [send_once(rig, producer_id) for producer_id in range(MANY)]
    if restart == "over its ring":
        rig.take_over(1)  # leaves an image of all of them,
        rig.take_over(2)  # and this one has nothing else
        lanes = rig.publisher.lane_ids()
    for lane_id in lanes:
        rig.close_lane(lane_id)
        region.unlink(names.lane(rig.tag, lane_id))
    if restart == "from its files":
        rig.keeper.roll()  # leaves a snapshot
        region.sweep(rig.tag)
        rig.take_over(1)
    for producer_id in range(0, MANY, 7):
        send_once(rig, producer_id)
    assert rig.values() == [b"%d" % producer_id for producer_id in range(MANY)]
    assert producer_ids(rig.publisher.producers) == set(range(MANY))


def test_a_producer_with_a_lane_is_known_however_many_come_and_go(rig: Rig) -> None:
    """Regression: beyond the image's room, chance decided who was in it."""
    send_once(rig, 7)
    for producer_id in range(10_000, 10_000 + limits.PRODUCERS_REMEMBERED_MAX + 5):
        lane_id = send_once(rig, producer_id)
        rig.close_lane(lane_id)
        region.unlink(names.lane(rig.tag, lane_id))
    assert 10_000 + limits.PRODUCERS_REMEMBERED_MAX + 4 in producer_ids(rig.publisher.producers), "the newest"
    rig.take_over(1)
    rig.take_over(2)
    send_once(rig, 7)
    values = rig.values()
    assert values.count(b"7") == 1
    known = producer_ids(rig.publisher.producers)
    assert len(known) == limits.PRODUCERS_REMEMBERED_MAX
    assert known >= {7, 10_000 + limits.PRODUCERS_REMEMBERED_MAX + 4}
    assert not known & set(range(10_000, 10_006))

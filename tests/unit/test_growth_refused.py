"""A batch that is legal and too large for its ring: until the ring grows, it costs nobody else anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import Close, OwnerReady
from shmlog.errors import ShmBudgetExceededError, StorageError
from shmlog.memory import layout
from shmlog.native.publish import GROW, IDLE
from shmlog.partition import owner, refusals
from shmlog.partition.attachment import MappedPartition
from shmlog.partition.owner import OwnerAgent
from shmlog.partition.ring_memory import RingMemory
from shmlog.testing.partition_rig import RUN_NS, TOPIC_NAME, Lane, Rig, open_rig

LARGE_BYTES = 8 << 20
NEVER_NS = 1 << 62
TRIES = 20


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A partition whose max.message.bytes has just been raised to LARGE_BYTES; its ring is still that of before."""
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536"}) as made:
        made.config["max.message.bytes"] = str(LARGE_BYTES)
        made.take_over(1)
        yield made


def intent_of(rig: Rig) -> int:
    return rig.control.mapping.load(layout.CTL_INTENT_POS)


# --- readers ----------------------------------------------------------------------------------------------------------


def test_a_raised_max_message_bytes_drives_no_reader_out_of_the_ring(rig: Rig) -> None:
    """Regression: the intent ran ahead by the largest frame of the lane, here further than the ring is long."""
    lane = rig.lane()
    attached = MappedPartition(rig.tag, 1)
    attached.renew_ring()
    assert attached.ring is not None
    lane.send(TOPIC_NAME, b"1")
    rig.run()
    assert attached.ring.seek(0)
    assert attached.ring.read(1 << 20) != -1
    assert intent_of(rig) - rig.publisher.tail_pos <= rig.publisher.capacity // 8
    attached.close()


def test_what_the_ring_has_after_max_message_bytes_was_raised_replaces_a_file_whose_sync_failed(rig: Rig) -> None:
    """Regression: the bytes counted as overwritten, and a partition went offline that had everything."""
    rig.lane().send(TOPIC_NAME, b"1")
    rig.run()
    page, end = rig.control.mapping, rig.publisher.tail_pos
    memory = RingMemory(page, rig.publisher.capacity, rig.publisher.ring_bytes_between)
    segment = next(rig.directory.glob("*.log")).read_bytes()
    assert memory.overlap(0, 0, end) == (0, segment)


def test_a_batch_that_waits_for_a_larger_ring_overwrites_nothing_of_this_one(rig: Rig) -> None:
    """Regression: its length was announced, as if it were written, before anybody looked whether it fits."""
    lane = rig.lane()
    before = intent_of(rig)
    lane.send(TOPIC_NAME, bytes(LARGE_BYTES // 2))
    assert rig.publisher.run(RUN_NS) == GROW
    assert intent_of(rig) == before


# --- other lanes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(rig: Rig) -> Lane:
    return rig.lane(producer_id=8)


@pytest.fixture
def large(rig: Rig) -> Lane:
    """A lane whose first batch is too large for the ring."""
    lane = rig.lane()
    lane.send(TOPIC_NAME, bytes(LARGE_BYTES // 2))
    return lane


def test_a_lane_that_waits_for_a_larger_ring_holds_no_other_one_up(rig: Rig, small: Lane, large: Lane) -> None:
    """Regression: every round of the owner ended at that lane, and then the owner slept."""
    assert rig.publisher.run(RUN_NS) == GROW
    rig.publisher.defer_growth(NEVER_NS)
    for number in range(TRIES):
        small.send(TOPIC_NAME, b"%d" % number)
        assert rig.publisher.has_work()
        assert rig.publisher.run(RUN_NS) == IDLE
    assert rig.values() == [b"%d" % number for number in range(TRIES)]


def test_a_lane_that_waits_for_a_larger_ring_keeps_nobody_awake_and_is_looked_at_in_time(rig: Rig, large: Lane) -> None:
    assert rig.publisher.run(RUN_NS) == GROW
    rig.publisher.defer_growth(NEVER_NS)
    assert rig.publisher.run(RUN_NS) == IDLE
    assert not rig.publisher.has_work()
    assert rig.publisher.next_deadline_ns == NEVER_NS


def test_a_lane_that_waits_for_a_larger_ring_is_neither_drained_nor_idle(rig: Rig, large: Lane) -> None:
    assert rig.publisher.run(RUN_NS) == GROW
    rig.publisher.defer_growth(NEVER_NS)
    assert rig.publisher.idle_lanes(NEVER_NS, 1) == []
    rig.publisher.begin_close(1)
    assert rig.publisher.run(RUN_NS) == IDLE
    assert not rig.publisher.is_drained(1)


def test_a_second_lane_that_needs_a_larger_ring_waits_for_the_same_attempt(rig: Rig, large: Lane) -> None:
    assert rig.publisher.run(RUN_NS) == GROW
    rig.publisher.defer_growth(NEVER_NS)
    rig.lane(producer_id=8).send(TOPIC_NAME, bytes(LARGE_BYTES // 2))
    assert rig.publisher.run(RUN_NS) == IDLE
    assert not rig.publisher.has_work()


def test_when_the_time_has_come_the_larger_ring_is_asked_for_again(rig: Rig, large: Lane) -> None:
    assert rig.publisher.run(RUN_NS) == GROW
    rig.publisher.defer_growth(NEVER_NS)
    assert rig.publisher.growth_is_awaited()
    rig.publisher.defer_growth(1)
    rig.run()
    assert not rig.publisher.growth_is_awaited()
    assert [len(value) for value in rig.values()] == [LARGE_BYTES // 2]


# --- the owner --------------------------------------------------------------------------------------------------------


class Bell:
    """The owner's doorbell: somebody acts when the owner is about to sleep, and sleeps are counted."""

    def __init__(self, sender: Lane) -> None:
        self.sender = sender
        self.sleeps = 0

    def prepare(self) -> int:
        self.sender.send(TOPIC_NAME, b"late")
        return 0

    def cancel(self) -> None:
        pass

    def wait(self, ticket: int, timeout_s: float) -> None:
        self.sleeps += 1


@pytest.fixture
def agent(rig: Rig, small: Lane, large: Lane, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnerAgent]:
    """The owner after `small` and `large`, whose ring finds no memory to grow."""

    def refuse(*arguments: object) -> None:
        raise ShmBudgetExceededError("cannot reserve 33554432 bytes of shared memory")

    monkeypatch.setattr(owner, "grow_ring", refuse)
    supervisor, theirs = Channel.pair()
    channel = Channel(theirs)
    rig.spec = rig.spec_for(2)
    made = OwnerAgent(rig.spec, channel)
    assert isinstance(supervisor.receive(1.0), OwnerReady)
    yield made
    supervisor.close()
    channel.close()


def test_an_owner_whose_ring_cannot_grow_does_not_sleep_over_other_lanes_records(
    rig: Rig, small: Lane, agent: OwnerAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it slept for 100 ms per round, whoever had something to send."""
    bell: Any = Bell(small)
    monkeypatch.setattr(agent, "_bell", bell)
    published = []
    for _ in range(TRIES):
        assert any(agent.work(monotonic_ns()) == 0 for _ in range(TRIES)), "it never comes to rest"
        agent._sleep()
        published.append(rig.control.log_end_offset)
    assert bell.sleeps == 0
    assert published == list(range(TRIES)), "what came before a sleep is published in the round after it"
    assert "waits for a larger ring: cannot reserve" in rig.control.error_text


def test_a_larger_ring_that_is_not_needed_any_more_is_not_spoken_of(rig: Rig, agent: OwnerAgent) -> None:
    """Its lane's producer was broken: what it had is given up, and the lane with it."""
    agent.work(monotonic_ns())
    assert "waits for a larger ring" in rig.control.error_text
    rig.lane_mapping(2).store(layout.LANE_DATA, 0)
    agent._publisher.defer_growth(1)
    agent.work(monotonic_ns())
    assert rig.control.error_text == ""


def test_a_deleted_partition_does_not_wait_for_a_larger_ring(agent: OwnerAgent) -> None:
    agent.work(monotonic_ns())
    agent._handle(Close(delete=True))
    assert agent._finished()


def test_a_closing_owner_does_not_wait_for_a_larger_ring_for_ever(
    agent: OwnerAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent._handle(Close(delete=False))
    agent.work(monotonic_ns())
    assert not agent._finished()
    monkeypatch.setattr(refusals, "CLOSE_S", 0)
    with pytest.raises(StorageError, match="cannot close flights-0: a batch waits for a larger ring"):
        agent.work(monotonic_ns())

"""The owner's agent, stepped by hand: the supervisor's orders, and what a full disk makes of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import (
    ApplyRetention,
    AttachClient,
    AttachLane,
    ClientAttached,
    Close,
    Closed,
    LaneAttached,
    LaneDetached,
    LaneHeld,
    Message,
    Trace,
)
from shmlog.errors import ShmBudgetExceededError
from shmlog.limits import RING_BYTES_MIN
from shmlog.memory import names, region
from shmlog.memory.client_region import create_client_region
from shmlog.memory.lane import LaneTerms
from shmlog.native.publish import FAILED, GROW, SYNC
from shmlog.partition import owner
from shmlog.partition.owner import OwnerAgent
from shmlog.settings import TopicConfig
from shmlog.testing import wait_until
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig, word_of_ready


class Stage:
    """An owner and its supervisor's end of the channel, over the rig's partition."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.channel, theirs = Channel.pair()
        self.owners_end = Channel(theirs)
        rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
        self.owner = OwnerAgent(rig.spec, self.owners_end)
        self.ready = word_of_ready(self.channel)

    def order(self, message: Message) -> Message | None:
        """Send one order, let the owner work, and return its answer, if any."""
        self.channel.send(message)
        self.owner.work(monotonic_ns())
        return self.channel.receive()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    config = {"max.message.bytes": "65536", "segment.bytes": "1048576", "retention.bytes": "0"}
    with open_rig(tmp_path / "flights-0", config) as made:
        yield made


@pytest.fixture
def stage(rig: Rig) -> Iterator[Stage]:
    made = Stage(rig)
    yield made
    made.channel.close()
    made.owners_end.close()


def test_a_lane_whose_region_is_gone_is_refused_and_the_owner_lives(rig: Rig, stage: Stage) -> None:
    """Regression: the owner died of it, and so did every successor that was given the same order."""
    order = AttachLane(77, names.lane(rig.tag, 77), LaneTerms(1, 7, 0, 65536, 262144))
    assert stage.order(order) == LaneDetached(77, "quarantined", 0)


def test_the_heart_beats_before_the_owner_says_that_it_runs(rig: Rig, stage: Stage) -> None:
    """Regression: an owner that was stopped before its first turn had no heartbeat, and nobody missed it."""
    assert 0 < rig.control.heartbeat_ns <= monotonic_ns()


def test_a_client_whose_region_is_gone_is_forgotten_and_the_owner_lives(rig: Rig, stage: Stage) -> None:
    assert stage.order(AttachClient(5, names.client(rig.tag, 5))) == ClientAttached(5)


@pytest.fixture
def lane(rig: Rig) -> Lane:
    """A lane that lingers, attached by the predecessor (ask for it before `stage`)."""
    return rig.lane(linger_us=60_000_000)


def test_lanes_of_the_predecessor_are_reported_and_attaching_them_again_changes_nothing(
    rig: Rig, lane: Lane, stage: Stage
) -> None:
    lane.send(TOPIC_NAME, b"1")
    lane.writer.seal()
    terms = rig.terms(1)
    assert stage.ready.lanes == [LaneHeld(1, terms)]
    assert stage.order(AttachLane(1, names.lane(rig.tag, 1), terms)) == LaneAttached(1)
    assert [record.value for record in rig.read_all()] == [b"1"]


def test_retention_deletes_whole_segments_and_moves_the_start(rig: Rig, lane: Lane, stage: Stage) -> None:
    for number in range(2000):
        lane.send(TOPIC_NAME, b"%06d" % number + bytes(2000))
        if number % 20 == 0:
            stage.owner.work(monotonic_ns())
    lane.writer.seal()
    stage.owner.work(monotonic_ns())
    stage.order(ApplyRetention(now_ms=0))
    start = rig.control.log_start_offset
    assert start == 2000, "retention.bytes=0 keeps nothing but the new active segment"
    assert [path.name for path in sorted(rig.directory.glob("*.log"))] == [f"{start:020d}.log"]
    lane.send(TOPIC_NAME, b"next")
    lane.writer.seal()
    stage.owner.work(monotonic_ns())
    assert [record.offset for record in rig.read_all(start)] == [2000]


def test_closing_drains_lingering_lanes_first(rig: Rig, lane: Lane, stage: Stage) -> None:
    lane.send(TOPIC_NAME, b"1")
    create_client_region(names.client(rig.tag, 9), client_id=9, mode=0o600)
    stage.order(AttachClient(9, names.client(rig.tag, 9)))
    stage.channel.send(Close(delete=False))
    stage.owner.serve()
    answers = []
    while (answer := stage.channel.receive()) is not None:
        answers.append(answer)
        if isinstance(answer, Closed):
            break
    assert answers == [LaneDetached(1, "closed", 1), Closed(1)]


def test_a_full_disk_stops_nothing_but_the_acknowledgement_and_is_said(
    rig: Rig, lane: Lane, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = RefusingPublisher(stage.owner)
    monkeypatch.setattr(stage.owner, "_publisher", full)
    stage.owner.work(monotonic_ns())
    assert "No space left" in rig.control.error_text
    assert "nothing is lost" in rig.control.error_text
    monkeypatch.undo()
    delivery = lane.send(TOPIC_NAME, b"1")
    lane.writer.seal()
    stage.owner.work(monotonic_ns())
    assert rig.control.error_text == ""
    assert delivery.result().offset == 0


def test_a_ring_that_finds_no_shared_memory_waits_for_it_and_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the partition went offline."""

    def refuse(name: str, size_bytes: int, *, mode: int, group: int | None) -> None:
        raise ShmBudgetExceededError(f"cannot reserve {size_bytes} bytes of shared memory")

    rig.config["max.message.bytes"] = str(1 << 20)
    rig.take_over(1)
    lane = rig.lane()
    stage = Stage(rig)
    with monkeypatch.context() as patch:
        patch.setattr(region, "create", refuse)
        lane.send(TOPIC_NAME, bytes(500_000))
        stage.owner.work(monotonic_ns())
        assert "waits for a larger ring: cannot reserve" in rig.control.error_text
        assert rig.control.log_end_offset == 0

    def published() -> bool:
        stage.owner.work(monotonic_ns())
        return rig.control.high_watermark == 1

    assert wait_until(published)
    assert rig.control.error_text == ""
    assert [len(record.value) for record in rig.read_all()] == [500_000]
    stage.channel.close()
    stage.owners_end.close()


def test_a_lack_of_shared_memory_deletes_nothing_from_the_disk(
    rig: Rig, lane: Lane, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: retention ran ten times a second, and deleted files went without their delay."""

    def refuse(*arguments: object) -> None:
        raise ShmBudgetExceededError("cannot reserve 65536 bytes of shared memory")

    lane.send(TOPIC_NAME, b"1")
    lane.writer.seal()
    stage.owner.work(monotonic_ns())
    monkeypatch.setattr(owner, "grow_ring", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(stage.owner, "_publisher", RefusingPublisher(stage.owner, GROW))
        stage.owner.work(monotonic_ns())
    assert "waits for a larger ring: cannot reserve" in rig.control.error_text
    assert rig.control.log_start_offset == 0
    monkeypatch.setattr(stage.owner, "_publisher", RefusingPublisher(stage.owner))
    stage.owner.work(monotonic_ns())
    assert rig.control.log_start_offset == 1, "a full disk lets retention.bytes=0 take what it may"


def test_an_owner_follows_records_when_it_is_told_to_and_ends_it_when_the_time_is_over(rig: Rig, stage: Stage) -> None:
    minute_ns = 60_000_000_000
    stage.order(Trace(monotonic_ns() + minute_ns, 1000))
    assert rig.control.trace_stride == 1
    stage.owner.work(monotonic_ns() + minute_ns // 2)
    assert rig.control.trace_stride == 1
    stage.owner.work(monotonic_ns() + 2 * minute_ns)
    assert rig.control.trace_stride == 0


class RefusingPublisher:
    """The owner's publisher without room: on the disk, if the outcome is FAILED."""

    last_errno = errno.ENOSPC
    tail_pos, capacity = 100, RING_BYTES_MIN
    written_pos = 0

    def __init__(self, owner: OwnerAgent, outcome: int = FAILED) -> None:
        self.owner = owner
        self.outcome = outcome

    def run(self, budget_ns: int) -> int:
        return self.outcome

    def defer_growth(self, until_ns: int) -> None:
        assert until_ns > monotonic_ns()

    def growth_is_awaited(self) -> bool:
        return self.outcome == GROW

    def stop_trace(self, now_ns: int) -> None:
        """Nobody traces."""


def test_a_deleted_partition_does_not_wait_for_room_on_the_disk(
    rig: Rig, lane: Lane, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage.owner._keeper, "roll", no_room)
    for number in range(600):
        lane.send(TOPIC_NAME, bytes(2000))
        if number % 10 == 9:
            stage.owner.work(monotonic_ns())
    assert "No space left" in rig.control.error_text
    stage.order(Close(delete=True))
    assert stage.owner._finished()


@pytest.mark.parametrize(("setting", "value"), [("flush.messages", "1"), ("flush.messages", "3"), ("flush.ms", "1")])
def test_flush_settings_bring_records_to_the_disk(tmp_path: Path, setting: str, value: str) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", setting: value}) as rig:
        lane = rig.lane()
        made = Stage(rig)
        for _ in range(4):
            lane.send(TOPIC_NAME, b"x")

        def synced() -> bool:
            made.owner.work(monotonic_ns())
            return rig.control.synced_offset == 4

        assert wait_until(synced)
        assert rig.control.high_watermark == 4
        made.channel.close()
        made.owners_end.close()


def test_with_flush_messages_1_nothing_is_visible_before_it_is_on_the_disk(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "flush.messages": "1"}) as rig:
        lane = rig.lane()
        lane.send(TOPIC_NAME, b"x")
        assert rig.publisher.run(10_000_000) == SYNC
        assert (rig.control.written_offset, rig.control.high_watermark) == (1, 0)
        rig.keeper.sync()
        assert rig.control.high_watermark == 1


def test_a_flush_messages_that_is_raised_shows_what_was_waiting_for_its_sync(tmp_path: Path) -> None:
    """Regression: the records stayed invisible until the next one came."""
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "flush.messages": "1"}) as rig:
        lane = rig.lane()
        lane.send(TOPIC_NAME, b"x")
        assert rig.publisher.run(10_000_000) == SYNC
        assert rig.control.high_watermark == 0
        rig.keeper.configure(TopicConfig.from_mapping({"max.message.bytes": "65536", "flush.messages": "2"}))
        assert rig.control.high_watermark == 1


def test_a_disk_without_room_for_a_new_segment_delays_the_roll_and_loses_nothing(
    rig: Rig, lane: Lane, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sent = 0
    with monkeypatch.context() as patch:
        patch.setattr(stage.owner._keeper, "roll", no_room)
        while not rig.control.error_text:
            lane.send(TOPIC_NAME, b"%06d" % sent + bytes(2000))
            sent += 1
            if sent % 10 == 0:
                stage.owner.work(monotonic_ns())
    assert "No space left" in rig.control.error_text
    lane.writer.seal()
    while stage.owner.work(monotonic_ns()):
        pass
    assert rig.control.error_text == ""
    assert [int(record.value[:6]) for record in rig.read_all()] == list(range(sent))

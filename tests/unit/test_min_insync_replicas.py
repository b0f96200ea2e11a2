"""min.insync.replicas at the leader: with fewer replicas in sync nothing more is shown, or acknowledged to acks=all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import AlterConfig
from shmlog.machines.in_sync_count import InSyncCount
from shmlog.memory import region
from shmlog.native.publish import IDLE
from shmlog.partition import owner
from shmlog.partition.owner import OwnerAgent
from shmlog.settings import TopicConfig
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import RUN_NS, Lane, Rig, open_rig

LAG_NS = SECOND_NS = 1_000_000_000
CONFIG = {"max.message.bytes": "65536", "segment.bytes": "1048576", "min.insync.replicas": "2"}
RING_BYTES = 512 * 1024


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A partition of two replicas, both needed, whose follower 1 follows and is in sync."""
    with open_rig(tmp_path / "flights-0", CONFIG, in_sync=[1]) as made:
        yield made


@pytest.fixture
def follower(rig: Rig) -> FakeFollower:
    made = FakeFollower(rig.tag, 1)
    made.follow(0)
    rig.followers.look(0)
    return made


def publish(rig: Rig, lane: Lane, *values: bytes) -> None:
    """As one batch."""
    lane.send_all(*values)
    rig.run()


def alter(rig: Rig, min_insync_replicas: int) -> None:
    rig.config["min.insync.replicas"] = str(min_insync_replicas)
    rig.followers.configure(TopicConfig.from_mapping(rig.config))


def said(rig: Rig) -> tuple[int, int]:
    return rig.control.in_sync, rig.control.in_sync_needed


@pytest.mark.parametrize(
    ("replicas", "in_sync", "setting", "is_short"),
    [(1, 1, 1, False), (1, 1, 5, False), (2, 1, 1, False), (2, 1, 2, True), (2, 2, 3, False), (3, 2, 3, True)],
)
def test_a_partition_needs_no_more_replicas_in_sync_than_it_has(
    replicas: int, in_sync: int, setting: int, is_short: bool
) -> None:
    assert InSyncCount.of(replicas, in_sync, setting).is_short == is_short


def test_with_enough_in_sync_everything_is_as_without_the_setting(rig: Rig, follower: FakeFollower) -> None:
    publish(rig, rig.lane(), b"1")
    follower.has(1)
    rig.run()
    assert rig.values() == [b"1"]
    assert said(rig) == (2, 2)


def test_with_too_few_in_sync_nothing_more_is_shown_until_there_are_enough(rig: Rig, follower: FakeFollower) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    follower.has(1)
    rig.run()
    rig.followers.replace(1, [])
    publish(rig, lane, b"2")
    assert (rig.values(), rig.control.written_offset, said(rig)) == ([b"1"], 2, (1, 2))
    rig.followers.replace(2, [rig.follower_at(1, in_sync=True)])
    follower.has(2)
    rig.run()
    assert (rig.values(), said(rig)) == ([b"1", b"2"], (2, 2))


def test_only_producers_that_asked_for_all_replicas_wait_for_enough_of_them(rig: Rig) -> None:
    rig.followers.replace(1, [])
    lanes = [rig.lane(acks=acks, producer_id=8 + acks) for acks in (-1, 1, 0)]
    deliveries = [lane.send("flights", b"1") for lane in lanes]
    rig.run()
    for lane in lanes:
        lane.writer.reclaim()
    assert [delivery.done for delivery in deliveries] == [False, True, True]


def test_a_follower_that_has_caught_up_does_not_count_before_that_is_durable(rig: Rig, follower: FakeFollower) -> None:
    rig.followers.replace(1, [rig.follower_at(1, in_sync=False)])
    publish(rig, rig.lane(), b"1")
    follower.has(1)
    rig.run()
    rig.followers.look(LAG_NS)
    assert len(rig.reports) == 1, "it is reported"
    rig.run()
    assert rig.values() == []
    rig.followers.replace(2, [rig.follower_at(1, in_sync=True)])
    assert rig.values() == [b"1"]


def test_the_setting_may_change_while_records_come(rig: Rig) -> None:
    rig.followers.replace(1, [])
    lane = rig.lane()
    shown = []
    for number, setting in enumerate((1, 2, 1)):
        alter(rig, setting)
        publish(rig, lane, b"%d" % number)
        shown.append(len(rig.values()))
    assert shown == [1, 1, 3]


def test_with_a_sync_before_every_acknowledgement_too_few_in_sync_hold_it_up_as_well(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", CONFIG | {"flush.messages": "1"}, in_sync=[1]) as rig:
        rig.followers.replace(1, [])
        publish(rig, rig.lane(), b"1")
        assert (rig.control.synced_offset, rig.control.high_watermark) == (1, 0)
        alter(rig, 1)
        assert rig.control.high_watermark == 1


def test_the_owner_takes_no_more_than_half_a_ring_while_too_few_are_in_sync(rig: Rig) -> None:
    rig.followers.replace(1, [])
    lane = rig.lane(acks=1)
    for number in range(100):
        lane.writer.reclaim()
        lane.send("flights", bytes(30_000))
        lane.writer.seal()
        rig.run()
        if rig.control.log_end_offset <= number:
            break
    assert RING_BYTES // 2 < rig.publisher.tail_pos < RING_BYTES
    assert rig.publisher.run(RUN_NS) == IDLE
    assert not rig.publisher.has_work(), "an owner that is held up may sleep"
    alter(rig, 1)
    rig.run()
    assert len(rig.values()) == rig.control.log_end_offset == number + 1


def test_a_successor_shows_no_more_than_the_one_before_while_too_few_are_in_sync(
    rig: Rig, follower: FakeFollower
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    follower.has(1)
    rig.run()
    rig.followers.replace(1, [])
    publish(rig, lane, b"2")
    rig.in_sync = []
    rig.take_over(1)
    rig.run()
    assert (rig.values(), said(rig)) == ([b"1"], (1, 2))


def test_a_cold_start_shows_no_more_than_was_shown_while_too_few_are_in_sync(rig: Rig, follower: FakeFollower) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    follower.has(1)
    rig.run()
    rig.followers.replace(1, [])
    publish(rig, lane, b"2")
    assert not rig.followers.are_waited_for(), "closing need not wait for what cannot come"
    rig.keeper.close(clean=True)
    rig.followers.close()
    rig.lives = False
    region.sweep(rig.tag)
    rig.in_sync = []
    rig.take_over(1)
    rig.run()
    assert rig.values() == [b"1"]
    alter(rig, 1)
    assert rig.values() == [b"1", b"2"]


def test_closing_does_not_wait_for_those_in_sync_while_they_are_too_few(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", CONFIG | {"min.insync.replicas": "3"}, in_sync=[1, 2]) as rig:
        rig.followers.replace(1, [rig.follower_at(1, in_sync=True)])
        publish(rig, rig.lane(), b"1")
        assert not rig.followers.are_waited_for()


def test_a_lane_that_is_silent_for_want_of_replicas_stays_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its producer waits, and a replica that takes over sends back only what is in lanes that the owner has."""
    monkeypatch.setattr(owner, "LANE_IDLE_CLOSE_S", 0.0)
    lane = rig.lane()
    publish(rig, lane, b"1")
    rig.in_sync = []
    rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
    supervisor, theirs = Channel.pair()
    owners_end = Channel(theirs)
    agent = OwnerAgent(rig.spec, owners_end)
    first_ns = monotonic_ns()
    for second in range(3):
        agent.work(first_ns + second * SECOND_NS)
    assert [one.lane_id for one in rig.control.lanes()] == [1]
    supervisor.send(AlterConfig(rig.config | {"min.insync.replicas": "1"}))
    for second in range(3, 6):
        agent.work(first_ns + second * SECOND_NS)
    assert rig.control.lanes() == []
    supervisor.close()
    owners_end.close()

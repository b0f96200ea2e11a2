"""A leader with followers: what it shows to consumers, what it believes of them, and whom it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.messages import ReplicaCaughtUp, ReplicaLags
from shmlog.memory import layout, region
from shmlog.native.publish import IDLE
from shmlog.partition.regeneration import grow_ring
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import RUN_NS, Lane, Rig, open_rig

LAG_MS = 1000
LAG_NS = LAG_MS * 1_000_000
CONFIG = {"max.message.bytes": "65536", "segment.bytes": "1048576", "replica.lag.time.max.ms": str(LAG_MS)}
RING_BYTES = 512 * 1024


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A new partition whose followers 1 and 2 are in sync, and have not been heard of."""
    with open_rig(tmp_path / "flights-0", CONFIG, in_sync=[1, 2]) as made:
        yield made


@pytest.fixture
def followers(rig: Rig) -> tuple[FakeFollower, FakeFollower]:
    """Both follow, and have nothing yet."""
    made = FakeFollower(rig.tag, 1), FakeFollower(rig.tag, 2)
    for follower in made:
        follower.follow(0)
    rig.followers.look(0)
    return made


def publish(rig: Rig, lane: Lane, *values: bytes) -> None:
    """As one batch."""
    lane.send_all(*values)
    rig.run()


def test_what_in_sync_followers_have_not_confirmed_is_written_and_not_shown(rig: Rig) -> None:
    publish(rig, rig.lane(), b"1", b"2")
    assert (rig.control.written_offset, rig.control.high_watermark) == (2, 0)
    assert rig.values() == []


def test_the_high_watermark_is_the_last_batch_that_all_in_sync_replicas_have(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    for begin in range(0, 9, 3):
        publish(rig, lane, *(b"%d" % number for number in range(begin, begin + 3)))
    first, second = followers
    shown = []
    for second_has in (0, 3, 5, 6, 9):
        first.has(9)
        second.has(second_has)
        rig.run()
        shown.append((rig.control.high_watermark, len(rig.values())))
    assert shown == [(0, 0), (3, 3), (3, 3), (6, 6), (9, 9)]


def test_a_producer_that_asked_for_all_replicas_hears_when_all_have_it(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    all_replicas, leader_alone = rig.lane(acks=-1), rig.lane(acks=1, producer_id=8)
    deliveries = [lane.send("flights", b"1") for lane in (all_replicas, leader_alone)]
    rig.run()
    for lane in (all_replicas, leader_alone):
        lane.writer.reclaim()
    assert [delivery.done for delivery in deliveries] == [False, True]
    for follower in followers:
        follower.has(2)
    rig.run()
    all_replicas.writer.reclaim()
    assert deliveries[0].done


def test_a_follower_that_is_not_in_sync_holds_nothing_up(rig: Rig) -> None:
    rig.followers.replace(1, [rig.follower_at(1, in_sync=False)])
    publish(rig, rig.lane(), b"1")
    assert rig.values() == [b"1"]


def test_what_a_follower_has_of_another_leaders_log_does_not_count(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    publish(rig, rig.lane(), b"1")
    followers[0].has(1)
    rig.take_over(1)
    rig.run()
    followers[0].has(1)
    followers[1].follow(1, 1)
    rig.run()
    assert rig.values() == []
    followers[0].follow(1, 1)
    rig.run()
    assert rig.values() == [b"1"]


def test_followers_are_rung_when_there_is_more_to_copy_and_not_when_more_is_shown(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    for follower in followers:
        follower.sleep()
    publish(rig, rig.lane(), b"1")
    assert [follower.rings for follower in followers] == [1, 1]
    for follower in followers:
        follower.has(1)
    rig.run()
    assert rig.control.high_watermark == 1
    assert [follower.rings for follower in followers] == [1, 1]


def fill(rig: Rig, lane: Lane) -> int:
    """Send batches of 30 KB until the owner takes no more of them; how many records there are then."""
    for number in range(100):
        lane.writer.reclaim()
        lane.send("flights", bytes(30_000))
        lane.writer.seal()
        rig.run()
        if rig.control.log_end_offset <= number:
            return number + 1
    raise AssertionError("the owner is never held up")


def test_the_owner_takes_no_more_than_half_a_ring_ahead_of_its_followers(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane(acks=1)
    sent = fill(rig, lane)
    assert RING_BYTES // 2 < rig.publisher.tail_pos < RING_BYTES
    assert rig.publisher.run(RUN_NS) == IDLE
    assert not rig.publisher.has_work(), "an owner that is held up may sleep"
    for follower in followers:
        follower.has(rig.control.log_end_offset)
    assert rig.publisher.has_work()
    rig.run()
    assert rig.control.log_end_offset == sent
    assert len(rig.values()) == sent - 1


def test_a_lane_that_is_held_up_goes_on_when_the_slow_follower_is_taken_out(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    sent = fill(rig, rig.lane(acks=1))
    rig.followers.replace(1, [])
    rig.run()
    assert rig.control.high_watermark == sent


def test_a_ring_that_is_replaced_while_followers_lag_shows_everything_when_they_have_it(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    for follower in followers:
        follower.has(1)
    rig.run()
    grow_ring(rig.spec, 2 * RING_BYTES, rig.control, rig.publisher)
    assert rig.values() == [b"1"]
    publish(rig, lane, b"3")
    shown = []
    for offset in (2, 3):
        for follower in followers:
            follower.has(offset)
        rig.run()
        shown.append(rig.values())
    assert shown == [[b"1", b"2"], [b"1", b"2", b"3"]]


def test_with_a_sync_before_every_acknowledgement_it_counts_what_followers_have_on_the_disk(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", CONFIG | {"flush.messages": "1"}, in_sync=[1]) as rig:
        follower = FakeFollower(rig.tag, 1)
        follower.follow(0)
        rig.followers.look(0)
        publish(rig, rig.lane(), b"1")
        follower.has(1)
        rig.run()
        assert (rig.control.synced_offset, rig.control.high_watermark) == (1, 0)
        follower.has_synced(1)
        rig.run()
        assert rig.control.high_watermark == 1


# --- owners that come after another -----------------------------------------------------------------------------------


def test_a_successor_shows_no_more_than_the_one_before_until_its_followers_have_more(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    for follower in followers:
        follower.has(1)
    rig.run()
    rig.take_over(1)
    rig.run()
    assert rig.values() == [b"1"]
    for follower in followers:
        follower.follow(1, 2)
    rig.run()
    assert rig.values() == [b"1", b"2"]


def test_a_successor_completes_a_high_watermark_that_was_half_stored(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    """The offset is stored before the position, and readers of the ring go by the position."""
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    rig.control.mapping.store(layout.CTL_HW_OFFSET, 1)
    rig.take_over(1)
    assert rig.values() == [b"1"]


def test_a_successor_without_followers_shows_everything(rig: Rig) -> None:
    publish(rig, rig.lane(), b"1")
    rig.in_sync = []
    rig.take_over(1)
    assert rig.values() == [b"1"]


def test_a_cold_start_shows_at_once_what_was_shown_when_the_partition_was_closed(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    for follower in followers:
        follower.has(1)
    rig.run()
    rig.keeper.close(clean=True)
    rig.followers.close()
    rig.lives = False
    region.sweep(rig.tag)
    rig.take_over(1)
    assert rig.values() == [b"1"]


def test_the_high_watermark_is_noted_every_few_seconds_for_a_start_without_shared_memory(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    noted = []
    for number in range(8):
        publish(rig, lane, b"%d" % number)
        for follower in followers:
            follower.has(number + 1)
        rig.run()
        rig.followers.look((number + 1) * LAG_NS)
        noted.append((rig.directory / "high-watermark").read_text())
    assert noted == ["0\n0\n"] * 4 + ["0\n5\n"] * 4
    rig.let_go()
    region.sweep(rig.tag)
    rig.take_over(1)
    assert len(rig.values()) == 5


@pytest.mark.parametrize("content", [b"", b"0\n99\n", b"\0\0\0\0", b"1\n1\n", b"0\n1 1\n"])
def test_a_note_that_cannot_be_shows_nothing_that_is_not_there(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower], content: bytes
) -> None:
    publish(rig, rig.lane(), b"1")
    rig.let_go()
    region.sweep(rig.tag)
    (rig.directory / "high-watermark").write_bytes(content)
    rig.take_over(1)
    assert rig.control.high_watermark <= rig.control.written_offset == 1
    assert rig.values() == ([b"1"] if b"99" in content else [])


def test_a_cold_start_shows_what_followers_have_once_they_say_it(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    lane = rig.lane()
    publish(rig, lane, b"1")
    publish(rig, lane, b"2")
    rig.let_go()
    region.sweep(rig.tag)
    rig.take_over(1)
    assert (rig.control.high_watermark, rig.control.log_end_offset) == (0, 2)
    assert rig.values() == []
    back = [FakeFollower(rig.tag, 1), FakeFollower(rig.tag, 2)]
    for follower in back:
        follower.follow(1, 2)
    rig.followers.look(LAG_NS)
    assert rig.values() == [b"1", b"2"]
    publish(rig, rig.lane(producer_id=9), b"3")
    assert rig.values() == [b"1", b"2"]
    for follower in back:
        follower.has(3)
    rig.run()
    assert rig.values() == [b"1", b"2", b"3"]


# --- who is reported --------------------------------------------------------------------------------------------------


def test_a_follower_that_lags_is_reported_and_counts_until_it_is_taken_out(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    publish(rig, rig.lane(), b"1")
    followers[0].has(1)
    for now_ns in (LAG_NS, 2 * LAG_NS, 3 * LAG_NS + 1, 5 * LAG_NS):
        rig.followers.look(now_ns)
    assert rig.reports == [ReplicaLags(0, 2, 1, "")]
    assert rig.values() == []
    rig.followers.replace(1, [rig.follower_at(1, in_sync=True), rig.follower_at(2, in_sync=False)])
    assert rig.values() == [b"1"]


def test_a_follower_that_catches_up_counts_before_anybody_is_told(rig: Rig) -> None:
    follower = FakeFollower(rig.tag, 1)
    rig.followers.replace(7, [rig.follower_at(1, in_sync=False)])
    lane = rig.lane()
    publish(rig, lane, b"1")
    follower.follow(0, 1)
    rig.followers.look(LAG_NS)
    assert rig.reports == [ReplicaCaughtUp(7, 1)]
    publish(rig, lane, b"2")
    assert rig.values() == [b"1"]


def test_word_of_a_follower_that_was_given_before_the_supervisors_does_not_bind_the_leader(rig: Rig) -> None:
    """Both cross on their way: the report is of an earlier version, and void. It comes again."""
    follower = FakeFollower(rig.tag, 1)
    follower.follow(0)
    outside = [rig.follower_at(1, in_sync=False)]
    rig.followers.replace(1, outside)
    rig.followers.look(LAG_NS)
    rig.followers.replace(2, outside)
    publish(rig, rig.lane(), b"1")
    assert rig.values() == [b"1"]
    follower.has(1)
    rig.followers.look(2 * LAG_NS)
    assert rig.reports == [ReplicaCaughtUp(1, 1), ReplicaCaughtUp(2, 1)]


def test_a_follower_that_was_started_again_is_heard_in_its_new_region(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    publish(rig, rig.lane(), b"1")
    followers[0].has(1)
    FakeFollower(rig.tag, 2).follow(0, 1)
    rig.followers.look(LAG_NS)
    assert rig.values() == [b"1"]


def test_an_owner_whose_followers_have_everything_need_not_look(
    rig: Rig, followers: tuple[FakeFollower, FakeFollower]
) -> None:
    never = rig.followers.next_deadline_ns
    assert never > 1 << 62
    publish(rig, rig.lane(), b"1")
    rig.followers.look(LAG_NS)
    assert LAG_NS < rig.followers.next_deadline_ns < 2 * LAG_NS
    for follower in followers:
        follower.has(1)
    rig.followers.look(2 * LAG_NS)
    assert 2 * LAG_NS < rig.followers.next_deadline_ns < never, "the high watermark is to be noted"
    rig.followers.look(rig.followers.next_deadline_ns)
    assert rig.followers.next_deadline_ns == never
    publish(rig, rig.lane(producer_id=8), b"2")
    assert rig.followers.next_deadline_ns < never, "they cannot have that yet"

"""Another replica takes over, and not all that was published is in its log, or in the ring behind it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.memory import layout, names, region
from shmlog.memory.layout import SyncFailed, SyncRunning
from shmlog.partition.regeneration import grow_ring
from shmlog.testing.follower_rig import (
    REPLICA_ID,
    FollowerRig,
    lead_from,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    retain,
    take_over,
)
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "leader") as rig:
        yield rig


@pytest.fixture
def follower(leader: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(leader, tmp_path / "follower") as one:
        one.work()
        yield one


def grow(rig: Rig) -> None:
    """What the ring had is only in the files then."""
    grow_ring(rig.spec, 2 * rig.publisher.capacity, rig.control, rig.publisher)


def statuses(lane: Lane) -> list[int]:
    """Of the frames that its producer keeps."""
    found, pos = [], lane.mapping.load(layout.LANE_FREE)
    while pos < lane.mapping.load(layout.LANE_OPEN) >> 39 << 3:
        frame = layout.LANE_DATA + pos
        found.append(lane.mapping.load(frame + layout.FRAME_STATUS))
        pos += (lane.mapping.load(frame + layout.FRAME_LENGTH) & 0xFFFFFFFF) + 7 & ~7
    return found


def bases(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.log"))


@pytest.fixture
def waiting(leader: Rig, follower: FollowerRig) -> Lane:
    """A lane with three batches that are published, and that the in-sync follower has not got; the ring neither."""
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    follower.work()
    lane = leader.lane()
    for number in range(3):
        lane.send(TOPIC_NAME, b"%d;" % number * 50)
        leader.run()
        lane.writer.seal()
    follower.kill()
    grow(leader)
    leader.in_sync = []
    return lane


def test_what_was_published_in_an_older_ring_is_taken_from_the_lanes_again(
    leader: Rig, follower: FollowerRig, waiting: Lane
) -> None:
    lead_from(leader, follower, 2)
    assert "of which 3 are still in their producers' lanes" in leader.opened.recovered
    leader.run()
    assert [record.value[:2] for record in leader.read_all()] == [b"0;", b"1;", b"2;"]
    assert waiting.writer.reclaim() == 3


def test_a_batch_that_is_lost_has_no_result_any_more(leader: Rig, follower: FollowerRig, waiting: Lane) -> None:
    assert statuses(waiting) == [layout.FRAME_STATUS_APPENDED] * 3
    lead_from(leader, follower, 2)
    assert statuses(waiting) == [layout.FRAME_STATUS_PENDING] * 3
    assert waiting.mapping.load(layout.LANE_HEAD) == 0


def test_a_batch_whose_result_is_being_taken_back_is_waited_for(leader: Rig) -> None:
    lane = leader.lane()
    sent = lane.send(TOPIC_NAME, b"0;")
    leader.run()
    lane.mapping.store(layout.LANE_DATA + layout.FRAME_STATUS, layout.FRAME_STATUS_PENDING)
    assert lane.writer.reclaim() == 0
    assert not sent.done
    lane.mapping.store(layout.LANE_DATA + layout.FRAME_STATUS, layout.FRAME_STATUS_APPENDED)
    assert lane.writer.reclaim() == 1
    assert sent.result().offset == 0


def test_a_watermark_behind_the_log_goes_back_to_its_end(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 2)
    follower.work()
    follower.kill()
    produce(leader, lane, 3)
    grow(leader)
    assert leader.control.high_watermark == 5
    leader.in_sync = [2]  # which has said nothing yet, so that the watermark moves no further
    lead_from(leader, follower, 1)
    assert leader.control.high_watermark == 2
    assert leader.control.mapping.load(layout.CTL_LSO_OFFSET) == 2


def test_a_watermark_behind_the_log_goes_back_after_a_takeover_that_was_killed(
    leader: Rig, follower: FollowerRig
) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 2)
    follower.work()
    follower.kill()
    produce(leader, lane, 3)
    grow(leader)
    lead_from(leader, follower, 1)
    page = leader.control.mapping
    page.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)
    page.store(layout.CTL_HW_OFFSET, 5)  # killed before it stored any position
    leader.in_sync = [2]
    take_over(leader, 2)
    assert leader.control.high_watermark == 2


def test_a_log_does_not_start_behind_its_end(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 3)
    follower.work()
    follower.kill()
    produce(leader, lane, 60)
    retain(leader, 2000)
    grow(leader)
    assert leader.control.log_start_offset > 3
    lead_from(leader, follower, 1)
    assert leader.control.log_start_offset == 0
    produce(leader, lane, 2)
    assert [record.offset for record in leader.read_all()] == [0, 1, 2, 3, 4]


# --- the copy ---------------------------------------------------------------------------------------------------------


def test_a_copy_begins_segments_where_the_leader_began_its_last_two(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    follower.kill()  # it has nothing
    produce(leader, lane, 2)
    leader.keeper.roll()
    produce(leader, lane, 2)
    leader.keeper.roll()
    lead_from(leader, follower, 1)
    assert bases(follower.directory) == [f"{base:020d}.log" for base in (0, 2, 4)]


def test_a_copy_that_has_grown_since_it_was_handed_over_is_checked(leader: Rig, follower: FollowerRig) -> None:
    produce(leader, leader.lane(), 3)
    follower.hand_over()
    newest = max(follower.directory.glob("*.log"))
    newest.write_bytes(newest.read_bytes() + b"torn")
    lead_from(leader, follower, 1)
    assert len(leader.read_all()) == 3


def test_a_copy_that_leads_shows_no_replica_region(leader: Rig, follower: FollowerRig) -> None:
    produce(leader, leader.lane(), 3)
    follower.hand_over()
    lead_from(leader, follower, 1)
    assert not region.exists(names.replica(leader.tag, 1, REPLICA_ID))


@pytest.mark.parametrize(
    ("cell", "value"),
    [(layout.CTL_SYNC_FAILED, SyncFailed.NOT_NOTED), (layout.CTL_SYNC_RUNNING, SyncRunning.RECORDS)],
)
def test_files_are_in_doubt_when_nobody_knows_any_more_whose_sync_failed(
    leader: Rig, follower: FollowerRig, cell: int, value: int
) -> None:
    produce(leader, leader.lane(), 3)
    follower.kill()
    page = leader.control.mapping
    page.store(cell, value)
    page.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)  # a takeover was killed, and the old leader leads again
    take_over(leader, 1)
    assert "a takeover was killed" in leader.opened.log.rewritten
    assert page.load(cell) == 0
    assert len(leader.read_all()) == 3
    take_over(leader, 2)
    assert leader.opened.log.rewritten == ""


def test_a_lane_stays_until_what_it_published_is_shown(leader: Rig, follower: FollowerRig) -> None:
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    follower.work()
    lane = leader.lane()
    produce(leader, lane, 1)
    leader.desk.begin_close(leader.lanes_made, "closed")
    leader.run()
    assert leader.desk.drained(leader.control.high_watermark) == []
    follower.work()
    leader.publisher.settle()
    assert [one for one, _, _ in leader.desk.drained(leader.control.high_watermark)] == [leader.lanes_made]


@pytest.mark.parametrize("has_grown", [True, False], ids=["an empty ring", "a ring with batches"])
def test_a_copy_of_another_history_that_ends_where_a_ring_begins_is_not_taken_for_that_rings_log(
    leader: Rig, follower: FollowerRig, tmp_path: Path, has_grown: bool
) -> None:
    """A leader that was not in sync has written others in the place of the copy's last records."""
    produce(leader, leader.lane(producer_id=-1), 3)
    shutil.copytree(leader.directory, tmp_path / "behind")
    produce(leader, leader.lane(producer_id=-1), 2)
    follower.work()
    follower.kill()
    lose_shared_memory(leader)
    shutil.rmtree(leader.directory)
    (tmp_path / "behind").rename(leader.directory)
    leader.in_sync = [2]  # which says nothing: nobody hears of more
    take_over(leader, 1)
    lane = leader.lane()
    results = [lane.send(TOPIC_NAME, value * 100) for value in (b"x;", b"y;")]
    leader.run()
    grow(leader)
    if not has_grown:
        results.append(lane.send(TOPIC_NAME, b"z;" * 100))
        leader.run()
    leader.in_sync = []
    lead_from(leader, follower, 2)
    assert "nothing that shows that both have the same" in leader.opened.recovered
    leader.run()
    lane.writer.reclaim()
    values = [record.value for record in leader.read_all()]
    assert [one.result().offset for one in results] == list(range(5, 5 + len(results)))
    assert values[5:] == [value * 100 for value in (b"x;", b"y;", b"z;")][: len(results)]


def test_a_copy_that_ends_where_a_ring_begins_goes_on_in_it_if_it_followed_that_rings_leader(
    leader: Rig, follower: FollowerRig
) -> None:
    """Its checkpoint says so, also after its follower was started anew and found no leader to agree with."""
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 3)
    follower.work()
    grow(leader)
    produce(leader, lane, 2)
    generation = leader.control.generation
    follower.kill()
    follower.start()
    follower.kill()
    lead_from(leader, follower, 1)
    assert leader.control.generation == generation
    assert len(leader.read_all()) == 5


def test_a_copy_that_has_not_reached_its_leaders_epoch_goes_on_in_a_ring_that_begins_at_its_end(
    leader: Rig, follower: FollowerRig
) -> None:
    """Its follower had agreed with that leader, and said so in its region."""
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 3)
    follower.work()
    grow(leader)
    produce(leader, lane, 2)
    generation = leader.control.generation
    take_over(leader, 1)
    page = follower.following.leader.attach()
    assert page is not None
    assert follower.following._has_agreed(page)
    follower.kill()
    lead_from(leader, follower, 2)
    assert leader.control.generation == generation
    assert len(leader.read_all()) == 5

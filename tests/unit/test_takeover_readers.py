"""Consumers and followers that are attached while another replica takes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.errors import OffsetOutOfRangeError
from shmlog.memory import layout
from shmlog.partition.opened import stamp_owner
from shmlog.partition.regeneration import grow_ring
from shmlog.testing.follower_rig import (
    REPLICA_ID,
    FollowerRig,
    difference,
    lead_from,
    open_follower,
    open_leader,
    produce,
    take_over,
)
from shmlog.testing.partition_rig import Rig

SECOND = 2


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "leader") as rig:
        yield rig


@pytest.fixture
def heir(leader: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(leader, tmp_path / "heir") as one:
        one.work()
        yield one


@pytest.fixture
def second(leader: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    """Another follower, which goes on."""
    with open_follower(leader, tmp_path / "second", replica_id=SECOND) as one:
        one.work()
        yield one


def be_told(second: FollowerRig, leader: Rig) -> None:
    """By the supervisor, where the log is now."""
    second.following.lead_from(str(leader.directory))
    second.work()


def lose(leader: Rig, heir: FollowerRig, count: int) -> None:
    """The heir has nothing of the next `count` records, and the ring neither."""
    heir.kill()
    produce(leader, leader.lane(producer_id=-1), count)
    grow_ring(leader.spec, 2 * leader.publisher.capacity, leader.control, leader.publisher)


def test_a_consumer_reads_on_in_the_same_ring(leader: Rig, heir: FollowerRig) -> None:
    lane, reader = leader.lane(), leader.reader()
    produce(leader, lane, 2)
    assert [record.offset for record in reader.fetch(1 << 20)] == [0, 1]
    produce(leader, lane, 1)
    heir.hand_over()
    lead_from(leader, heir, 1)
    produce(leader, lane, 2)
    found = []
    while records := reader.fetch(1 << 20):
        found += [record.offset for record in records]
    assert found == [2, 3, 4]
    assert (reader.attachments, reader.segment_chunks) == (1, 0)
    reader.close()


def test_a_consumer_goes_on_in_the_new_ring_where_the_log_ends_earlier(leader: Rig, heir: FollowerRig) -> None:
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    heir.work()
    produce(leader, leader.lane(), 2)
    heir.work()
    leader.publisher.settle()
    reader = leader.reader()
    assert [record.offset for record in reader.fetch(1 << 20)] == [0, 1]
    lose(leader, heir, 3)
    assert reader.fetch(1 << 20) == []  # it is not shown yet; and now the reader has the old leader's last ring
    leader.in_sync = []
    lead_from(leader, heir, 2)
    assert reader.fetch(1 << 20) == []
    leader.lane(producer_id=8).send_all(b"another")
    leader.run()
    found = [(record.offset, record.value[:2]) for record in reader.fetch(1 << 20) if record.value]
    assert found == [(2, b"0;"), (3, b"1;"), (4, b"2;"), (5, b"an")]  # what was lost is in its lane, and taken again
    reader.close()


def test_a_consumer_that_was_shown_what_is_lost_is_told(leader: Rig, heir: FollowerRig) -> None:
    """By a leader that nobody else was in sync with."""
    produce(leader, leader.lane(producer_id=-1), 2)
    heir.work()
    reader = leader.reader()
    lose(leader, heir, 3)
    while reader.fetch(1 << 20):
        pass
    assert reader.position == 5
    lead_from(leader, heir, 1)
    with pytest.raises(OffsetOutOfRangeError):
        reader.fetch(1 << 20)
    reader.close()


def test_a_follower_goes_on_with_the_next_leader(leader: Rig, heir: FollowerRig, second: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 8)
    second.work()
    heir.hand_over()
    produce(leader, lane, 3)
    lead_from(leader, heir, 1)
    be_told(second, leader)
    assert difference(leader.directory, second.directory) == ""
    produce(leader, lane, 20)
    second.work()
    assert difference(leader.directory, second.directory) == ""
    assert second.end_offset == second.region.written_offset == 31


def test_a_follower_cuts_what_the_next_leader_has_not(leader: Rig, heir: FollowerRig, second: FollowerRig) -> None:
    produce(leader, leader.lane(producer_id=-1), 2)
    heir.work()
    lose(leader, heir, 20)
    second.work()
    assert second.end_offset == 22
    lead_from(leader, heir, 1)
    be_told(second, leader)
    assert second.end_offset == 2
    assert difference(leader.directory, second.directory) == ""
    produce(leader, leader.lane(producer_id=8), 5)
    second.work()
    assert difference(leader.directory, second.directory) == ""


def test_a_follower_takes_nothing_while_nobody_leads(leader: Rig, second: FollowerRig) -> None:
    """Between the moment at which a takeover begins and its end."""
    produce(leader, leader.lane(), 3)
    page = leader.control.mapping
    page.store(layout.CTL_STATE, layout.OwnerState.RECOVERING)
    stamp_owner(page, leader.spec_for(1))
    second.work()
    assert second.end_offset == 0

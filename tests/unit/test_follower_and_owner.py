"""An owner and its followers, agents of both stepped by hand: what consumers may read is what all in sync have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import AttachLane, Close, Closed, FollowerAt, FollowersAre, Message, ReplicaCaughtUp
from shmlog.memory import layout, names
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms, create_lane
from shmlog.native.mapping import Mapping
from shmlog.partition.owner import OwnerAgent
from shmlog.testing.follower_rig import REPLICA_ID, FollowerRig, difference, open_follower, open_leader
from shmlog.testing.partition_rig import Lane, Rig, word_of_ready


class Pair:
    """The owner of the rig's partition and one follower of it."""

    def __init__(self, rig: Rig, follower: FollowerRig, *, in_sync: bool) -> None:
        self.rig = rig
        self.follower = follower
        self.at = FollowerAt(REPLICA_ID, names.replica(rig.tag, 1, REPLICA_ID), in_sync)
        self.channel, theirs = Channel.pair()
        self._end = Channel(theirs)
        rig.let_go()
        rig.spec = replace(rig.spec_for(rig.spec.leader_epoch + 1), followers=[self.at])
        self.owner = OwnerAgent(rig.spec, self._end)
        word_of_ready(self.channel)
        self.page = ControlPage.open(rig.tag, 1)

    def lane(self, acks: int = -1) -> Lane:
        terms = LaneTerms(1, 7, 0, 4096, 16384, 0, -1)
        create_lane(names.lane(self.rig.tag, 1), lane_id=1, data_bytes=terms.data_bytes, linger_us=0, mode=0o600)
        self.channel.send(AttachLane(1, names.lane(self.rig.tag, 1), terms))
        self.turn()
        return Lane(self.rig.tag, 1, terms, acks, 0)

    def turn(self) -> list[Message]:
        """Let the owner do what it can; what it says."""
        while self.owner.work(monotonic_ns()):
            pass
        return self.hear()

    def hear(self) -> list[Message]:
        said: list[Message] = []
        while (message := self.channel.receive()) is not None:
            said.append(message)
        return said

    def close(self) -> None:
        self.page.close()
        self.channel.close()
        self._end.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "flights-0") as opened:
        yield opened


@pytest.fixture
def follower(rig: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(rig, tmp_path / "flights-0.r1") as opened:
        yield opened


@pytest.fixture
def pair(rig: Rig, follower: FollowerRig) -> Iterator[Pair]:
    made = Pair(rig, follower, in_sync=True)
    yield made
    made.close()


def test_a_record_is_acknowledged_and_shown_when_the_follower_has_it(pair: Pair, follower: FollowerRig) -> None:
    lane = pair.lane()
    follower.work()
    delivery = lane.send("flights", b"v")
    pair.turn()
    lane.writer.reclaim()
    assert (pair.page.written_offset, pair.page.high_watermark, delivery.done) == (1, 0, False)
    follower.work()
    pair.turn()
    lane.writer.reclaim()
    assert (pair.page.high_watermark, delivery.done) == (1, True)


def rings_while(mapping: Mapping, act: Callable[[], object]) -> int:
    """How often somebody who sleeps on this doorbell is rung meanwhile."""
    before = int.from_bytes(mapping.read(layout.BELL_DOORBELL, 4), "little")
    mapping.write(layout.BELL_SLEEPING, (1).to_bytes(4, "little"))
    act()
    mapping.write(layout.BELL_SLEEPING, bytes(4))
    return int.from_bytes(mapping.read(layout.BELL_DOORBELL, 4), "little") - before


def test_owner_and_follower_ring_each_other(pair: Pair, follower: FollowerRig) -> None:
    lane = pair.lane()
    follower.work()
    lane.send("flights", b"v")
    assert rings_while(follower.region.mapping, pair.turn) > 0
    assert rings_while(pair.owner._bell.mapping, follower.work) > 0
    assert rings_while(pair.owner._bell.mapping, follower.work) == 0, "nothing was new"


def test_a_follower_that_has_caught_up_is_reported(rig: Rig, follower: FollowerRig) -> None:
    pair = Pair(rig, follower, in_sync=False)
    lane = pair.lane()
    for _ in range(30):
        lane.send_all(b"v" * 200)
        pair.turn()
        lane.writer.reclaim()
    assert pair.page.high_watermark == 30, "nobody waits for a follower that is not in sync"
    follower.work()
    pair.owner._followers._look_at_ns = 0  # as if it were time
    assert ReplicaCaughtUp(0, REPLICA_ID) in pair.turn()
    pair.channel.send(FollowersAre(1, [replace(pair.at, in_sync=True)]))
    pair.turn()
    lane.send_all(b"v")
    pair.turn()
    assert pair.page.high_watermark == 30
    follower.work()
    pair.turn()
    assert pair.page.high_watermark == 31
    pair.close()


def test_an_owner_that_closes_and_then_its_follower_have_the_same_log(pair: Pair, follower: FollowerRig) -> None:
    lane = pair.lane()
    follower.work()
    for _ in range(20):
        lane.send_all(b"v" * 200)
    pair.turn()
    pair.channel.send(Close(delete=False))
    pair.turn()
    follower.work()
    pair.owner.serve()
    assert Closed(20) in pair.hear()
    follower.supervisor.send(Close(delete=False))
    follower.agent.serve()
    follower.lives = False
    follower.hang_up()
    assert follower.end_offset == 20
    assert difference(pair.rig.directory, follower.directory) == ""

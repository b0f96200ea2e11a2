"""The owner's agent and its followers: orders, reports, and what closing waits for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.control.channel import Channel
from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    FollowersAre,
    LaneDetached,
    Message,
    ReplicaCaughtUp,
    ReplicaLags,
)
from shmlog.memory.layout import OwnerState
from shmlog.partition import followers
from shmlog.partition.owner import OwnerAgent
from shmlog.testing import wait_until
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig, open_rig, word_of_ready

CONFIG = {"max.message.bytes": "65536", "segment.bytes": "1048576", "replica.lag.time.max.ms": "50"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", CONFIG) as made:
        yield made


@pytest.fixture
def lane(rig: Rig) -> Lane:
    """Attached by the predecessor (ask for it before `stage`)."""
    return rig.lane()


class Stage:
    """An owner that serves in a thread of its own, and its supervisor's end of the channel."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.channel, theirs = Channel.pair()
        self.owners_end = Channel(theirs)
        rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
        self.owner = OwnerAgent(rig.spec, self.owners_end)
        word_of_ready(self.channel)
        self.thread = threading.Thread(target=self.owner.serve, daemon=True)
        self.thread.start()

    def order(self, message: Message) -> None:
        self.channel.send(message)
        self.rig.opened.bell.ring()

    def follow(self, follower: FakeFollower, *, in_sync: bool) -> None:
        """Tell the owner of a follower with replica id 1, and wait until it has heard it."""
        follower.sleep()
        self.order(FollowersAre(1, [self.rig.follower_at(1, in_sync=in_sync)]))
        wait_until(lambda: follower.rings > 0)

    def next_report(self) -> Message | None:
        return self.channel.receive(60.0)

    def close(self) -> list[Message]:
        """What the owner says until it is gone."""
        self.order(Close(delete=False))
        found: list[Message] = []
        while not found or not isinstance(found[-1], Closed):
            message = self.next_report()
            assert message is not None, found
            found.append(message)
        self.thread.join(60.0)
        return found


@pytest.fixture
def stage(rig: Rig, lane: Lane) -> Iterator[Stage]:
    made = Stage(rig)
    yield made
    if made.thread.is_alive():
        made.close()
    made.channel.close()
    made.owners_end.close()


def test_an_owner_at_rest_reports_who_lags_and_shows_everything_when_told_to_go_on_alone(
    rig: Rig, lane: Lane, stage: Stage
) -> None:
    follower = FakeFollower(rig.tag, 1)
    follower.follow(1)
    stage.follow(follower, in_sync=True)
    lane.send(TOPIC_NAME, b"1")
    assert stage.next_report() == ReplicaLags(1, 1, 1, "")
    assert rig.control.high_watermark == 0
    stage.order(FollowersAre(2, []))
    wait_until(lambda: rig.control.high_watermark == 1)


def test_an_owner_at_rest_reports_who_has_caught_up(rig: Rig, lane: Lane, stage: Stage) -> None:
    follower = FakeFollower(rig.tag, 1)
    stage.follow(follower, in_sync=False)
    lane.send(TOPIC_NAME, b"1")
    wait_until(lambda: rig.control.high_watermark == 1)
    follower.follow(1, 1)
    assert stage.next_report() == ReplicaCaughtUp(1, 1)
    lane.send(TOPIC_NAME, b"2")
    wait_until(lambda: rig.control.written_offset == 2)
    assert rig.control.high_watermark == 1
    follower.has(2)
    wait_until(lambda: rig.control.high_watermark == 2)


def test_closing_waits_for_followers_that_keep_up(rig: Rig, lane: Lane, stage: Stage) -> None:
    follower = FakeFollower(rig.tag, 1)
    follower.follow(1)
    stage.follow(follower, in_sync=True)
    stage.order(AlterConfig(rig.config | {"replica.lag.time.max.ms": "60000"}))
    lane.send(TOPIC_NAME, b"1")
    wait_until(lambda: rig.control.written_offset == 1)
    stage.order(Close(delete=False))
    assert stage.next_report() == LaneDetached(1, "closed", 1)
    sleeps = rig.control.counters()["sleeps"]

    def has_slept_or_closed() -> bool:
        rig.opened.bell.ring()
        return rig.control.counters()["sleeps"] > sleeps or not stage.thread.is_alive()

    wait_until(has_slept_or_closed)
    assert rig.control.state is OwnerState.CLOSING
    follower.has(1)
    assert stage.next_report() == Closed(1)
    stage.thread.join(60.0)
    assert rig.control.high_watermark == 1


def test_closing_does_not_wait_for_ever_for_those_that_do_not(rig: Rig, lane: Lane, stage: Stage) -> None:
    stage.follow(FakeFollower(rig.tag, 1), in_sync=True)
    lane.send(TOPIC_NAME, b"1")
    wait_until(lambda: rig.control.written_offset == 1)
    said = stage.close()
    assert said[-1] == Closed(1)
    assert rig.control.high_watermark == 0


def test_a_ring_is_not_replaced_before_those_in_sync_have_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else only the leader's files have it, and who takes over without them loses it."""
    monkeypatch.setattr(followers, "COPIES_S", 60.0)
    with open_rig(tmp_path / "flights-0", CONFIG | {"max.message.bytes": "1000000"}) as rig:
        lane, follower = rig.lane(acks=1), FakeFollower(rig.tag, 1)
        follower.follow(1)
        stage = Stage(rig)
        stage.order(AlterConfig(rig.config | {"replica.lag.time.max.ms": "60000"}))
        stage.follow(follower, in_sync=True)
        generation = rig.control.generation
        lane.send(TOPIC_NAME, b"1")
        wait_until(lambda: rig.control.written_offset == 1)
        lane.send(TOPIC_NAME, bytes(600_000))
        with pytest.raises(TimeoutError):
            wait_until(lambda: rig.control.generation > generation, timeout_s=0.3)
        follower.has(1)
        wait_until(lambda: rig.control.generation > generation)
        follower.has(2)
        stage.close()
        stage.channel.close()
        stage.owners_end.close()

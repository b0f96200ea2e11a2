"""An owner that is let alone publishes without its agent, and the agent is called when it is needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.native.duty_cycle import rest
from shmlog.testing import wait_until
from shmlog.testing.fake_follower import FakeFollower
from shmlog.testing.partition_rig import TOPIC_NAME, Rig, open_rig

SECOND_NS = 1_000_000_000
BUDGET_NS = 20_000_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "segment.bytes": "1048576"}) as made:
        yield made


@pytest.fixture
def channel() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


class Resting(threading.Thread):
    """An owner at rest in a thread of its own; `result` is what rest() returned, None while it lasts."""

    def __init__(self, rig: Rig, fd: int, *, until_s: float = 30.0, turn_s: float = 30.0, look_s: float = 30.0) -> None:
        super().__init__(daemon=True)
        self.result: bool | None = None
        self._rig, self._fd = rig, fd
        self._until_ns = monotonic_ns() + int(until_s * SECOND_NS)
        self._turn_ns = monotonic_ns() + int(turn_s * SECOND_NS)
        self._look_ns = int(look_s * SECOND_NS)
        self.start()

    def run(self) -> None:
        self.result = rest(
            self._rig.publisher,
            self._rig.opened.bell,
            channel_fd=self._fd,
            until_ns=self._until_ns,
            turn_ns=self._turn_ns,
            look_ns=self._look_ns,
            budget_ns=BUDGET_NS,
        )

    def has_ended(self) -> bool:
        self.join(0.001)
        return not self.is_alive()


def test_the_agent_is_asked_once_more_was_published_than_the_ring_holds(rig: Rig, channel: tuple[int, int]) -> None:
    def published_or_ended(end: int) -> bool:
        return rig.control.high_watermark == end or resting.has_ended()

    lane = rig.lane()
    resting = Resting(rig, channel[0])
    for number in range(2 * rig.publisher.capacity // 10_000):  # one by one, so that run() has nothing else to say
        if resting.has_ended():
            break
        lane.send(TOPIC_NAME, bytes(10_000))
        wait_until(partial(published_or_ended, number + 1))
    assert resting.result
    assert rig.publisher.capacity < rig.publisher.tail_pos < 1.1 * rig.publisher.capacity


def test_records_are_published_one_after_the_other_without_the_agent(rig: Rig, channel: tuple[int, int]) -> None:
    def published(end: int) -> bool:
        return rig.control.high_watermark == end

    lane = rig.lane()
    resting = Resting(rig, channel[0])
    for number in range(50):
        lane.send(TOPIC_NAME, b"%d" % number)
        wait_until(partial(published, number + 1))
    assert not resting.has_ended()
    os.write(channel[1], b"!")
    rig.opened.bell.ring()
    wait_until(resting.has_ended)
    assert resting.result is True
    assert [record.value for record in rig.read_all()] == [b"%d" % number for number in range(50)]


def test_an_order_is_heard_though_records_keep_coming(rig: Rig, channel: tuple[int, int]) -> None:
    lane = rig.lane()
    os.write(channel[1], b"!")
    lane.send(TOPIC_NAME, b"1")
    resting = Resting(rig, channel[0])
    wait_until(resting.has_ended)
    assert resting.result is True


def test_housekeeping_is_not_put_off_by_records(rig: Rig, channel: tuple[int, int]) -> None:
    lane = rig.lane()
    resting = Resting(rig, channel[0], turn_s=0.0)
    lane.send(TOPIC_NAME, b"1")
    wait_until(resting.has_ended)
    assert resting.result is True
    assert rig.control.high_watermark == 1


def test_when_nothing_comes_only_time_passes(rig: Rig, channel: tuple[int, int]) -> None:
    resting = Resting(rig, channel[0], until_s=0.05)
    wait_until(resting.has_ended)
    assert resting.result is False


def test_a_ring_that_brings_no_records_is_for_the_agent(rig: Rig, channel: tuple[int, int]) -> None:
    """A sync that is done in its thread rings."""
    resting = Resting(rig, channel[0])
    wait_until(lambda: rig.opened.bell.ring() or resting.has_ended())
    wait_until(resting.has_ended)
    assert resting.result is True


def test_what_the_publisher_cannot_do_itself_is_left_to_the_agent(rig: Rig, channel: tuple[int, int]) -> None:
    lane = rig.lane()
    resting = Resting(rig, channel[0])
    for _ in range(18):  # more than a segment holds
        if not resting.has_ended():
            lane.send(TOPIC_NAME, bytes(60_000))
            wait_until(lambda: lane.writer.reclaim() >= 0 and (resting.has_ended() or not rig.publisher.has_work()))
    wait_until(resting.has_ended)
    assert resting.result is True
    rig.run()
    assert len(rig.read_all()) == rig.control.log_end_offset


def test_a_resting_owner_looks_around_and_its_heart_beats_without_the_agent(rig: Rig, channel: tuple[int, int]) -> None:
    resting = Resting(rig, channel[0], look_s=0.01)

    def has_beaten_since(beat_ns: int) -> bool:
        return rig.control.heartbeat_ns > beat_ns

    for _ in range(3):
        wait_until(partial(has_beaten_since, rig.control.heartbeat_ns))
    assert not resting.has_ended()
    os.write(channel[1], b"!")  # and nobody rings
    wait_until(resting.has_ended)
    assert resting.result is True


def test_followers_that_get_on_move_the_high_watermark_without_the_agent(rig: Rig, channel: tuple[int, int]) -> None:
    """Also those that are not the last to get there. (A ring whose news was seen before it came ends the rest: then the
    agent looks around, of which there is none here.)"""
    quick, slow = (FakeFollower(rig.tag, replica_id) for replica_id in (1, 2))
    for follower in (quick, slow):
        follower.follow(0)
    rig.followers.replace(1, [rig.follower_at(1, in_sync=True), rig.follower_at(2, in_sync=True)])
    lane = rig.lane()

    def written(end: int) -> bool:
        return rig.control.written_offset == end

    def shown(end: int) -> bool:
        return rig.control.high_watermark == end

    resting = Resting(rig, channel[0])
    for number in range(20):
        lane.send(TOPIC_NAME, b"%d" % number)
        wait_until(partial(written, number + 1))
        quick.has(number + 1)
        assert shown(number)
        slow.has(number + 1)
        wait_until(partial(shown, number + 1))
        if resting.has_ended():
            resting = Resting(rig, channel[0])
    os.write(channel[1], b"!")
    rig.opened.bell.ring()
    wait_until(resting.has_ended)
    assert rig.values() == [b"%d" % number for number in range(20)]

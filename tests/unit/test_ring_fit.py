"""Rings begin small, grow under load and for large batches, and go back when nobody writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns

import pytest

from shmlog.control.channel import Channel
from shmlog.limits import RING_BYTES_MIN, RING_IDLE_S
from shmlog.memory.region import page_align
from shmlog.partition import regeneration
from shmlog.partition.owner import OwnerAgent
from shmlog.partition.regeneration import RingFit
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import TOPIC_NAME, Rig, open_rig

SECOND_NS = 1_000_000_000
CONFIG = TopicConfig.from_mapping({})


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0", {}) as made:
        yield made


def test_a_ring_that_the_log_went_round_within_a_second_grows_to_its_full_size() -> None:
    fit = RingFit.begin(0, 0)
    assert fit.wanted_bytes(CONFIG, RING_BYTES_MIN, RING_BYTES_MIN + 1, SECOND_NS) == CONFIG.ring_bytes


def test_a_burst_need_not_last_a_second_for_the_ring_to_grow(rig: Rig) -> None:
    lane = rig.lane(linger_us=60_000_000)
    channel, theirs = Channel.pair()
    owners_end = Channel(theirs)
    rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
    owner, now_ns = OwnerAgent(rig.spec, owners_end), monotonic_ns()
    owner.work(now_ns)
    for number in range(60):  # all of it in the same moment
        lane.send(TOPIC_NAME, b"%08d" % number + bytes(10_000))
        lane.writer.seal()
        owner.work(now_ns)
    assert rig.control.ring_bytes == page_align(CONFIG.ring_bytes)
    channel.close()
    owners_end.close()


def test_what_is_appended_slowly_needs_no_larger_ring_however_much_it_is() -> None:
    fit = RingFit.begin(0, 0)
    assert fit.wanted_bytes(CONFIG, RING_BYTES_MIN, 50 * RING_BYTES_MIN, 60 * SECOND_NS) == RING_BYTES_MIN


def test_a_ring_goes_back_to_its_first_size_only_after_a_long_silence() -> None:
    fit, full = RingFit.begin(0, 0), CONFIG.ring_bytes
    idle_ns = int(RING_IDLE_S * SECOND_NS)
    assert fit.wanted_bytes(CONFIG, full, 0, idle_ns - 1) == full
    assert fit.wanted_bytes(CONFIG, full, 61, idle_ns) == full, "a batch came"
    assert fit.wanted_bytes(CONFIG, full, 61, 2 * idle_ns - 1) == full
    assert fit.wanted_bytes(CONFIG, full, 61, 2 * idle_ns) == RING_BYTES_MIN


def test_a_ring_of_a_size_that_somebody_chose_stays_as_it_is() -> None:
    chosen, made_bytes = TopicConfig.from_mapping({"shm.ring.bytes": 8_000_000}), page_align(8_000_000)
    fit = RingFit.begin(0, 0)
    assert fit.wanted_bytes(chosen, made_bytes, 100 << 20, SECOND_NS) == made_bytes
    assert fit.wanted_bytes(chosen, made_bytes, 100 << 20, 1000 * SECOND_NS) == made_bytes


def test_an_owner_changes_its_ring_and_readers_find_every_record(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regeneration, "RING_IDLE_S", 20.0)  # before the lane is closed for being idle
    lane = rig.lane(linger_us=60_000_000)
    channel, theirs = Channel.pair()
    owners_end = Channel(theirs)
    rig.spec = rig.spec_for(rig.spec.leader_epoch + 1)
    owner = OwnerAgent(rig.spec, owners_end)
    now_ns, sent = monotonic_ns(), 0

    def send(records: int) -> None:
        nonlocal sent
        for _ in range(records):
            lane.send(TOPIC_NAME, b"%08d" % sent + bytes(10_000))
            sent += 1
            if sent % 10 == 0:
                lane.writer.seal()
                owner.work(now_ns)
        lane.writer.seal()
        owner.work(now_ns)

    assert rig.control.ring_bytes == RING_BYTES_MIN
    send(60)
    assert rig.control.ring_bytes == page_align(CONFIG.ring_bytes)
    send(60)
    for _ in range(22):
        now_ns += SECOND_NS
        owner.work(now_ns)
    assert rig.control.ring_bytes == RING_BYTES_MIN
    send(10)
    assert [record.value[:8] for record in rig.read_all() if record.value] == [b"%08d" % n for n in range(sent)]
    channel.close()
    owners_end.close()


def test_a_batch_that_is_too_large_for_a_small_ring_makes_it_grow(rig: Rig) -> None:
    lane = rig.lane()
    lane.send(TOPIC_NAME, bytes(RING_BYTES_MIN))
    rig.run()
    assert rig.control.ring_bytes == page_align(CONFIG.ring_bytes)
    assert [len(record.value or b"") for record in rig.read_all()] == [RING_BYTES_MIN]


def test_a_lane_keeps_its_limit_when_the_topic_gets_a_lower_one_and_the_owner_is_replaced(rig: Rig) -> None:
    """What the lane holds was accepted, and a ring that is still small does not tell what was legal."""
    lane = rig.lane()
    lane.send(TOPIC_NAME, bytes(RING_BYTES_MIN))
    rig.config = {**rig.config, "max.message.bytes": "4096"}
    rig.take_over(rig.spec.leader_epoch + 1)
    rig.run()
    assert [len(record.value or b"") for record in rig.read_all()] == [RING_BYTES_MIN]

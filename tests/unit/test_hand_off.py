"""From send() to the segment: the lane, the hand-off of the open batch, publishing, results."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError, RecordTooLargeError
from shmlog.log.cold import ColdReader
from shmlog.memory import layout
from shmlog.memory.layout import LaneState
from shmlog.native.publish import Publisher
from shmlog.native.succession import adopt
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, LaneFullError, LaneNeedsAttentionError, Rig, open_rig


def fill(lane: Lane) -> int:
    """Send numbered records until the lane is full; how many it took."""
    for number in itertools.count():
        try:
            lane.send(TOPIC_NAME, b"%08d" % number + bytes(1000))
        except LaneFullError:
            return number
    raise AssertionError("unreachable")


def test_a_record_arrives_with_key_headers_and_timestamp(rig: Rig) -> None:
    lane = rig.lane()
    delivery = lane.send(TOPIC_NAME, b"v", key=b"k", headers=[("a", b"1"), ("b", None)], timestamp_ms=1234)
    assert not delivery.done
    rig.run()
    assert delivery.result() == (TOPIC_NAME, 0, 0, 1234)
    [record] = rig.read_all()
    assert (record.key, record.value, record.headers) == (b"k", b"v", (("a", b"1"), ("b", None)))
    assert (record.offset, record.timestamp_ms) == (0, 1234)


def test_null_and_empty_keys_and_values_stay_apart(rig: Rig) -> None:
    lane = rig.lane()
    for key, value in [(None, None), (b"", b""), (None, b""), (b"", None)]:
        lane.send(TOPIC_NAME, value, key)
    rig.run()
    assert [(record.key, record.value) for record in rig.read_all()] == [
        (None, None),
        (b"", b""),
        (None, b""),
        (b"", None),
    ]


def test_the_owner_takes_an_open_batch_and_the_next_record_goes_into_another(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    rig.run()
    lane.send_all(b"3")
    rig.run()
    assert rig.values() == [b"1", b"2", b"3"]
    assert rig.control.counters()["batches"] == 2


def test_timestamps_may_go_back_within_a_batch_and_the_largest_is_indexed(rig: Rig) -> None:
    lane = rig.lane()
    for timestamp in (500, 900, 100):
        lane.send(TOPIC_NAME, b"", timestamp_ms=timestamp)
    rig.run()
    assert [record.timestamp_ms for record in rig.read_all()] == [500, 900, 100]
    found = ColdReader(str(rig.directory)).offset_for_timestamp(600, 3)
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (1, 900)


def test_nothing_is_acknowledged_before_it_is_written(rig: Rig) -> None:
    lane = rig.lane(acks=1)
    delivery = lane.send(TOPIC_NAME, b"x")
    assert lane.writer.reclaim() == 0
    rig.run()
    assert lane.writer.reclaim() == 1
    assert delivery.done
    assert (rig.directory / f"{0:020d}.log").stat().st_size > 0


def test_a_full_lane_says_so_and_takes_records_again_once_the_owner_has_been(rig: Rig) -> None:
    lane = rig.lane()
    sent = fill(lane)
    rig.run()
    lane.send_all(b"%08d" % sent)
    rig.run()
    assert [int(value[:8]) for value in rig.values()] == list(range(sent + 1))


def test_records_of_every_size_up_to_the_limit_arrive_whole(rig: Rig) -> None:
    lane = rig.lane()
    sizes = [0, 1, 63, 64, 8191, 8192, 16383, 16384, 16385, 40000, 65536 - 61 - 20]
    sent = [os.urandom(size) for size in sizes]
    for value in sent:
        lane.send_all(value)
        rig.run()
    assert rig.values() == sent


def test_a_record_beyond_max_message_bytes_names_size_limit_and_remedy(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"before")
    with pytest.raises(RecordTooLargeError, match=r"65\d{3}.*65536.*raise max.message.bytes"):
        lane.send_all(bytes(65536))
    lane.send_all(b"after")
    rig.run()
    assert rig.values() == [b"before", b"after"]


def test_a_record_beyond_the_words_range_goes_as_a_complete_frame(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": str(4 << 20)}) as rig:
        lane = rig.lane()
        large = os.urandom((1 << 20) + 12345)
        lane.send_all(b"small", large, b"next")
        rig.run()
        assert rig.values() == [b"small", large, b"next"]


def test_lanes_take_turns_and_each_keeps_its_order(rig: Rig) -> None:
    lanes = [rig.lane(producer_id=number) for number in range(5)]
    for k in range(200):
        for number, lane in enumerate(lanes):
            lane.send_all(b"%d:%d" % (number, k))
        if k % 7 == 0:
            rig.run()
    rig.run()
    seen: dict[int, list[int]] = {}
    for value in rig.values():
        producer, k = map(int, value.split(b":"))
        seen.setdefault(producer, []).append(k)
    assert seen == {number: list(range(200)) for number in range(5)}


def test_a_lingering_batch_is_left_open_until_sealed(rig: Rig) -> None:
    lane = rig.lane(linger_us=60_000_000)
    lane.send_all(b"1")
    rig.run()
    lane.send_all(b"2")
    rig.run()
    assert rig.values() == []
    lane.writer.seal()
    rig.run()
    assert rig.values() == [b"1", b"2"]
    assert rig.control.counters()["batches"] == 1


def test_a_closing_lane_is_drained_without_lingering_and_its_producer_told(rig: Rig) -> None:
    lane = rig.lane(linger_us=60_000_000)
    lane.send_all(b"1")
    rig.desk.begin_close(1, "idle")
    rig.run()
    assert rig.desk.drained() == [(1, "idle", 1)]
    assert rig.values() == [b"1"]
    assert lane.writer.state == LaneState.CLOSED


def test_a_record_that_comes_after_the_lane_closed_is_handed_to_another_lane(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1")
    rig.desk.begin_close(1, "idle")
    rig.run()
    rig.desk.drained()
    with pytest.raises(LaneNeedsAttentionError):
        lane.send_all(b"2")
    lane.writer.reclaim()
    [batch] = lane.writer.unpublished()
    successor = rig.lane(sequence=lane.writer.next_sequence - 1)
    assert adopt(successor.writer, lane.writer, batch)
    rig.run()
    assert rig.values() == [b"1", b"2"]


def test_a_repeated_batch_gets_the_offset_of_the_first_and_is_not_appended_again(rig: Rig) -> None:
    first = rig.lane()
    first.send_all(b"1", b"2")
    rig.run()
    again = rig.lane(sequence=0)
    delivery = again.send(TOPIC_NAME, b"1")
    again.send(TOPIC_NAME, b"2")
    rig.run()
    assert delivery.result().offset == 0
    assert rig.values() == [b"1", b"2"]
    assert rig.control.counters()["duplicates"] == 1


def test_a_gap_in_the_sequence_stops_the_lane_and_names_the_error(rig: Rig) -> None:
    first = rig.lane()
    first.send_all(b"1")
    rig.run()
    lane = rig.lane(sequence=5)
    delivery = lane.send(TOPIC_NAME, b"late")
    rig.run()
    assert lane.writer.reclaim() == 1
    assert type(delivery.error).__name__ == "OutOfOrderSequenceError"
    assert lane.writer.state == LaneState.STOPPED
    assert rig.values() == [b"1"]


def test_an_older_epoch_is_fenced(rig: Rig) -> None:
    rig.lane(epoch=3).send_all(b"new")
    rig.run()
    old = rig.lane(epoch=2)
    delivery = old.send(TOPIC_NAME, b"old")
    rig.run()
    old.writer.reclaim()
    assert type(delivery.error).__name__ == "ProducerFencedError"
    assert rig.values() == [b"new"]


@pytest.mark.parametrize(
    "garbage",
    [
        (layout.LANE_OPEN, (1 << 38) - 1),  # open at 0 with an end of a mebibyte
        (layout.LANE_OPEN, (64 << 18) | 1),  # ends where the records begin
        (layout.LANE_OPEN, 1 << 63),  # starts a hundred mebibytes away
        (layout.LANE_OPEN, (1 << 39) | (1 << 38)),  # a closed frame of length 0 before it
        (layout.LANE_DATA + 64, 0xFFFFFFFFFFFFFFFF),  # the record's length makes no sense
    ],
)
def test_garbage_in_a_lane_is_quarantined_and_hurts_nobody_else(rig: Rig, garbage: tuple[int, int]) -> None:
    broken, sound = rig.lane(producer_id=1), rig.lane(producer_id=2)
    broken.send_all(b"will be overwritten")
    broken.mapping.store(*garbage)
    sound.send_all(b"1")
    rig.run()
    sound.send_all(b"2")
    rig.run()
    assert rig.values() == [b"1", b"2"]
    assert broken.writer.state == LaneState.QUARANTINED


def test_reading_a_batch_whose_bytes_changed_raises_instead_of_returning_them(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"good", b"good")
    rig.run()
    from shmlog.memory import names, region

    ring = region.open_region(names.ring(rig.tag, 1, rig.control.generation), writable=True)
    ring.write(70, b"\xff")
    with pytest.raises(CorruptRecordError, match="checksum"):
        rig.read_all()


def test_the_ring_and_the_segment_hold_the_same_bytes(rig: Rig) -> None:
    lane = rig.lane()
    for k in range(50):
        lane.send_all(b"%d" % k)
        rig.run()
    publisher: Publisher = rig.publisher
    segment = (rig.directory / f"{0:020d}.log").read_bytes()
    assert publisher.ring_bytes_between(0, publisher.tail_pos) == segment


def test_segments_roll_at_their_size_and_a_reader_crosses_them(tmp_path: Path) -> None:
    config = {"max.message.bytes": "65536", "segment.bytes": "1048576"}
    with open_rig(tmp_path / "flights-0", config) as rig:
        lane = rig.lane()
        for k in range(3000):
            lane.send_all(b"%06d" % k + bytes(2000))
            if k % 20 == 0:
                rig.run()
        rig.run()
        segments = sorted(tmp_path.glob("*/*.log"))
        assert len(segments) > 5
        assert all(path.stat().st_size <= 1048576 for path in segments)
        assert [int(value[:6]) for value in rig.values()] == list(range(3000))

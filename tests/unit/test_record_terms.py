"""Times and keys of records: what an owner stamps, what it refuses, and what producers refuse before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pytest

from shmlog.clock import wall_ms
from shmlog.errors import InvalidRecordError, InvalidTimestampError
from shmlog.log.cold import ColdReader
from shmlog.memory import layout
from shmlog.memory.layout import LaneState
from shmlog.native.delivery import BatchResult
from shmlog.native.records import Record
from shmlog.record.compression import GZIP
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import TOPIC_NAME, Lane, Rig
from shmlog.testing.rig_producer import RigConnection, lane_of, producer_of
from shmlog.testing.segments import read_partition

HOUR_MS = 3_600_000
LONG_AGO_MS = 1_000_000_000_000


def alter(rig: Rig, **config: str) -> None:
    rig.config = rig.config | {name.replace("_", "."): value for name, value in config.items()}
    rig.keeper.configure(TopicConfig.from_mapping(rig.config))


def result(lane: Lane) -> BatchResult:
    """Of the lane's oldest batch, once it has one."""
    batch = lane.writer.oldest
    assert batch is not None
    lane.writer.reclaim()
    return batch


def headers(rig: Rig) -> list[BatchHeader]:
    """Of every batch in the first segment; all of their checksums are right."""
    data, at, found = (rig.directory / f"{0:020}.log").read_bytes(), 0, []
    while at < len(data):
        found.append(BatchHeader.parse(data, at))
        assert found[-1].crc_is_valid(data, at)
        at += found[-1].size_bytes
    return found


def times(records: Sequence[Record]) -> list[int]:
    return [record.timestamp_ms for record in records]


# --- LogAppendTime ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [0, GZIP], ids=["plain", "gzip"])
def test_with_log_append_time_all_records_of_a_batch_are_of_when_it_was_appended(rig: Rig, codec: int) -> None:
    alter(rig, message_timestamp_type="LogAppendTime")
    lane = rig.lane(codec=codec)
    begin = wall_ms()
    deliveries = [lane.send(TOPIC_NAME, b"much the same " * 9, timestamp_ms=LONG_AGO_MS + k) for k in range(5)]
    rig.run()
    end = wall_ms()
    (header,) = headers(rig)
    assert header.is_log_append_time
    assert begin <= header.max_timestamp_ms <= end
    assert (header.codec != "none") == bool(codec)
    assert times(rig.read_all()) == [header.max_timestamp_ms] * 5
    assert [delivery.result().timestamp_ms for delivery in deliveries] == [header.max_timestamp_ms] * 5


def test_a_log_with_append_times_is_read_the_same_by_kafka_python(rig: Rig) -> None:
    lane = rig.lane()
    lane.send(TOPIC_NAME, b"created", timestamp_ms=LONG_AGO_MS)
    rig.run()
    alter(rig, message_timestamp_type="LogAppendTime")
    lane.send(TOPIC_NAME, b"appended", timestamp_ms=LONG_AGO_MS)
    rig.run()
    assert [one.timestamp_ms for one in read_partition(rig.directory)] == times(rig.read_all())


def test_the_timestamp_type_changes_while_records_flow(rig: Rig) -> None:
    lane = rig.lane()
    for kind in ("CreateTime", "LogAppendTime", "CreateTime"):
        alter(rig, message_timestamp_type=kind)
        lane.send(TOPIC_NAME, b"x", timestamp_ms=LONG_AGO_MS)
        rig.run()
    created, appended, again = rig.read_all()
    assert (created.timestamp_ms, again.timestamp_ms) == (LONG_AGO_MS, LONG_AGO_MS)
    assert appended.timestamp_ms > LONG_AGO_MS


def test_lookups_by_time_go_by_when_records_were_appended(rig: Rig) -> None:
    alter(rig, message_timestamp_type="LogAppendTime")
    lane = rig.lane()
    for k in range(3):
        lane.send(TOPIC_NAME, b"x", timestamp_ms=LONG_AGO_MS + k)
    rig.run()
    appended_ms = headers(rig)[0].max_timestamp_ms
    cold = ColdReader(str(rig.directory))
    found = cold.offset_for_timestamp(LONG_AGO_MS + 2, 3)
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (0, appended_ms)
    assert cold.offset_for_timestamp(appended_ms + 1, 3) is None
    cold.close()


def test_a_successor_tells_producers_when_their_batches_were_appended(rig: Rig) -> None:
    """Killed between the tail and the results: the ring still says what the frame does not."""
    alter(rig, message_timestamp_type="LogAppendTime")
    lane = rig.lane()
    delivery = lane.send(TOPIC_NAME, b"x", timestamp_ms=LONG_AGO_MS)
    rig.run()
    forget_results(lane)
    alter(rig, message_timestamp_type="CreateTime")  # what it was appended under counts, not what holds now
    rig.take_over(2)
    assert delivery.result().timestamp_ms == headers(rig)[0].max_timestamp_ms


def test_of_a_duplicate_nobody_claims_to_know_when_it_was_appended(rig: Rig) -> None:
    alter(rig, message_timestamp_type="LogAppendTime")
    lane = rig.lane()
    lane.send(TOPIC_NAME, b"x")
    rig.run()
    rig.desk.begin_close(1, "closed")
    rig.desk.drained()
    again = rig.lane()
    delivery = again.send(TOPIC_NAME, b"x")
    rig.run()
    assert (delivery.result().offset, delivery.result().timestamp_ms) == (0, -1)


def forget_results(lane: Lane) -> None:
    """As if the owner had been killed before it wrote the results of the lane's only frame."""
    for cell in (layout.FRAME_STATUS, layout.FRAME_BASE_OFFSET, layout.FRAME_APPEND_MS):
        lane.mapping.store(layout.LANE_DATA + cell, 0)
    lane.mapping.store(layout.LANE_HEAD, 0)


# --- what an owner refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [0, GZIP], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "timestamps",
    [(wall_ms() + 2 * HOUR_MS,), (LONG_AGO_MS, wall_ms() + 2 * HOUR_MS, LONG_AGO_MS)],
    ids=["alone", "between others"],
)
def test_an_owner_refuses_a_batch_with_a_record_of_the_far_future(
    rig: Rig, codec: int, timestamps: Sequence[int]
) -> None:
    lane, other = rig.lane(codec=codec), rig.lane(producer_id=8)
    for timestamp_ms in timestamps:
        lane.send(TOPIC_NAME, b"x" * 50, timestamp_ms=timestamp_ms)
    batch = result(lane)
    other.send(TOPIC_NAME, b"fine")
    rig.run()
    lane.writer.reclaim()
    assert isinstance(batch.error, InvalidTimestampError)
    assert "message.timestamp.after.max.ms" in str(batch.error)
    assert lane.writer.state == LaneState.STOPPED
    assert rig.values() == [b"fine"]


def test_an_owner_refuses_a_batch_with_a_record_that_is_too_old(rig: Rig) -> None:
    alter(rig, message_timestamp_before_max_ms="60000")
    lane = rig.lane()
    lane.send(TOPIC_NAME, b"new")
    lane.send(TOPIC_NAME, b"old", timestamp_ms=wall_ms() - 120_000)
    batch = result(lane)
    rig.run()
    lane.writer.reclaim()
    assert isinstance(batch.error, InvalidTimestampError)
    assert rig.values() == []


def test_an_owner_believes_records_and_not_the_frame_about_the_times_of_a_batch(rig: Rig) -> None:
    """A hostile producer says that its newest record is of 2001, or that its batch begins at the end of time."""
    for cells, value in (
        ((layout.FRAME_MAX_TIMESTAMP,) * 2, LONG_AGO_MS),
        ((layout.FRAME_BASE_TIMESTAMP,) * 2, 2**63 - 1),
    ):
        lane = rig.lane(producer_id=value % 1000)
        lane.send(TOPIC_NAME, b"x", timestamp_ms=LONG_AGO_MS)
        lane.send(TOPIC_NAME, b"x", timestamp_ms=wall_ms() + 2 * HOUR_MS)
        for k, cell in enumerate(cells):
            at = layout.LANE_DATA + cell + (8 * k if cell == layout.FRAME_MAX_TIMESTAMP else 0)
            lane.mapping.store(at, value)
        rig.run()
        assert lane.writer.state == LaneState.STOPPED
    assert rig.values() == []


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_an_owner_refuses_a_batch_with_a_record_that_has_no_key_if_its_topic_is_compacted(
    rig: Rig, policy: str
) -> None:
    alter(rig, cleanup_policy=policy)
    lane, other = rig.lane(), rig.lane(producer_id=8)
    lane.send(TOPIC_NAME, b"x", key=b"k")
    lane.send(TOPIC_NAME, b"x")
    batch = result(lane)
    other.send(TOPIC_NAME, b"fine", key=b"")
    other.send(TOPIC_NAME, None, key=b"gone")
    rig.run()
    lane.writer.reclaim()
    assert isinstance(batch.error, InvalidRecordError)
    assert (batch.error.code, "key" in str(batch.error)) == (87, True)
    assert [record.key for record in rig.read_all()] == [b"", b"gone"]


def test_times_are_not_looked_at_where_append_times_replace_them(rig: Rig) -> None:
    alter(rig, message_timestamp_type="LogAppendTime", message_timestamp_before_max_ms="1")
    lane = rig.lane()
    lane.send(TOPIC_NAME, b"x", timestamp_ms=wall_ms() + 2 * HOUR_MS)
    lane.send(TOPIC_NAME, b"x", timestamp_ms=0)
    rig.run()
    assert len(rig.values()) == 2


# --- what a producer refuses ------------------------------------------------------------------------------------------


def test_a_producer_refuses_a_record_of_the_far_future_before_it_is_accepted(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    with pytest.raises(
        InvalidTimestampError, match=r"ahead, topic 'flights' takes 3600000 \(message.timestamp.after.max.ms\)"
    ):
        producer.send(TOPIC_NAME, b"2", timestamp_ms=wall_ms() + 2 * HOUR_MS)
    producer.send(TOPIC_NAME, b"3", timestamp_ms=wall_ms() + HOUR_MS // 2)
    rig.run()
    assert rig.values() == [b"1", b"3"]


def test_a_producer_refuses_a_record_that_is_too_old(rig: Rig, connection: RigConnection) -> None:
    alter(rig, message_timestamp_before_max_ms="60000")
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"new", timestamp_ms=wall_ms() - 30_000)
    with pytest.raises(
        InvalidTimestampError, match=r"old, topic 'flights' takes 60000 \(message.timestamp.before.max.ms\)"
    ):
        producer.send(TOPIC_NAME, b"old", timestamp_ms=wall_ms() - 120_000)
    rig.run()
    assert rig.values() == [b"new"]


def test_a_producer_refuses_a_record_without_a_key_to_a_compacted_topic(rig: Rig, connection: RigConnection) -> None:
    alter(rig, cleanup_policy="compact")
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1", key=b"k")
    with pytest.raises(InvalidRecordError, match="topic 'flights' is compacted"):
        producer.send(TOPIC_NAME, b"2")
    rig.run()
    assert rig.values() == [b"1"]


def test_many_records_at_once_are_accepted_up_to_the_one_that_is_refused(rig: Rig, connection: RigConnection) -> None:
    alter(rig, cleanup_policy="compact")
    producer = producer_of(connection)
    with pytest.raises(InvalidRecordError) as refused:
        producer.send_many(TOPIC_NAME, [b"1", b"2", b"3"], keys=[b"k", b"k", None])
    assert "record 2 (from 0) of 3" in refused.value.__notes__[0]
    with pytest.raises(InvalidRecordError):
        producer.send_many(TOPIC_NAME, [b"4"])
    late = wall_ms() + 2 * HOUR_MS
    column = numpy.array([b"5", b"6", b"7"])
    with pytest.raises(InvalidTimestampError) as untimely:
        producer.send_columns(TOPIC_NAME, column, keys=column, timestamps_ms=numpy.array([0, late, 0]))
    assert "record 1 (from 0) of 3" in untimely.value.__notes__[0]
    with pytest.raises(InvalidTimestampError):
        producer.send_many(TOPIC_NAME, [b"8", b"9"], keys=[b"k", b"k"], timestamps_ms=[0, late])
    rig.run()
    assert rig.values() == [b"1", b"2", b"5", b"8"]


def test_a_producer_asks_again_before_it_refuses_by_settings_that_were_changed(
    rig: Rig, connection: RigConnection
) -> None:
    alter(rig, cleanup_policy="compact")
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1", key=b"k")
    alter(rig, cleanup_policy="delete", message_timestamp_after_max_ms=str(9 * HOUR_MS))
    producer.send(TOPIC_NAME, b"2")
    producer.send(TOPIC_NAME, b"3", timestamp_ms=wall_ms() + 8 * HOUR_MS)
    producer.send_columns(TOPIC_NAME, numpy.array([b"4"]), timestamps_ms=numpy.array([wall_ms() + 8 * HOUR_MS]))
    rig.run()
    assert rig.values() == [b"1", b"2", b"3", b"4"]


def test_what_a_producer_does_not_know_yet_its_owner_refuses_and_the_next_record_goes_on(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    alter(rig, cleanup_policy="compact")
    refused = producer.send(TOPIC_NAME, b"2")
    rig.run()
    with pytest.raises(InvalidRecordError, match="Send them again with keys"):
        refused.result(0)
    delivery = producer.send(TOPIC_NAME, b"3", key=b"k")
    rig.run()
    assert delivery.result().offset == 1
    assert rig.values() == [b"1", b"3"]
    assert lane_of(producer).state == LaneState.OPEN

"""What a lane that ended did not publish, on its way into the next one; and what becomes of it with the topic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shmlog.client.producer import NativeProducer
from shmlog.errors import DeliveryTimeoutError, RecordTooLargeError, ShmlogError, UnknownTopicOrPartitionError
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.native.delivery import Delivery
from shmlog.settings import TopicConfig
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import IMPATIENT_MS, RigConnection, lane_of, producer_of

LANE_BYTES = 1 << 20
SMALL_LANE_BYTES = 1 << 18
RECORD_BYTES = 60000


def record(number: int) -> bytes:
    return b"%d" % number * RECORD_BYTES


def numbers(rig: Rig) -> list[int]:
    return [int(value[:1]) for value in rig.values()]


def stop_behind_a_refused_batch(
    rig: Rig, connection: RigConnection, **settings: object
) -> tuple[NativeProducer, list[Delivery]]:
    """A producer whose lane is stopped, with six records behind the refused one, and gets a smaller lane next."""
    producer = producer_of(connection, linger_ms=60_000, lane_bytes=LANE_BYTES, **settings)
    deliveries = []
    for number in range(7):
        deliveries.append(producer.send(TOPIC_NAME, record(number)))
        lane_of(producer).seal()
    rig.lane_mapping(lane_of(producer).lane_id).write(layout.LANE_DATA + layout.FRAME_KIND, b"\x09")
    rig.run()
    connection.lane_bytes = SMALL_LANE_BYTES
    return producer, deliveries


def test_what_does_not_fit_the_next_lane_at_once_goes_into_it_as_its_owner_makes_room(
    rig: Rig, connection: RigConnection
) -> None:
    producer, deliveries = stop_behind_a_refused_batch(rig, connection)
    connection.while_asleep = rig.run
    producer.flush()
    assert numbers(rig) == [1, 2, 3, 4, 5, 6]
    assert [delivery.result().offset for delivery in deliveries[1:]] == [0, 1, 2, 3, 4, 5]


def test_a_hand_over_to_an_owner_that_stalls_ends_at_delivery_timeout_ms_and_goes_on_with_the_next_call(
    rig: Rig, connection: RigConnection
) -> None:
    """Regression: it took all of a processor for ever, and every other thread of the producer waited for it."""
    producer, _ = stop_behind_a_refused_batch(rig, connection, delivery_timeout_ms=IMPATIENT_MS)
    with pytest.raises(DeliveryTimeoutError, match="no room in the new lane"):
        producer.flush()
    connection.while_asleep = rig.run
    producer.flush()
    assert numbers(rig) == [1, 2, 3, 4, 5, 6]
    assert connection.lanes_opened == 2
    assert producer.metrics()["failed_batches"] == 1


def test_a_next_lane_that_ends_before_it_has_everything_hands_over_too_and_the_order_holds(
    rig: Rig, connection: RigConnection
) -> None:
    producer, deliveries = stop_behind_a_refused_batch(rig, connection)

    def stop_the_second_lane() -> None:
        if connection.lanes_opened == 2:
            rig.lane_mapping(2).write(layout.LANE_DATA + layout.FRAME_KIND, b"\x09")
        rig.run()

    connection.while_asleep = stop_the_second_lane
    producer.flush()
    assert connection.lanes_opened == 3
    assert numbers(rig) == [2, 3, 4, 5, 6]
    with pytest.raises(ShmlogError, match="refused a batch"):
        deliveries[1].result()


def test_a_batch_that_no_next_lane_may_take_fails_is_counted_and_calls_back(
    rig: Rig, connection: RigConnection
) -> None:
    """Regression: on_delivery was never called."""
    called: list[Delivery] = []
    producer = producer_of(connection, linger_ms=60_000)
    producer.send(TOPIC_NAME, b"0")
    rig.close_lane(lane_of(producer).lane_id)
    connection.interrupt = DeliveryTimeoutError("no owner")
    with pytest.raises(DeliveryTimeoutError):
        producer.send(TOPIC_NAME, record(1), on_delivery=called.append)
    rig.opened = replace(rig.opened, config=TopicConfig.from_mapping({"max.message.bytes": "2000"}))
    producer.flush()
    assert [type(delivery.error) for delivery in called] == [RecordTooLargeError]
    assert producer.metrics()["failed_batches"] == 1


@pytest.mark.parametrize("state", [layout.LaneState.OPEN, layout.LaneState.CLOSING])
def test_records_that_a_deleted_topic_did_not_take_fail_at_once_and_say_so(
    rig: Rig, connection: RigConnection, state: layout.LaneState
) -> None:
    """Regression: they waited for delivery.timeout.ms if the owner did not get to close their lane."""
    called: list[Delivery] = []
    producer = producer_of(connection, linger_ms=60_000)
    delivery = producer.send(TOPIC_NAME, b"1", on_delivery=called.append)
    rig.lane_mapping(lane_of(producer).lane_id).store(layout.LANE_STATE, state)
    rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        delivery.result()
    assert [type(delivery.error) for delivery in called] == [UnknownTopicOrPartitionError]
    assert producer.metrics()["failed_batches"] == 1
    producer.flush()


def test_a_send_that_waits_for_room_in_a_deleted_topic_says_that_it_was_deleted(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    connection.lane_bytes = SMALL_LANE_BYTES

    def delete() -> None:
        rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)

    connection.while_asleep = delete
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        producer.send_many(TOPIC_NAME, [record(number) for number in range(9)])
    assert producer.metrics()["pending_batches"] == 0


def test_a_send_to_a_lane_of_a_deleted_topic_that_nobody_closes_any_more_says_that_it_was_deleted(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    lane_of(producer).seal()
    rig.lane_mapping(lane_of(producer).lane_id).store(layout.LANE_STATE, layout.LaneState.CLOSING)
    rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        producer.send(TOPIC_NAME, b"2")


def test_a_deleted_topic_takes_the_pending_records_of_all_its_partitions_with_it(
    rig: Rig, connection: RigConnection
) -> None:
    """Regression: only those to the partition that was looked at first failed; the others had no outcome."""
    connection.partitions = 2
    called: list[Delivery] = []
    producer = producer_of(connection, linger_ms=60_000)
    for partition in (0, 1):
        producer.send(TOPIC_NAME, b"1", partition=partition, on_delivery=called.append)
    rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
    with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' was deleted"):
        producer.flush()
    assert [type(delivery.error) for delivery in called] == [UnknownTopicOrPartitionError] * 2
    producer.flush()

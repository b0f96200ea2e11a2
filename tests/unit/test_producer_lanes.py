"""A producer whose lanes are closed, stopped or spoiled under its hands, step by step and without threads."""

from __future__ import annotations

from typing import Any

import pytest

from shmlog.control.messages import CloseLane
from shmlog.errors import (
    BrokerNotAvailableError,
    DeliveryTimeoutError,
    LaneQuarantinedError,
    NoClusterError,
    NotEnoughReplicasError,
    PollTimeoutError,
    ShmlogError,
    UnknownTopicOrPartitionError,
)
from shmlog.machines.producer_id import client_of
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.native.delivery import Delivery
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import IMPATIENT_MS, RigConnection, lane_of, producer_of


def values(rig: Rig) -> list[bytes]:
    return [record.value for record in rig.read_all()]


def test_a_batch_that_a_closed_lane_did_not_publish_goes_on_in_the_next_under_its_sequence(
    rig: Rig, connection: RigConnection
) -> None:
    """Regression: the next lane began behind it, and the owner refused the gap."""
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    rig.close_lane(lane_of(producer).lane_id)
    delivery = producer.send(TOPIC_NAME, b"2")  # lands in the closed lane, and is handed over before send returns
    assert lane_of(producer).next_sequence == 2
    producer.send(TOPIC_NAME, b"3")
    rig.run()
    assert delivery.result().offset == 1
    assert values(rig) == [b"1", b"2", b"3"]


def test_a_process_that_was_registered_anew_goes_on_under_a_producer_id_of_its_own(
    rig: Rig, connection: RigConnection
) -> None:
    """Its old id belongs to the client that it was, and nobody else may open a lane with it."""
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    rig.close_lane(lane_of(producer).lane_id)
    connection.registered_as = 2
    deliveries = [producer.send(TOPIC_NAME, b"2"), producer.send(TOPIC_NAME, b"3")]
    rig.run()
    assert [delivery.result().offset for delivery in deliveries] == [1, 2]
    assert values(rig) == [b"1", b"2", b"3"]
    assert lane_of(producer).next_sequence == 2, "the sequence of the new id"
    assert client_of(rig.terms(lane_of(producer).lane_id).producer_id) == 2


def test_an_epoch_that_a_process_registered_anew_cannot_raise_gives_way_to_another_producer_id(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection, linger_ms=60_000)
    producer.send(TOPIC_NAME, b"1")
    lane = lane_of(producer)
    lane.seal()
    rig.lane_mapping(lane.lane_id).write(layout.LANE_DATA + layout.FRAME_KIND, b"\x09")  # no owner takes that
    second = producer.send(TOPIC_NAME, b"2")
    rig.run()
    connection.registered_as = 2
    third = producer.send(TOPIC_NAME, b"3")
    lane_of(producer).seal()
    rig.run()
    assert [second.result().offset, third.result().offset] == [0, 1]
    assert client_of(rig.terms(lane_of(producer).lane_id).producer_id) == 2


@pytest.mark.parametrize("error", [DeliveryTimeoutError("no owner"), NoClusterError("no supervisor")])
def test_a_send_that_raises_after_its_record_was_accepted_says_that_it_may_still_be_delivered(
    rig: Rig, connection: RigConnection, error: ShmlogError
) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    rig.close_lane(lane_of(producer).lane_id)
    connection.interrupt = error
    with pytest.raises(type(error), match=f"^{error}. The record of this call .* may still be delivered") as caught:
        producer.send(TOPIC_NAME, b"2")  # lands in the closed lane, and nobody opens another
    assert caught.value.__cause__ is error
    producer.send(TOPIC_NAME, b"3")
    rig.run()
    assert values(rig) == [b"1", b"2", b"3"]


def test_a_send_that_raises_before_its_record_was_accepted_does_not_say_so(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    connection.interrupt = NoClusterError("no supervisor")
    with pytest.raises(NoClusterError, match="^no supervisor$"):
        producer.send(TOPIC_NAME, b"1")
    producer.send(TOPIC_NAME, b"2")
    rig.run()
    assert values(rig) == [b"2"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), DeliveryTimeoutError("no owner")])
def test_an_interrupted_hand_over_loses_nothing(rig: Rig, connection: RigConnection, interrupt: BaseException) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    rig.close_lane(lane_of(producer).lane_id)
    connection.interrupt = interrupt
    with pytest.raises(type(interrupt)):
        producer.send(TOPIC_NAME, b"2")
    producer.send(TOPIC_NAME, b"3")
    rig.run()
    assert values(rig) == [b"1", b"2", b"3"]


def test_behind_a_refused_batch_the_rest_follows_under_a_higher_epoch(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection, linger_ms=60_000)
    producer.send(TOPIC_NAME, b"0")
    lane = lane_of(producer)
    lane.seal()
    rig.run()
    first = producer.send(TOPIC_NAME, b"1")
    lane.seal()
    frame = layout.LANE_DATA + 72 + layout.FRAME_KIND  # the second frame's
    rig.lane_mapping(lane.lane_id).write(frame, b"\x09")  # a kind of batch that no owner takes
    second = producer.send(TOPIC_NAME, b"2")
    rig.run()
    third = producer.send(TOPIC_NAME, b"3")
    with pytest.raises(ShmlogError, match="refused a batch"):
        first.result(0.1)
    lane_of(producer).seal()
    rig.run()
    assert [second.result().offset, third.result().offset] == [1, 2]
    assert values(rig) == [b"0", b"2", b"3"]


def test_records_in_a_quarantined_lane_fail_and_later_ones_go_into_another(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    spoiled = producer.send(TOPIC_NAME, b"1")
    rig.lane_mapping(lane_of(producer).lane_id).store(layout.LANE_OPEN, 1 << 63)
    rig.run()
    with pytest.raises(LaneQuarantinedError, match="make no sense"):
        spoiled.result(0.1)
    producer.send(TOPIC_NAME, b"2")
    rig.run()
    assert values(rig) == [b"2"]


def test_after_the_topic_is_deleted_pending_records_fail_and_say_why(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
    rig.close_lane(lane_of(producer).lane_id)
    with pytest.raises(UnknownTopicOrPartitionError, match="deleted"):
        producer.send(TOPIC_NAME, b"2")


def test_a_full_lane_blocks_until_delivery_timeout_ms_and_says_that_the_record_was_not_sent(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection, lane_bytes=262144, delivery_timeout_ms=IMPATIENT_MS)
    with pytest.raises(DeliveryTimeoutError, match="it was not sent"):
        producer.send_many(TOPIC_NAME, [bytes(1000)] * 1000)
    rig.run()
    producer.send(TOPIC_NAME, b"again")
    rig.run()
    assert values(rig)[-1] == b"again"


def test_an_acknowledgement_that_does_not_come_leaves_the_outcome_unknown_and_says_so(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection, delivery_timeout_ms=IMPATIENT_MS)
    delivery = producer.send(TOPIC_NAME, b"1")
    with pytest.raises(DeliveryTimeoutError, match="outcome is unknown"):
        delivery.result()
    rig.run()
    assert values(rig) == [b"1"]


def test_what_has_no_acknowledgement_for_want_of_replicas_says_so(rig: Rig, connection: RigConnection) -> None:
    rig.control.store_in_sync(1, 2)
    producer = producer_of(connection, lane_bytes=262144, delivery_timeout_ms=IMPATIENT_MS)
    delivery = producer.send(TOPIC_NAME, b"1")
    wanted = r"1 replica is in sync, and 2 are needed \(min.insync.replicas\)"
    with pytest.raises(PollTimeoutError, match=wanted):
        delivery.result(0)
    with pytest.raises(PollTimeoutError, match=wanted):
        producer.flush(0)
    with pytest.raises(NotEnoughReplicasError, match=wanted):
        producer.flush()
    with pytest.raises(NotEnoughReplicasError, match="outcome is unknown.*" + wanted):
        delivery.result()
    with pytest.raises(NotEnoughReplicasError, match="it was not sent.*" + wanted):
        producer.send_many(TOPIC_NAME, [bytes(1000)] * 1000)


def test_a_producer_that_closes_does_not_wait_a_second_time_for_what_nobody_takes(
    rig: Rig, connection: RigConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(connection, "tell", told.append)
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    lane_id = lane_of(producer).lane_id
    with pytest.raises(PollTimeoutError):
        producer.close(0)
    assert told == [CloseLane(0, lane_id)]
    rig.run()
    assert values(rig) == [b"1"]


def test_a_lane_whose_memory_went_away_after_the_grant_is_asked_for_again(rig: Rig, connection: RigConnection) -> None:
    """Regression: a cluster that went down in between made send() raise a bare FileNotFoundError."""
    connection.lanes_to_lose = 1
    producer = producer_of(connection)
    delivery = producer.send(TOPIC_NAME, b"1")
    rig.run()
    assert (delivery.result().offset, connection.lanes_opened) == (0, 2)


def test_lanes_whose_memory_goes_away_every_time_end_in_an_error_that_may_pass(connection: RigConnection) -> None:
    connection.lanes_to_lose = 100
    with pytest.raises(
        BrokerNotAvailableError, match="granted 3 times, and its shared memory is gone each time"
    ) as caught:
        producer_of(connection).send(TOPIC_NAME, b"1")
    assert caught.value.retriable


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_an_error_in_on_delivery_is_logged_and_counted_and_does_not_reach_who_sends_something_else(
    rig: Rig, connection: RigConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: it came out of a later send() or result(), whose own record was accepted."""
    producer, called = producer_of(connection), []

    def fail(delivery: Delivery) -> None:
        called.append(delivery.result().offset)
        raise KeyError("mine")

    deliveries = [producer.send(TOPIC_NAME, b"%d" % number, on_delivery=fail) for number in range(3)]
    rig.run()
    assert deliveries[0].result().offset == 0
    producer.flush()
    assert producer.send(TOPIC_NAME, b"3") is not None
    assert called == [0, 1, 2]
    assert producer.metrics()["failed_callbacks"] == 3
    assert [record.name for record in caplog.records] == ["shmlog.producer"] * 3
    assert "on_delivery of a record to flights-0 failed; the record: delivered" in caplog.text
    assert "KeyError: 'mine'" in caplog.text


def test_an_interrupt_in_on_delivery_comes_out_and_the_other_callbacks_have_their_turn_later(
    rig: Rig, connection: RigConnection
) -> None:
    producer, called = producer_of(connection), []

    def interrupted(delivery: Delivery) -> None:
        called.append(delivery.result().offset)
        if called == [0]:
            raise KeyboardInterrupt

    for number in range(3):
        producer.send(TOPIC_NAME, b"%d" % number, on_delivery=interrupted)
    rig.run()
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    assert called == [0]
    producer.flush()
    assert called == [0, 1, 2]

"""A full lane is followed by a larger one: nothing is lost, doubled or overtaken by that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.errors import DeliveryTimeoutError, ShmBudgetExceededError, ShmlogError
from shmlog.limits import LANE_BYTES_FIRST
from shmlog.memory import layout, names, region
from shmlog.memory.lane import lane_data_bytes
from shmlog.testing.partition_rig import TOPIC_NAME, Rig, open_rig
from shmlog.testing.rig_producer import IMPATIENT_MS, RigConnection, lane_of, producer_of

MAX_MESSAGE_BYTES = 1 << 18
WHOLE_BYTES = lane_data_bytes(MAX_MESSAGE_BYTES)
RECORD_BYTES = 1000
MANY = 2 * LANE_BYTES_FIRST // RECORD_BYTES
LARGE = bytes(2 * LANE_BYTES_FIRST)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path, {"max.message.bytes": str(MAX_MESSAGE_BYTES)}) as opened:
        yield opened


def record(number: int) -> bytes:
    return b"%d." % number + bytes(RECORD_BYTES)


def numbers(rig: Rig) -> list[int]:
    return [int(value.partition(b".")[0]) for value in rig.values()]


def lanes_left(rig: Rig) -> list[int]:
    return [lane.lane_id for lane in rig.control.lanes()]


def test_a_lane_begins_small(connection: RigConnection) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    assert lane_of(producer).data_bytes == LANE_BYTES_FIRST < WHOLE_BYTES


def test_a_full_lane_is_followed_by_a_whole_one_and_every_record_is_there_once_and_in_order(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    deliveries = [producer.send(TOPIC_NAME, record(number)) for number in range(MANY)]
    assert lane_of(producer).data_bytes == WHOLE_BYTES
    producer.flush()
    assert numbers(rig) == list(range(MANY))
    assert [delivery.result().offset for delivery in deliveries] == list(range(MANY))
    assert lanes_left(rig) == [lane_of(producer).lane_id], "the small lane is gone"
    assert connection.lanes_opened == 2


def test_nothing_goes_into_the_larger_lane_before_what_is_in_the_small_one_is_published(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection, delivery_timeout_ms=IMPATIENT_MS)
    with pytest.raises(DeliveryTimeoutError, match="it was not sent"):
        producer.send_many(TOPIC_NAME, [record(number) for number in range(MANY)])
    accepted = int(producer.metrics()["records"])
    assert connection.lanes_opened == 2
    with pytest.raises(DeliveryTimeoutError, match="it was not sent"):
        producer.send(TOPIC_NAME, b"small")
    assert lane_of(producer).data_bytes == LANE_BYTES_FIRST
    rig.run()
    producer.send(TOPIC_NAME, b"%d." % accepted)
    assert (connection.lanes_opened, lane_of(producer).data_bytes) == (2, WHOLE_BYTES)
    rig.run()
    assert numbers(rig) == list(range(accepted + 1))


def test_a_record_that_does_not_fit_waits_for_a_whole_lane_and_stays_in_its_place(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    for value in (b"1", LARGE, b"3"):
        producer.send(TOPIC_NAME, value)
    producer.flush()
    assert rig.values() == [b"1", LARGE, b"3"]


def test_columns_and_lists_go_on_in_the_larger_lane(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    values = [record(number) for number in range(MANY)]
    producer.send_many(TOPIC_NAME, values)
    producer.flush()
    assert rig.values() == values


def test_a_producer_that_is_refused_a_larger_lane_goes_on_with_the_small_one_and_does_not_ask_again(
    rig: Rig, connection: RigConnection
) -> None:
    connection.refuses_growth = ShmBudgetExceededError("all is taken")
    connection.while_asleep = rig.run
    producer = producer_of(connection)
    for number in range(3 * MANY):
        producer.send(TOPIC_NAME, record(number))
    producer.flush()
    assert numbers(rig) == list(range(3 * MANY))
    assert (connection.lanes_opened, connection.growth_refused) == (1, 1)


def test_a_record_that_fits_into_no_lane_that_is_to_be_had_fails_and_others_go_on(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    producer.send(TOPIC_NAME, b"1")
    connection.interrupt = ShmBudgetExceededError("all is taken")
    with pytest.raises(ShmBudgetExceededError, match="all is taken"):
        producer.send(TOPIC_NAME, LARGE)
    producer.send(TOPIC_NAME, b"2")
    producer.send(TOPIC_NAME, LARGE)
    producer.flush()
    assert rig.values() == [b"1", b"2", LARGE]


def test_a_batch_that_is_refused_in_a_lane_that_ends_raises_the_epoch_and_the_larger_lane_of_the_old_one_is_not_used(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection, linger_ms=60_000, batch_size=100, delivery_timeout_ms=IMPATIENT_MS)
    deliveries = [producer.send(TOPIC_NAME, record(number)) for number in range(10)]
    first = lane_of(producer)
    frame = layout.LANE_DATA
    for _ in range(9):
        frame += (rig.lane_mapping(first.lane_id).load(frame + layout.FRAME_LENGTH) & 0xFFFFFFFF) + 7 & ~7
    with pytest.raises(DeliveryTimeoutError):
        producer.send(TOPIC_NAME, LARGE)
    assert connection.lanes_opened == 2
    rig.lane_mapping(first.lane_id).write(frame + layout.FRAME_KIND, b"\x09")
    connection.while_asleep = rig.run
    rig.run()
    producer.send(TOPIC_NAME, record(11))
    producer.flush()
    assert numbers(rig) == [*range(9), 11]
    with pytest.raises(ShmlogError, match="refused a batch"):
        deliveries[9].result()
    assert rig.terms(lane_of(producer).lane_id).producer_epoch == 1
    assert lanes_left(rig) == [lane_of(producer).lane_id]


def test_a_closed_producer_gives_the_lane_back_that_it_did_not_come_to_use(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection, delivery_timeout_ms=IMPATIENT_MS)
    producer.send(TOPIC_NAME, b"1")
    with pytest.raises(DeliveryTimeoutError):
        producer.send(TOPIC_NAME, LARGE)
    rig.run()
    producer.close()
    assert lanes_left(rig) == []


def test_a_small_lane_stays_with_its_owner_until_all_that_it_published_is_acknowledged(
    rig: Rig, connection: RigConnection
) -> None:
    """A replica that takes over and lacks some of it finds it there; too few in sync may last, and nobody waits."""
    rig.publisher.hold_under_min_isr(True)
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    first = producer.send(TOPIC_NAME, b"1")
    small = lane_of(producer).lane_id
    rig.run()
    producer.send(TOPIC_NAME, LARGE)
    assert lane_of(producer).data_bytes == WHOLE_BYTES
    assert rig.control.high_watermark == 0
    assert small in lanes_left(rig)
    rig.publisher.hold_under_min_isr(False)
    rig.run()
    producer.flush()
    assert first.result().offset == 0
    assert lanes_left(rig) == [lane_of(producer).lane_id]


def test_a_producer_that_is_closed_leaves_no_lane_though_it_waits_for_some(rig: Rig, connection: RigConnection) -> None:
    rig.publisher.hold_under_min_isr(True)
    producer = producer_of(connection, delivery_timeout_ms=IMPATIENT_MS)
    connection.while_asleep = rig.run
    producer.send(TOPIC_NAME, b"1")
    rig.run()
    producer.send(TOPIC_NAME, LARGE)
    with pytest.raises(DeliveryTimeoutError):
        producer.close()
    assert lanes_left(rig) == []


def test_after_an_idle_close_a_lane_is_small_again_and_as_large_as_before_if_it_held_something(
    rig: Rig, connection: RigConnection
) -> None:
    producer = producer_of(connection)
    connection.while_asleep = rig.run
    producer.send(TOPIC_NAME, LARGE)
    producer.flush()
    rig.close_lane(lane_of(producer).lane_id)
    producer.send(TOPIC_NAME, b"1")
    assert lane_of(producer).data_bytes == WHOLE_BYTES, "the record was in the closed lane"
    rig.close_lane(lane_of(producer).lane_id)
    producer.flush()
    producer.send(TOPIC_NAME, b"2")
    producer.flush()
    assert rig.values() == [LARGE, b"1", b"2"]


def test_the_memory_of_a_small_lane_is_what_was_asked_for(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    producer.send(TOPIC_NAME, b"1")
    name = names.lane(rig.tag, lane_of(producer).lane_id)
    assert dict(region.list_regions(rig.tag))[name] == layout.LANE_DATA + LANE_BYTES_FIRST

"""A producer in an event loop, at a partition that a test moves: room, flush, the end, and cancellation."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from shmlog.client.producer import NativeProducer
from shmlog.errors import (
    DeliveryTimeoutError,
    HandleClosedError,
    PollTimeoutError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.native.delivery import Delivery
from shmlog.testing import wait_until
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import RigConnection, asleep, lane_of, producer_of, publish, somebody_sleeps

FOREVER_MS = 20_000
SMALL_LANE_BYTES = 1 << 18
RECORD_BYTES = 60_000


@pytest.fixture
def producer(connection: RigConnection) -> NativeProducer:
    return producer_of(connection, delivery_timeout_ms=FOREVER_MS, lane_bytes=SMALL_LANE_BYTES)


def fill(producer: NativeProducer) -> int:
    """Send until there is no room; how many records that were."""
    sent = 0
    while SMALL_LANE_BYTES > (sent + 1) * (RECORD_BYTES + 200):
        producer.send(TOPIC_NAME, b"%d" % sent * RECORD_BYTES)
        lane_of(producer).seal()
        sent += 1
    return sent


def numbers(rig: Rig) -> list[int]:
    return [int(value[:1]) for value in rig.values()]


# --- room -------------------------------------------------------------------------------------------------------------


def test_asend_waits_for_room_and_other_tasks_run(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        sent = fill(producer)
        sending = [
            asyncio.create_task(producer.asend(TOPIC_NAME, b"%d" % number * RECORD_BYTES))
            for number in range(sent, sent + 3)
        ]
        await asleep(connection)
        assert not any(task.done() for task in sending)
        while not all(task.done() for task in sending):
            publish(rig, connection)
            await asyncio.sleep(0)
        rig.run()
        deliveries = [await task for task in sending]
        assert [(await delivery).offset for delivery in deliveries] == list(range(sent, sent + 3))
        assert numbers(rig) == list(range(sent + 3))

    asyncio.run(main())


def test_asend_many_goes_on_with_the_first_record_that_had_no_room(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        values = [b"%d" % number * RECORD_BYTES for number in range(10)]
        sending = asyncio.create_task(producer.asend_many(TOPIC_NAME, iter(values)))  # type: ignore[arg-type]  # is taken
        await asleep(connection)
        assert not sending.done()
        while not sending.done():
            publish(rig, connection)
            await asyncio.sleep(0)
        rig.run()
        deliveries = await sending
        assert len(deliveries) == 10
        assert await deliveries == list(range(10))
        assert numbers(rig) == list(range(10))

    asyncio.run(main())


def test_asend_columns_goes_on_with_the_first_record_that_had_no_room(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        values = np.array([b"%d" % number * RECORD_BYTES for number in range(10)])
        sending = asyncio.create_task(producer.asend_columns(TOPIC_NAME, values, timestamps_ms=range(10)))
        await asleep(connection)
        assert not sending.done()
        while not sending.done():
            publish(rig, connection)
            await asyncio.sleep(0)
        rig.run()
        deliveries = await sending
        assert await deliveries == list(range(10))
        assert [(await delivery).timestamp_ms for delivery in deliveries] == list(range(10))
        assert numbers(rig) == list(range(10))

    asyncio.run(main())


def test_a_cancelled_asend_has_not_sent_the_record(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        sent = fill(producer)
        sending = asyncio.create_task(producer.asend(TOPIC_NAME, b"9" * RECORD_BYTES))
        await asleep(connection)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        rig.run()
        await producer.aflush()
        assert numbers(rig) == list(range(sent))

    asyncio.run(main())


def test_asend_without_room_for_delivery_timeout_ms_says_that_it_was_not_sent(connection: RigConnection) -> None:
    producer = producer_of(connection, delivery_timeout_ms=50, lane_bytes=SMALL_LANE_BYTES)

    async def main() -> None:
        fill(producer)
        async with asyncio.timeout(FOREVER_MS / 1000):
            with pytest.raises(DeliveryTimeoutError, match="it was not sent"):
                await producer.asend(TOPIC_NAME, b"9" * RECORD_BYTES)

    asyncio.run(main())


def test_a_record_that_is_accepted_just_when_its_lane_ends_is_sent_once(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        await producer.asend(TOPIC_NAME, b"0")
        rig.run()
        await producer.aflush()
        lane = lane_of(producer)
        mapping = rig.lane_mapping(lane.lane_id)
        mapping.store(layout.LANE_STATE, layout.LaneState.CLOSING)  # the send below sees it after it has accepted
        sending = asyncio.create_task(producer.asend(TOPIC_NAME, b"1"))
        await asleep(connection)
        assert not sending.done()
        rig.close_lane(lane.lane_id)
        somebody_sleeps(connection)
        delivery = await sending
        rig.run()
        assert (await delivery).offset == 1
        assert numbers(rig) == [0, 1]
        assert lane_of(producer) is not lane

    asyncio.run(main())


# --- flush and the end ------------------------------------------------------------------------------------------------


def test_aflush_waits_for_all_and_says_what_is_missing_after_its_timeout(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        producer.send_many(TOPIC_NAME, [b"a", b"b"])
        with pytest.raises(PollTimeoutError, match="1 batches have no acknowledgement"):
            await producer.aflush(timeout=0.01)
        flushing = asyncio.create_task(producer.aflush())
        await asleep(connection)
        publish(rig, connection)
        await flushing
        assert producer.metrics()["pending_batches"] == 0

    asyncio.run(main())


def test_aflush_raises_for_a_topic_that_was_deleted_meanwhile(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        producer.send(TOPIC_NAME, b"a")
        flushing = asyncio.create_task(producer.aflush())
        await asleep(connection)
        rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
        somebody_sleeps(connection)
        with pytest.raises(UnknownTopicOrPartitionError, match="was deleted"):
            await flushing

    asyncio.run(main())


def test_the_end_of_async_with_flushes(rig: Rig, connection: RigConnection, producer: NativeProducer) -> None:
    async def main() -> None:
        async def own() -> None:
            await asleep(connection)
            publish(rig, connection)

        owning = asyncio.create_task(own())
        async with producer:
            delivery = producer.send(TOPIC_NAME, b"a")
        await owning
        assert delivery.result().offset == 0
        with pytest.raises(HandleClosedError, match="this producer is closed"):
            await producer.asend(TOPIC_NAME, b"b")

    asyncio.run(main())


def test_a_cancelled_aclose_has_closed_the_producer(connection: RigConnection, producer: NativeProducer) -> None:
    async def main() -> None:
        producer.send(TOPIC_NAME, b"a")
        closing = asyncio.create_task(producer.aclose())
        await asleep(connection)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert producer.closed
        await producer.aclose()

    asyncio.run(main())


WAITS: dict[str, Callable[[NativeProducer, Delivery], Coroutine[Any, Any, object]]] = {
    "asend": lambda producer, _: producer.asend(TOPIC_NAME, b"9" * RECORD_BYTES),
    "aflush": lambda producer, _: producer.aflush(),
    "await delivery": lambda _, delivery: _outcome(delivery),
}


async def _outcome(delivery: Delivery) -> object:
    return await delivery


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_every_wait(connection: RigConnection, producer: NativeProducer, what: str) -> None:
    fill(producer)
    delivery = producer.send(TOPIC_NAME, b"small")

    def interrupt() -> None:
        wait_until(lambda: somebody_sleeps(connection))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(WAITS[what](producer, delivery))
    interrupting.join()


def test_a_task_does_not_wait_for_a_thread_that_sleeps_with_the_lock(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    producer.send(TOPIC_NAME, b"0")
    rig.run()
    producer.flush()
    lane = lane_of(producer)
    rig.lane_mapping(lane.lane_id).store(layout.LANE_STATE, layout.LaneState.CLOSING)
    thread = threading.Thread(target=producer.send, args=(TOPIC_NAME, b"1"))
    thread.start()
    wait_until(lambda: somebody_sleeps(connection))  # in the hand-over, with the lock

    async def main() -> None:
        sending = asyncio.create_task(producer.asend(TOPIC_NAME, b"2"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not sending.done()
        assert thread.is_alive()
        rig.close_lane(lane.lane_id)
        somebody_sleeps(connection)
        await sending

    asyncio.run(main())
    thread.join()
    rig.run()
    assert numbers(rig) == [0, 1, 2]

"""Deliveries that tasks await, of a producer at a partition that a test moves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shmlog.client import loop_bell
from shmlog.client.producer import NativeProducer
from shmlog.errors import (
    DeliveryTimeoutError,
    ShmlogError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.native.delivery import Delivery
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import RigConnection, asleep, lane_of, producer_of, publish, somebody_sleeps

FOREVER_MS = 20_000
SMALL_LANE_BYTES = 1 << 18
RECORD_BYTES = 60_000


@pytest.fixture
def producer(connection: RigConnection) -> NativeProducer:
    return producer_of(connection, delivery_timeout_ms=FOREVER_MS, lane_bytes=SMALL_LANE_BYTES)


def test_a_hundred_tasks_await_their_deliveries(rig: Rig, connection: RigConnection, producer: NativeProducer) -> None:
    async def send(number: int) -> int:
        return (await producer.send(TOPIC_NAME, b"%d" % number)).offset

    async def main() -> list[int]:
        tasks = [asyncio.create_task(send(number)) for number in range(100)]
        await asleep(connection)
        publish(rig, connection)
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(main()) == list(range(100))
    assert not somebody_sleeps(connection)


def test_a_delivery_that_is_settled_is_awaited_without_a_turn_of_the_loop(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        deliveries = producer.send_many(TOPIC_NAME, [b"a", b"b"])
        rig.run()
        producer.flush()
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        assert (await deliveries[1]).offset == 1
        assert await deliveries == [0, 1]
        assert not turned.done()

    asyncio.run(main())


def test_an_acknowledgement_that_came_before_the_flag_was_up_is_seen_without_a_ring(
    rig: Rig, producer: NativeProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_bell, "CLIENT_SLEEP_S", FOREVER_MS)

    async def main() -> int:
        delivery = producer.send(TOPIC_NAME, b"a")
        rig.run()
        async with asyncio.timeout(FOREVER_MS / 1000):
            return (await delivery).offset

    assert asyncio.run(main()) == 0


def test_what_send_many_returns_can_be_awaited(rig: Rig, connection: RigConnection, producer: NativeProducer) -> None:
    async def main() -> list[int]:
        awaiting = asyncio.ensure_future(producer.send_many(TOPIC_NAME, [b"a", b"b", b"c"]))
        await asleep(connection)
        publish(rig, connection)
        return await awaiting

    assert asyncio.run(main()) == [0, 1, 2]


def test_cancelling_await_changes_nothing_about_the_delivery(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        delivery = producer.send(TOPIC_NAME, b"a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await delivery
        one, other = asyncio.ensure_future(delivery), asyncio.ensure_future(delivery)
        await asleep(connection)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert not delivery.done
        publish(rig, connection)
        assert (await other).offset == (await delivery).offset == delivery.result().offset == 0

    asyncio.run(main())


def test_a_delivery_without_acks_is_awaited_at_once(connection: RigConnection) -> None:
    producer = producer_of(connection, acks=0)

    async def main() -> int:
        return (await producer.send(TOPIC_NAME, b"a")).offset

    assert asyncio.run(main()) == -1


def test_a_refused_record_raises_where_it_is_awaited(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    async def main() -> None:
        delivery = producer.send(TOPIC_NAME, b"a")
        rig.lane_mapping(lane_of(producer).lane_id).write(layout.LANE_DATA + layout.FRAME_KIND, b"\x09")
        awaiting = asyncio.ensure_future(delivery)
        await asleep(connection)
        publish(rig, connection)
        with pytest.raises(ShmlogError, match="refused a batch"):
            await awaiting

    asyncio.run(main())


def test_a_delivery_that_nobody_acknowledges_expires_while_it_is_awaited(connection: RigConnection) -> None:
    producer = producer_of(connection, delivery_timeout_ms=30)

    async def main() -> None:
        delivery = producer.send(TOPIC_NAME, b"a")
        async with asyncio.timeout(FOREVER_MS / 1000):
            with pytest.raises(DeliveryTimeoutError, match="outcome is unknown"):
                await delivery
        assert producer.metrics()["failed_batches"] == 1

    asyncio.run(main())


def test_callbacks_are_called_in_a_tasks_call_and_may_wait_themselves(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    called: list[int] = []

    def call_back(delivery: Delivery) -> None:
        called.append(delivery.result().offset)
        if len(called) == 1:
            connection.while_asleep = rig.run
            called.append(producer.send(TOPIC_NAME, b"from a callback").result(timeout=FOREVER_MS / 1000).offset)

    async def main() -> None:
        producer.send(TOPIC_NAME, b"a", on_delivery=call_back)
        rig.run()
        await producer.aflush()

    asyncio.run(main())
    assert called == [0, 1]
    assert producer.metrics()["failed_callbacks"] == 0


def test_deliveries_are_awaited_in_several_loops_at_once(
    rig: Rig, connection: RigConnection, producer: NativeProducer
) -> None:
    delivery = producer.send(TOPIC_NAME, b"a")
    found: list[int] = []
    ready = threading.Barrier(4)

    async def wait() -> None:
        awaiting = asyncio.ensure_future(delivery)
        await asyncio.sleep(0)
        ready.wait()
        found.append((await awaiting).offset)

    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    rig.run()
    assert somebody_sleeps(connection)
    for thread in threads:
        thread.join()
    assert found == [0, 0, 0]


def test_a_deleted_topic_fails_what_is_awaited(rig: Rig, connection: RigConnection, producer: NativeProducer) -> None:
    async def main() -> None:
        awaiting = asyncio.ensure_future(producer.send(TOPIC_NAME, b"a"))
        await asleep(connection)
        rig.control.mapping.store(layout.CTL_STATE, OwnerState.DELETED)
        somebody_sleeps(connection)
        with pytest.raises(UnknownTopicOrPartitionError, match="was deleted"):
            await awaiting

    asyncio.run(main())

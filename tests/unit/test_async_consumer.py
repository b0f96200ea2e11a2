"""A consumer in event loops: what it gives, when it sleeps, and what is left when a task is cancelled."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress

import pytest

from shmlog.client import fetcher, loop_bell
from shmlog.client.consumer import NativeConsumer
from shmlog.errors import SerializationError
from shmlog.testing import await_until, wait_until
from shmlog.testing.fake_cluster import P0, FakeCluster, offsets

FOREVER_S = 30.0


async def read(consumer: NativeConsumer) -> list[int]:
    return [record.offset async for record in consumer]


def ring(world: FakeCluster) -> bool:
    """As owners do after they have published; True if somebody sleeps."""
    return world.connection.doorbell.ring()


async def asleep(consumer: NativeConsumer, times: int = 1) -> None:
    await await_until(lambda: consumer.metrics()["sleeps"] >= times)


# --- records ----------------------------------------------------------------------------------------------------------


def test_async_for_gives_what_for_gives(world: FakeCluster) -> None:
    world.fill(20, 7, 13)
    with (
        world.consumer("flights", consumer_timeout_ms=0) as one,
        world.consumer("flights", consumer_timeout_ms=0) as two,
    ):

        async def main() -> list[object]:
            return [record async for record in two]

        assert asyncio.run(main()) == list(one)


def test_every_way_to_read_goes_on_where_the_last_one_stopped(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:

        async def main() -> None:
            async for record in consumer:
                if record.offset == 3:
                    break
            assert next(consumer).offset == 4
            assert (await anext(consumer)).offset == 5
            assert offsets(await consumer.apoll(2)) == [6, 7]
            assert offsets(consumer.poll(2)) == [8, 9]
            consumer.seek(P0, 15)
            assert await read(consumer) == [15, 16, 17, 18, 19]
            with pytest.raises(StopAsyncIteration):
                await anext(consumer)
            assert await consumer.apoll() == []

        asyncio.run(main())


def test_seek_in_the_middle_of_an_async_loop_takes_effect_at_once(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:

        async def main() -> list[int]:
            seen = []
            async for record in consumer:
                seen.append(record.offset)
                if record.offset == 2:
                    consumer.seek(P0, 18)
            return seen

        assert asyncio.run(main()) == [0, 1, 2, 18, 19]


def test_two_tasks_that_share_a_consumer_get_each_record_once(world: FakeCluster) -> None:
    world.fill(20, 20, 20)
    with world.consumer("flights", fetch_max_bytes=1, consumer_timeout_ms=0) as consumer:

        async def take() -> list[tuple[int, int]]:
            seen = []
            async for record in consumer:
                seen.append((record.partition, record.offset))
                await asyncio.sleep(0)
            return seen

        async def main() -> list[list[tuple[int, int]]]:
            return list(await asyncio.gather(take(), take()))

        one, two = asyncio.run(main())
        assert one
        assert two
        assert sorted(one + two) == [(partition, offset) for partition in range(3) for offset in range(20)]


def test_a_record_that_does_not_deserialize_raises_in_the_loop_and_stays(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights", value_deserializer="json", consumer_timeout_ms=0) as consumer:

        async def main() -> None:
            with pytest.raises(SerializationError):
                await anext(consumer)
            with pytest.raises(SerializationError):
                await consumer.apoll()
            assert consumer.position(P0) == 0

        asyncio.run(main())


# --- sleep ------------------------------------------------------------------------------------------------------------


def test_a_task_that_waits_is_woken_by_a_ring_and_other_tasks_run_meanwhile(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:

        async def main() -> None:
            assert len(await consumer.apoll()) == 5
            waiting = asyncio.create_task(consumer.apoll(timeout=FOREVER_S))
            await asleep(consumer)
            world.fill(5 + 5)
            assert ring(world)
            assert offsets(await waiting) == [5, 6, 7, 8, 9]
            assert not ring(world)  # nobody sleeps any more

        asyncio.run(main())


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks around by himself: who is not woken sleeps longer than the test waits."""
    for module, name in ((fetcher, "CLIENT_SLEEP_S"), (loop_bell, "CLIENT_SLEEP_S"), (loop_bell, "IDLE_SLEEP_S")):
        monkeypatch.setattr(module, name, 2 * FOREVER_S)


@pytest.mark.usefixtures("no_time_passes")
def test_a_ring_wakes_the_task_and_not_the_second_that_it_looks_around(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        async def main() -> None:
            for round_number in range(1, 50):
                waiting = asyncio.create_task(consumer.apoll(timeout=None))
                await asleep(consumer, round_number)
                world.fill(5 * round_number)
                ring(world)
                async with asyncio.timeout(FOREVER_S):
                    assert len(await waiting) == 5

        asyncio.run(main())


@pytest.mark.usefixtures("no_time_passes")
def test_a_ring_without_news_for_this_consumer_lets_it_sleep_on(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        async def main() -> None:
            waiting = asyncio.create_task(consumer.apoll(timeout=FOREVER_S))
            await asleep(consumer)
            for _ in range(5):
                ring(world)
                await asyncio.sleep(0)
            assert not waiting.done()
            assert consumer.metrics()["sleeps"] == 1
            waiting.cancel()

        asyncio.run(main())


def test_a_task_that_always_finds_records_lets_others_run_between_two_fetches(
    world: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_bell, "LOOP_TURN_S", 0.0)  # every turn is over at once
    world.fill(500)
    with world.consumer("flights", fetch_max_bytes=1, consumer_timeout_ms=0) as consumer:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async def main() -> None:
            counting = asyncio.create_task(count())
            assert len(await read(consumer)) == 500
            assert turns >= consumer.metrics()["fetches"] == 100
            counting.cancel()

        asyncio.run(main())


def test_iteration_ends_at_consumer_timeout_ms(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights", consumer_timeout_ms=20) as consumer:
        assert asyncio.run(read(consumer)) == [0, 1, 2, 3, 4]
        assert 1 <= consumer.metrics()["sleeps"] < 10, "it did not spin"


# --- cancellation -----------------------------------------------------------------------------------------------------


Taken = list[int]


async def by_apoll(consumer: NativeConsumer, taken: Taken) -> None:
    taken += offsets(await consumer.apoll(timeout=FOREVER_S))


async def by_anext(consumer: NativeConsumer, taken: Taken) -> None:
    taken.append((await anext(consumer)).offset)


async def by_async_for(consumer: NativeConsumer, taken: Taken) -> None:
    async for record in consumer:
        taken.append(record.offset)


@pytest.mark.parametrize("way", [by_apoll, by_anext, by_async_for])
def test_a_cancelled_task_has_lost_no_record(
    world: FakeCluster, way: Callable[[NativeConsumer, Taken], Coroutine[object, object, None]]
) -> None:
    """News and cancellation meet at every distance: with the ring, when the loop has heard it, and turns later."""
    with world.consumer("flights") as consumer:

        async def main() -> None:
            taken: Taken = []
            for turns in range(16):
                waiting = asyncio.create_task(way(consumer, taken))
                await asleep(consumer, int(consumer.metrics()["sleeps"]) + 1)
                world.fill(len(taken) + 5)
                ring(world)
                if turns % 4 == 3:
                    await await_until(lambda: consumer.position(P0))  # it has begun
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    await waiting
                assert consumer.position(P0) == len(taken)
                taken += offsets(await consumer.apoll())
                assert taken == list(range(world.partitions[P0].page.log_end_offset))

        asyncio.run(main())


def test_asyncio_timeout_ends_a_wait_and_the_next_one_gets_the_record(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(consumer)
            world.fill(5)
            async with asyncio.timeout(FOREVER_S):
                assert (await anext(consumer)).offset == 0

        asyncio.run(main())


def test_ctrl_c_ends_a_loop_that_waits_for_ever(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        def interrupt() -> None:
            wait_until(lambda: consumer.metrics()["sleeps"])
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(read(consumer))
        interrupting.join()
        world.fill(5)
        assert next(consumer).offset == 0  # and it can be used further

"""The bells of event loops: who is woken, and what is left when loops, handles and processes end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading

import pytest

from shmlog.client import fetcher, loop_bell
from shmlog.client.consumer import NativeConsumer
from shmlog.errors import ForkedHandleError, HandleClosedError, InvalidRequestError
from shmlog.testing import await_until, wait_until
from shmlog.testing.fake_cluster import FakeCluster, offsets
from shmlog.testing.fake_supervisor import FakeSupervisor
from shmlog.testing.own_process import descriptors, threads

FOREVER_S = 20.0


async def read(consumer: NativeConsumer) -> list[int]:
    return [record.offset async for record in consumer]


def ring(world: FakeCluster) -> bool:
    """As owners do after they have published; True if somebody sleeps."""
    return world.connection.doorbell.ring()


async def asleep(consumer: NativeConsumer, times: int = 1) -> None:
    await await_until(lambda: consumer.metrics()["sleeps"] >= times)


# --- who is woken -----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks around by himself: who is not woken sleeps longer than the test waits."""
    for module, name in ((fetcher, "CLIENT_SLEEP_S"), (loop_bell, "CLIENT_SLEEP_S"), (loop_bell, "IDLE_SLEEP_S")):
        monkeypatch.setattr(module, name, 2 * FOREVER_S)


@pytest.mark.usefixtures("no_time_passes")
def test_news_that_came_before_the_flag_was_up_are_seen_without_a_ring(world: FakeCluster) -> None:
    async def main() -> None:
        async with asyncio.timeout(FOREVER_S):
            await world.connection.loop_bells.here().sleep(lambda: True, 2 * FOREVER_S)

    asyncio.run(main())


def test_the_flag_of_the_doorbell_is_up_while_any_task_waits_and_down_afterwards(world: FakeCluster) -> None:
    with world.consumer("flights") as one, world.consumer("flights") as two:

        async def main() -> None:
            first = asyncio.create_task(one.apoll(timeout=FOREVER_S))
            second = asyncio.create_task(two.apoll(timeout=FOREVER_S))
            await asleep(one)
            await asleep(two)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert ring(world)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert not ring(world)

        asyncio.run(main())


def test_a_thread_and_a_task_that_sleep_on_one_doorbell_are_both_woken(world: FakeCluster) -> None:
    with world.consumer("flights") as in_thread, world.consumer("flights") as in_loop:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.extend(offsets(in_thread.poll(timeout=FOREVER_S))))

        async def main() -> None:
            waiting = asyncio.create_task(in_loop.apoll(timeout=FOREVER_S))
            await asleep(in_loop)
            thread.start()
            await asleep(in_thread)
            world.fill(5)
            ring(world)
            assert len(await waiting) == 5
            await await_until(lambda: len(found) == 5)

        asyncio.run(main())
        thread.join()


def test_loops_in_several_threads_are_woken_each(world: FakeCluster) -> None:
    consumers = [world.consumer("flights") for _ in range(4)]
    found: list[list[int]] = [[] for _ in consumers]

    def run(number: int) -> None:
        async def main() -> None:
            found[number] = offsets(await consumers[number].apoll(timeout=FOREVER_S))

        asyncio.run(main())

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(consumers))]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(consumer.metrics()["sleeps"] for consumer in consumers))
    world.fill(5)
    ring(world)
    for thread in threads:
        thread.join()
    assert found == [[0, 1, 2, 3, 4]] * 4
    for consumer in consumers:
        consumer.close()


# --- ends -------------------------------------------------------------------------------------------------------------


def test_async_with_closes_and_leaves_neither_thread_nor_descriptor(world: FakeCluster) -> None:
    gc.collect()  # what others have left would be closed at any time
    before, running = descriptors(), threads()

    async def main() -> None:
        async with world.consumer("flights") as consumer:
            assert await consumer.apoll(timeout=0.01) == []
        with pytest.raises(HandleClosedError, match="this consumer is closed"):
            await consumer.apoll()
        with pytest.raises(HandleClosedError, match="this consumer is closed"):
            await anext(consumer)
        (relay,) = threads() - running
        world.connection.close()
        assert relay not in threads()

    asyncio.run(main())
    assert descriptors() < before  # the connection's own are gone, too


@pytest.mark.usefixtures("no_time_passes")
@pytest.mark.parametrize("what", ["consumer", "connection"])
@pytest.mark.parametrize("from_where", ["the loop", "another thread"])
def test_closing_wakes_a_task_that_waits_and_tells_it(world: FakeCluster, what: str, from_where: str) -> None:
    consumer = world.consumer("flights")
    close = consumer.close if what == "consumer" else world.connection.close

    async def main() -> None:
        waiting = asyncio.create_task(consumer.apoll(timeout=FOREVER_S))
        await asleep(consumer)
        if from_where == "the loop":
            close()
        else:
            thread = threading.Thread(target=close)
            thread.start()
            await await_until(lambda: not thread.is_alive())
        async with asyncio.timeout(FOREVER_S):
            with pytest.raises(HandleClosedError):
                await waiting

    asyncio.run(main())
    consumer.close()


def test_one_loop_after_the_other_may_use_a_consumer_and_their_descriptors_are_closed(world: FakeCluster) -> None:
    with world.consumer("flights", consumer_timeout_ms=10) as consumer:
        asyncio.run(read(consumer))
        gc.collect()
        after_one = descriptors()
        for _ in range(5):
            asyncio.run(read(consumer))
        assert descriptors() == after_one


def test_a_loop_that_was_closed_while_a_task_waited_disturbs_nobody(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(consumer.apoll(timeout=FOREVER_S))
        loop.run_until_complete(asleep(consumer))
        loop.close()
        world.fill(5)
        ring(world)

        async def main() -> list[int]:
            return offsets(await consumer.apoll(timeout=FOREVER_S))

        assert asyncio.run(main()) == [0, 1, 2, 3, 4]
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # that it was pending is the point
        del waiting


def test_without_a_running_event_loop_the_error_says_what_to_call(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:
        polling = consumer.apoll()
        with pytest.raises(InvalidRequestError, match="asyncio event loop"):
            polling.send(None)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_a_task_waits_is_told_and_the_parents_loop_goes_on(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        async def main() -> None:
            waiting = asyncio.create_task(consumer.apoll(timeout=FOREVER_S))
            await asleep(consumer)
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    consumer.apoll().send(None)
                except ForkedHandleError:
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222  # the child ends at once
            world.fill(5)
            assert ring(world)
            assert len(await waiting) == 5

        asyncio.run(main())


def test_a_consumer_whose_cluster_came_back_under_another_registration_is_woken_by_the_new_doorbell(
    world: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.consumer("flights") as consumer:

        async def main() -> None:
            waiting = asyncio.create_task(consumer.apoll(timeout=None))
            await asleep(consumer)
            old = world.connection.doorbell
            world.supervisor.stop(forget=True)
            world.supervisor = FakeSupervisor(world.supervisor.paths, first_client_id=7)
            world.supervisor.topics["flights"] = 3
            world.supervisor.knows_old_clients = False
            await await_until(lambda: world.connection.registrations == 2, timeout_s=FOREVER_S)
            assert world.connection.doorbell is not old
            for module in (fetcher, loop_bell):
                monkeypatch.setattr(module, "CLIENT_SLEEP_S", 2 * FOREVER_S)  # after it has looked once more
            await asleep(consumer, int(consumer.metrics()["sleeps"]) + 1)
            world.fill(5)
            assert ring(world)
            async with asyncio.timeout(FOREVER_S):
                assert len(await waiting) == 5

        asyncio.run(main())

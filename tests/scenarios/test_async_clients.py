"""Tasks of event loops as clients of a real cluster."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

import shmlog
from shmlog.testing import await_until, wait_until
from shmlog.testing.own_process import descriptors, threads

FOREVER_S = 60.0


@asynccontextmanager
async def running(tmp_path: Path, partitions: int = 1) -> AsyncIterator[shmlog.Cluster]:
    async with asyncio.timeout(FOREVER_S), shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("flights", partitions=partitions)
        yield cluster


def test_a_task_reads_what_others_send_while_it_waits(tmp_path: Path) -> None:
    async def main() -> list[int]:
        async with running(tmp_path, 3) as cluster, cluster.consumer("flights") as consumer:
            found: list[int] = []

            async def read() -> None:
                async for record in consumer:
                    found.append(int(record.value))
                    if len(found) == 60:
                        return

            def caught_up(number: int) -> bool:
                return len(found) == number + 1

            reading = asyncio.create_task(read())
            with cluster.producer() as producer:
                for number in range(60):
                    producer.send("flights", b"%d" % number, key=b"%d" % number)
                    if number % 10 == 9:
                        await await_until(partial(caught_up, number))
            await reading
            return sorted(found)

    assert asyncio.run(main()) == list(range(60))


def test_the_end_of_async_with_leaves_neither_threads_nor_descriptors_nor_warnings(tmp_path: Path) -> None:
    async def main(number: int) -> None:
        async with running(tmp_path / str(number)) as cluster, cluster.consumer("flights") as consumer:
            assert await consumer.apoll(timeout=0.01) == []

    asyncio.run(main(1))
    gc.collect()
    before, threads_before = descriptors(), threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(2))
        gc.collect()
    assert descriptors() == before
    wait_until(lambda: not threads() - threads_before)


def test_other_tasks_run_while_an_embedded_cluster_ends(tmp_path: Path) -> None:
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        cluster = shmlog.start(tmp_path / "data")
        counting = asyncio.create_task(count())
        await cluster.aclose()
        await cluster.aclose()
        counting.cancel()
        return turns

    assert asyncio.run(main()) > 10


def test_a_task_cancelled_while_an_embedded_cluster_ends_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        cluster = shmlog.start(tmp_path / "data")
        cluster.admin.create_topic("flights")
        closing = asyncio.create_task(cluster.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    asyncio.run(main())  # the fixture of every test looks for processes and regions


def test_many_tasks_send_and_await_while_others_read_and_nothing_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, 3) as cluster, cluster.producer(linger_ms=1) as producer:

            async def send(number: int) -> int:
                return (await producer.send("flights", b"%d" % number, key=b"%d" % number)).partition

            async def read() -> list[int]:
                async with cluster.consumer("flights") as consumer:
                    found: list[int] = []
                    async for record in consumer:
                        found.append(int(record.value))
                        if len(found) == 500:
                            break
                    return found

            reading = [asyncio.create_task(read()) for _ in range(3)]
            async with asyncio.TaskGroup() as senders:
                for number in range(500):
                    senders.create_task(send(number))
            for task in reading:
                assert sorted(await task) == list(range(500))

    asyncio.run(main())


def test_asend_and_asend_many_carry_more_than_a_lane_holds(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as cluster, cluster.producer() as producer:
            values = [b"%d" % number * 20_000 for number in range(10)] * 30
            many = await producer.asend_many("flights", values)
            one_by_one = [await producer.asend("flights", value) for value in values]
            assert await many == list(range(300))
            assert [(await delivery).offset for delivery in one_by_one] == list(range(300, 600))

    asyncio.run(main())


def test_a_task_and_a_thread_share_a_producer(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as cluster, cluster.producer() as producer:
            done: list[int] = []

            def send() -> None:
                done.extend(producer.send("flights", b"thread").result().offset for _ in range(200))

            thread = threading.Thread(target=send)
            thread.start()
            own = [(await producer.send("flights", b"task")).offset for _ in range(200)]
            await await_until(lambda: not thread.is_alive())
            assert sorted(done + own) == list(range(400))

    asyncio.run(main())


def test_an_owner_that_is_killed_is_a_pause_for_tasks(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            running(tmp_path) as cluster,
            cluster.producer() as producer,
            cluster.consumer("flights") as consumer,
        ):
            assert (await producer.send("flights", b"0")).offset == 0
            assert (await anext(consumer)).value == b"0"
            owner = cluster.admin.describe_topic("flights").partitions[0].pid
            os.kill(owner, signal.SIGKILL)
            sending = [asyncio.ensure_future(producer.send("flights", b"%d" % number)) for number in range(1, 50)]
            found = [(await anext(consumer)).value for _ in range(1, 50)]
            assert found == [b"%d" % number for number in range(1, 50)]
            assert [(await metadata).offset for metadata in sending] == list(range(1, 50))

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_process_with_a_loop_runs_a_loop_of_its_own(tmp_path: Path) -> None:
    async def use(cluster: shmlog.Cluster) -> bytes:
        async with cluster.producer() as producer, cluster.consumer("flights") as consumer:
            await producer.send("flights", b"value")
            return bytes((await anext(consumer)).value)

    async def main() -> None:
        async with running(tmp_path) as cluster:
            assert await use(cluster) == b"value"
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    with suppress(RuntimeError):  # the parent's loop is still set as running in this thread
                        asyncio._set_running_loop(None)
                    with shmlog.connect(cluster.name) as own:
                        status = 0 if asyncio.run(use(own)) == b"value" else 2
                finally:
                    os._exit(status)
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222  # the child ends at once
            assert await use(cluster) == b"value"

    asyncio.run(main())

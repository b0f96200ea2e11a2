"""Tasks of event loops as clients of a real cluster."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

import shmlog
from shmlog.testing import await_until
from shmlog.testing.own_process import descriptors, native_threads

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
    before, threads = descriptors(), native_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main(2))
        gc.collect()
    assert (descriptors(), native_threads()) == (before, threads)


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

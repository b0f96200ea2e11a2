"""A user's program is clean under `mypy --strict`, and mypy sees what is wrong in one that is not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = """
    import numpy as np
    import shmlog
    from shmlog import Cluster, Consumer, Delivery, OffsetAndTimestamp, Producer, Record, TopicPartition

    def report(delivery: Delivery) -> None:
        print(delivery.result(timeout=1.0).offset)

    def read(path: str) -> list[bytes | None]:
        log = shmlog.open_log(path, isolation_level="read_committed")
        ends = [int(columns.offsets[-1]) for columns in log.columns(from_timestamp_ms=0)]
        assert log.start_offset <= max(ends, default=0) <= log.end_offset
        return [record.value for record in log.records(from_offset=3, end_offset=log.end_offset)]

    def produce(producer: Producer) -> int:
        producer.send("flights", b"value", key=b"AA", headers=[("source", b"csv")], on_delivery=report)
        deliveries = producer.send_many("flights", [b"1", b"2"], keys=[b"a", None])
        producer.flush(timeout=5.0)
        return deliveries[0].result().offset

    def consume(consumer: Consumer) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        first: Record = next(consumer)
        for record in consumer:
            text: str = f"{record.topic} {record.partition} {record.offset} {record.timestamp_ms} {record.headers}"
            print(text, first.value)
        for record in consumer.poll(timeout=0.1):
            print(record.key)
        return consumer.offsets_for_times({TopicPartition("flights", 0): 0})

    async def in_a_loop(cluster: Cluster) -> None:
        async with cluster.producer() as producer, cluster.consumer("flights") as consumer:
            metadata = await producer.send("flights", b"value")
            offsets: list[int] = await (await producer.asend_many("flights", [b"1"]))
            print(metadata.offset, (await (await producer.asend("flights", b"v"))).offset, offsets)
            await producer.aflush(timeout=1.0)
            async for record in consumer:
                print(record.offset, [one.key for one in await consumer.apoll(10, timeout=0.1)])
            next_one: Record = await anext(consumer)
            print(next_one.value)
        await cluster.aclose()

    def run(cluster: Cluster) -> None:
        cluster.admin.create_topic("flights", partitions=6, config={"retention.ms": 86_400_000})
        with cluster.producer(acks="all", linger_ms=5, value_serializer="json") as producer:
            produce(producer)
        with cluster.consumer("flights", auto_offset_reset="latest", value_deserializer=bytes.decode) as consumer:
            consume(consumer)

    with shmlog.start("./data", config={"num.partitions": 3}) as cluster:
        run(cluster)
    with shmlog.connect(timeout=1.0) as cluster:
        run(cluster)
"""

BAD = """
    import shmlog

    cluster = shmlog.connect()
    cluster.producer(lingr_ms=5)
    cluster.consumer("flights", auto_offset_reset="sometimes")
    cluster.producer().send(b"flights")
    cluster.admin.create_topic("flights", partitions="6")
"""


def mypy(program: str, directory: Path) -> str:
    """What mypy prints about `program`."""
    path = directory / "program.py"
    path.write_text(textwrap.dedent(program))
    options = ["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_users_program_is_clean_under_mypy_strict(tmp_path: Path) -> None:
    assert mypy(GOOD, tmp_path) == ""


@pytest.mark.slow
def test_mypy_sees_wrong_settings_and_arguments(tmp_path: Path) -> None:
    found = mypy(BAD, tmp_path).splitlines()
    assert [line.split(":")[1] for line in found if ": error:" in line] == ["5", "6", "7", "8"]

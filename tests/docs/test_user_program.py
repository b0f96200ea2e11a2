"""A user's program is checked by `mypy --strict`: right use passes, and wrong use is found before it runs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = '''
from typing import assert_type

import shmlog


def on_delivery(delivery: shmlog.Delivery) -> None:
    if delivery.error is None:
        assert_type(delivery.result().offset, int)


def copy(cluster: shmlog.Cluster, source: str, target: str) -> int:
    """Copy what is there; works with any implementation of the protocols."""
    copied = 0
    with cluster.producer(acks="all", linger_ms=5) as producer, cluster.consumer(source, consumer_timeout_ms=9) as old:
        for record in old:
            assert_type(record, shmlog.Record)
            assert_type(record.offset, int)
            producer.send(target, record.value, record.key, on_delivery=on_delivery, timestamp_ms=record.timestamp_ms)
            copied += 1
        producer.flush(timeout=5.0)
    return copied


async def mirror(cluster: shmlog.Cluster, source: str, target: str) -> None:
    async with cluster.producer() as producer, cluster.consumer(source, consumer_timeout_ms=9) as consumer:
        async for record in consumer:
            assert_type(record, shmlog.Record)
            assert_type(await producer.asend(target, record.value), shmlog.Delivery)
            assert_type(await producer.send(target, record.value), shmlog.RecordMetadata)
        assert_type(await producer.send_many(target, [b"1"]), list[int])
        assert_type(await consumer.apoll(max_records=10, timeout=0.1), list[shmlog.Record])
        await producer.aflush()


def main() -> None:
    with shmlog.start("./data") as cluster:
        cluster.admin.create_topic("a", partitions=2, config={"retention.ms": 1000})
        cluster.admin.create_topic("b")
        copy(cluster, "a", "b")
        with cluster.consumer("b") as consumer:
            assert_type(consumer.poll(max_records=10, timeout=0.1), list[shmlog.Record])
            assert_type(consumer.position(shmlog.TopicPartition("b", 0)), int)
    try:
        shmlog.connect("nowhere", timeout=0.1)
    except shmlog.NoClusterError as error:
        assert_type(error.retriable, bool)


def wrong(cluster: shmlog.Cluster) -> None:
    cluster.producer(acks="some")  # type: ignore[arg-type]
    cluster.producer(linger=5)  # type: ignore[call-arg]
    cluster.consumer("a", auto_offset_reset="newest")  # type: ignore[arg-type]
    cluster.admin.create_topic(7)  # type: ignore[arg-type]
    record = shmlog.Record("a", 0, 0, 0)
    record.offset = 1  # type: ignore[misc]


if __name__ == "__main__":
    main()
'''


def where_mypy_finds_shmlog() -> dict[str, str]:
    """mypy does not see editable installations, which work by import hooks; it is shown the checkout then."""
    spec = importlib.util.find_spec("shmlog")
    assert spec
    assert spec.origin
    is_checkout = Path(spec.origin) == ROOT / "shmlog" / "__init__.py"
    return {"MYPYPATH": str(ROOT)} if is_checkout else {}


@pytest.mark.slow
def test_mypy_strict_passes_right_use_and_finds_wrong_use(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    # --strict reports ignores that nothing needs, so each `type: ignore` above is a claim that mypy objects there.
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "mypy",
            "--strict",
            "--follow-imports=silent",
            "--cache-dir",
            str(tmp_path / "cache"),
            program.name,
        ],
        cwd=tmp_path,
        env=os.environ | where_mypy_finds_shmlog(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout

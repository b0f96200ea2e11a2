"""Logs that a cluster of ours writes for Kafka's classes to judge.

A log that is to be judged, too, is one more entry of LOGS: settings of its topic, and records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

import shmlog

LIVES = 2
"""So often the cluster is started: each time the records are sent again, under another leader epoch."""
START_MS = int(psutil.Process().create_time()) * 1000 - 3_600_000
"""Recent: nothing here is old enough to be deleted, and no producer to be forgotten."""


@dataclass(frozen=True, slots=True)
class Sent:
    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def all_kinds(count: int) -> list[Sent]:
    """Keys and values, null and empty ones, with headers and without."""
    return [
        Sent(
            value=None if k % 7 == 3 else b"" if k % 7 == 4 else b"value %d " % k * 9,
            key=None if k % 3 == 1 else b"" if k % 11 == 0 else b"key %d" % (k % 5),
            headers=(("a", b"x"), ("b", None)) if k % 5 == 0 else (),
        )
        for k in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Log:
    """One topic with one partition."""

    config: dict[str, str]
    records: Callable[[], list[Sent]] = lambda: all_kinds(300)
    segments: int = 1


LOGS = {
    **{codec: Log({"compression.type": codec}) for codec in ("uncompressed", "gzip", "snappy", "lz4", "zstd")},
    "long": Log({"segment.bytes": "1048576"}, lambda: [Sent(b"v" * 3000, b"%d" % k) for k in range(500)], LIVES + 1),
    "sparse-index": Log({"index.interval.bytes": "100000"}, lambda: [Sent(b"v" * 900, None)] * 300),
}


def write_logs(data: Path) -> None:
    """A cluster of ours with LOGS as its topics, started LIVES times and closed."""
    for life in range(LIVES):
        with shmlog.start(data) as cluster:
            for name, log in LOGS.items():
                if life == 0:
                    cluster.admin.create_topic(name, config=dict(log.config))
                send(cluster, name, log.records())


def send(cluster: shmlog.Cluster, topic: str, records: list[Sent]) -> None:
    with cluster.producer() as producer:
        for number, record in enumerate(records):
            producer.send(
                topic, record.value, key=record.key, headers=list(record.headers), timestamp_ms=START_MS + number
            )
            if number % 37 == 0:
                producer.flush()  # so that there are several batches, some with one record

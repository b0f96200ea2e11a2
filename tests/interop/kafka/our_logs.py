"""Logs that a cluster of ours writes for Kafka's classes to judge.

A log that is to be judged, too, is one more entry of LOGS: settings of its topic, and records.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

import shmlog
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.storage import OsStorage
from shmlog.testing import wait_until

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

    @property
    def is_compacted(self) -> bool:
        return self.config.get("cleanup.policy") == "compact"

    @property
    def is_append_time(self) -> bool:
        """Whether records carry the owner's time instead of their own."""
        return self.config.get("message.timestamp.type") == "LogAppendTime"


TURNS = 6


def changes(turn: int) -> list[Sent]:
    """Of a compacted topic: some keys each time again, some only then, and some go; too noisy to become small."""
    noise = random.Random(turn)
    return [
        Sent(
            value=None if k % 9 == turn else noise.randbytes(4500).hex().encode(),
            key=b"%d" % (k if k % 3 else 100 * turn + k),
            headers=(("turn", b"%d" % turn),) if k % 5 == 0 else (),
        )
        for k in range(60)
    ]


def all_changes() -> list[Sent]:
    return [change for turn in range(TURNS) for change in changes(turn)]


COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": "1048576",
    "min.cleanable.dirty.ratio": "0.01",
    "flush.ms": "100",
}
LOGS = {
    **{codec: Log({"compression.type": codec}) for codec in ("uncompressed", "gzip", "snappy", "lz4", "zstd")},
    "long": Log({"segment.bytes": "1048576"}, lambda: [Sent(b"v" * 3000, b"%d" % k) for k in range(500)], LIVES + 1),
    "sparse-index": Log({"index.interval.bytes": "100000"}, lambda: [Sent(b"v" * 900, None)] * 300),
    "append-time": Log({"message.timestamp.type": "LogAppendTime", "compression.type": "lz4"}),
    "compacted": Log({**COMPACTED, "compression.type": "zstd"}, all_changes),
    "compacted-uncompressed": Log(COMPACTED, all_changes),
}
CLUSTER = {"log.cleaner.backoff.ms": 100, "log.cleaner.dedupe.buffer.size": 1_048_576}
CLEANED_TIMEOUT_S = 30.0


def write_logs(data: Path) -> None:
    """A cluster of ours with LOGS as its topics, started LIVES times and closed."""
    for life in range(LIVES):
        with shmlog.start(data, config=CLUSTER) as cluster:
            for name, log in LOGS.items():
                if life == 0:
                    cluster.admin.create_topic(name, config=dict(log.config))
                send(cluster, name, log.records())
            for name, log in LOGS.items():
                if log.is_compacted and life == LIVES - 1:
                    wait_until(partial(is_clean, data / f"{name}-0"), timeout_s=CLEANED_TIMEOUT_S)


def is_clean(directory: Path) -> bool:
    """Whether everything in front of the active segment was compacted."""
    active = max(int(path.stem) for path in directory.glob("*.log"))
    return active > 0 and read_compaction_checkpoint(OsStorage(), str(directory)).first_dirty_offset == active


def send(cluster: shmlog.Cluster, topic: str, records: list[Sent]) -> None:
    with cluster.producer() as producer:
        for number, record in enumerate(records):
            producer.send(
                topic, record.value, key=record.key, headers=list(record.headers), timestamp_ms=START_MS + number
            )
            if number % 37 == 0:
                producer.flush()  # so that there are several batches, some with one record

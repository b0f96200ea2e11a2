"""Seeking at random in one partition: how long until the record is in hand, by offset and by time, old and new."""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import shmlog
from shmlog import TopicPartition
from shmlog.errors import ShmlogError
from shmlog.testing.pacing import percentile

from .arena import cluster_in, say
from .cases import verdict
from .cold_cache import evict

TOPIC = "seek"
PLACE = TopicPartition(TOPIC, 0)
FIRST_MS = 1_700_000_000_000
RECORDS_PER_MS = 10
CHUNK_RECORDS = 5000
PENDING_CHUNKS = 20
FLUSH_TIMEOUT_S = 120.0
POLL_TIMEOUT_S = 10.0
TARGET_P99_US = 1000.0
LEAST_RECORDS = 1000
"""So many are in the ring, and so many in segments only: less is no place to seek in."""


class WrongRecordError(ShmlogError):
    """A seek gave another record than the one that was looked for."""

    name = "WRONG_RECORD"


@dataclass(frozen=True, slots=True)
class SeekPlan:
    """`records` of `size_bytes`, ten per millisecond of their timestamps; `seeks` of each kind."""

    records: int
    size_bytes: int
    seeks: int
    seed: int
    is_cold: bool


@dataclass(frozen=True, slots=True)
class SeekReport:
    """One row per kind of seek; what they have in common."""

    rows: list[dict[str, object]]
    facts: dict[str, object]


def measure(plan: SeekPlan, directory: Path) -> SeekReport:
    """Fill a partition through a producer, then seek. Raises WrongRecordError if a seek goes astray."""
    with cluster_in(directory, TOPIC, 1) as cluster:
        began = time.monotonic()
        _fill(cluster, plan, range(plan.records))
        filled_s = time.monotonic() - began
        records, oldest = _settle(cluster, plan)
        cache = evict(directory / "data") if plan.is_cold else "as the fill left it: warm as far as memory goes"
        rows: list[dict[str, object]] = []
        places = {"segments": range(oldest), "ring": range(oldest + RECORDS_PER_MS, records)}
        for where, offsets in places.items():
            for by, seek in (("offset", _by_offset), ("timestamp", _by_time)):
                say(f"{plan.seeks} seeks by {by} into the {where}")
                rows.append({"seek_by": by, "read_from": where, **_case(cluster, plan, seek, offsets)})
    facts: dict[str, object] = {
        "records": records,
        "bytes_per_record": plan.size_bytes,
        "filled_records_per_second": plan.records / filled_s,
        "page_cache": cache,
    }
    return SeekReport(rows, facts)


def timestamp_of(offset: int) -> int:
    """When the record at an offset claims to have been made."""
    return FIRST_MS + offset // RECORDS_PER_MS


def _fill(cluster: shmlog.Cluster, plan: SeekPlan, offsets: range) -> None:
    values = [b"." * plan.size_bytes] * CHUNK_RECORDS
    with cluster.producer() as producer:
        for number, first in enumerate(offsets[::CHUNK_RECORDS]):
            count = min(CHUNK_RECORDS, offsets.stop - first)
            times = [timestamp_of(offset) for offset in range(first, first + count)]
            producer.send_many(TOPIC, values[:count], timestamps_ms=times)
            if number % PENDING_CHUNKS == 0:
                producer.flush(FLUSH_TIMEOUT_S)
            if number % 1000 == 0:
                say(f"{first:,} of {offsets.stop:,} records written")


def _settle(cluster: shmlog.Cluster, plan: SeekPlan) -> tuple[int, int]:
    """Write on until the ring and the segments behind it have places to seek in: a ring that grew just now is empty,
    and a large one may still have everything. Returns the number of records and the oldest that is in the ring."""
    records = plan.records
    while True:
        oldest = _oldest_in_ring(cluster, records)
        if oldest >= LEAST_RECORDS and records - oldest >= LEAST_RECORDS:
            return records, oldest
        _fill(cluster, plan, range(records, records + CHUNK_RECORDS))
        records += CHUNK_RECORDS


def _oldest_in_ring(cluster: shmlog.Cluster, records: int) -> int:
    """The first offset that a consumer is given from the ring, `records` if there is none: found by bisection."""
    with cluster.consumer() as consumer:
        consumer.assign([PLACE])

        def is_in_ring(offset: int) -> bool:
            before = consumer.metrics()["ring_chunks"]
            consumer.seek(PLACE, offset)
            consumer.poll(max_records=1, timeout=POLL_TIMEOUT_S)
            return consumer.metrics()["ring_chunks"] > before

        return bisect.bisect_left(range(records), True, key=is_in_ring)


Seek = Callable[[shmlog.Consumer, int], None]


def _by_offset(consumer: shmlog.Consumer, offset: int) -> None:
    consumer.seek(PLACE, offset)


def _by_time(consumer: shmlog.Consumer, offset: int) -> None:
    found = consumer.offsets_for_times({PLACE: timestamp_of(offset)})[PLACE]
    assert found is not None
    consumer.seek(PLACE, found.offset)


def _case(cluster: shmlog.Cluster, plan: SeekPlan, seek: Seek, offsets: range) -> dict[str, object]:
    """From the call of seek (or of offsets_for_times) to the record in hand, through one consumer."""
    draw = random.Random(plan.seed)
    nanoseconds: list[int] = []
    with cluster.consumer() as consumer:
        consumer.assign([PLACE])
        consumer.poll(timeout=0.0)
        for _ in range(plan.seeks):
            offset = draw.choice(offsets)
            expected = offset if seek is _by_offset else offset - offset % RECORDS_PER_MS
            began_ns = time.perf_counter_ns()
            seek(consumer, offset)
            records = consumer.poll(max_records=1, timeout=POLL_TIMEOUT_S)
            value = records[0].value if records else None
            nanoseconds.append(time.perf_counter_ns() - began_ns)
            if not records or records[0].offset != expected or value is None or len(value) != plan.size_bytes:
                raise WrongRecordError(f"looked for offset {expected} and got {records}")
        counts = consumer.metrics()
    nanoseconds.sort()
    p50, p99 = percentile(nanoseconds, 0.5) / 1000, percentile(nanoseconds, 0.99) / 1000
    return {
        "seeks": plan.seeks,
        "p50_us": round(p50, 1),
        "p99_us": round(p99, 1),
        "most_us": round(nanoseconds[-1] / 1000, 1),
        "ring_chunks": counts["ring_chunks"],
        "segment_chunks": counts["segment_chunks"],
        "target_p99_us": TARGET_P99_US,
        "verdict": verdict(p99, TARGET_P99_US, at_least=False),
    }

"""Starting over a partition with many segments, and replacing the owner of a large and of a small partition.

The segments are written by the owner's own log writer (PartitionLog) while no cluster runs, one batch each, because a
producer cannot make small ones: `segment.bytes` is at least 1 MiB. A start that is not measured follows, so that
everything else in the directory is what an owner left behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import shmlog
from shmlog import TopicPartition
from shmlog.clock import wall_ms
from shmlog.log.checkpoint import read_topic_id
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig

from .arena import say
from .cases import verdict

LARGE, SMALL = "large", "small"
RECORDS_PER_SEGMENT, RECORD_BYTES = 100, 100
SYNC_EVERY = 200
READY_TIMEOUT_S = 120.0
TARGET_SEGMENTS, TARGET_MS = 50_000, 1000.0


@dataclass(frozen=True, slots=True)
class StartupPlan:
    """`evict` takes the data directory out of the page cache before each start and says what it did."""

    segments: int
    rounds: int
    evict: Callable[[Path], str] | None


@dataclass(frozen=True, slots=True)
class StartupReport:
    """Milliseconds per case; what the cases have in common."""

    rows: list[dict[str, object]]
    facts: dict[str, object]


def measure(plan: StartupPlan, directory: Path) -> StartupReport:
    """Prepare two clusters, start them in turn, then kill owners in turn."""
    homes = {SMALL: directory / SMALL, LARGE: directory / LARGE}
    for name, home in homes.items():
        with shmlog.start(home) as cluster:
            cluster.admin.create_topic(name)
            _first_record(cluster, name)
    say(f"writing {plan.segments:,} segments")
    write_segments(homes[LARGE], LARGE, plan.segments)
    with shmlog.start(homes[LARGE]) as cluster:
        _first_record(cluster, LARGE)
    starts: dict[str, list[float]] = {SMALL: [], LARGE: []}
    cache = "warm"
    for number in range(plan.rounds):
        for name, home in homes.items():
            say(f"start {number + 1} of {plan.rounds}: {name}")
            if plan.evict is not None:
                cache = plan.evict(home)
            starts[name].append(_start_ms(home, name))
    kills = _kill_owners(homes, plan.rounds)
    rows = [_row(f"start, {name}", values) for name, values in starts.items()]
    rows += [_row(f"owner killed, {name}", values) for name, values in kills.items()]
    added = statistics.median(starts[LARGE]) - statistics.median(starts[SMALL])
    facts: dict[str, object] = {
        "segments": plan.segments,
        "records_per_segment": RECORDS_PER_SEGMENT,
        "page_cache_before_starts": cache,
        "ms_for_the_segments": added,
        "target": f"{TARGET_SEGMENTS:,} segments add at most {TARGET_MS:,.0f} ms",
        "verdict": verdict(added, TARGET_MS, at_least=False)
        if plan.segments == TARGET_SEGMENTS
        else f"not judged with {plan.segments:,} segments",
        "owner_ratio": statistics.median(kills[LARGE]) / statistics.median(kills[SMALL]),
    }
    return StartupReport(rows, facts)


class SyncedAtTheEnd(OsStorage):
    """Leaves the syncs to one of the whole machine afterwards: three for each of 50,000 segments take minutes."""

    def fdatasync(self, fd: int) -> None:
        pass


def write_segments(data_dir: Path, topic: str, segments: int) -> None:
    """Append so many segments to partition 0 of a topic; no cluster may run there."""
    storage, place = SyncedAtTheEnd(), str(data_dir / f"{topic}-0")
    topic_id = read_topic_id(storage, place)
    assert topic_id is not None, f"{place} is no partition"
    log = PartitionLog.open(place, TopicConfig.from_mapping({}), topic_id=topic_id, storage=storage)
    records = [NewRecord(b"." * RECORD_BYTES, None, wall_ms()) for _ in range(RECORDS_PER_SEGMENT)]
    for number in range(segments):
        log.append(encode_batch(records, base_offset=log.log_end_offset))
        log.roll(log.log_end_offset)
        if number % SYNC_EVERY == 0:  # it holds the descriptors of what it has not synced
            log.sync(log.log_end_offset)
    log.close(clean=True)
    os.sync()


def _start_ms(home: Path, topic: str) -> float:
    """From shmlog.start to an acknowledged record: supervisor, zygote, owner, log, lane."""
    began = time.monotonic()
    with shmlog.start(home) as cluster:
        _first_record(cluster, topic)
        return (time.monotonic() - began) * 1000


def _first_record(cluster: shmlog.Cluster, topic: str) -> None:
    with cluster.producer() as producer:
        producer.send(topic, b"ready").result(READY_TIMEOUT_S)


def _kill_owners(homes: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """From SIGKILL to the next acknowledgement, through a producer that was open already; in turn."""
    kills: dict[str, list[float]] = {SMALL: [], LARGE: []}
    with contextlib.ExitStack() as stack:
        clusters = {name: stack.enter_context(shmlog.start(home)) for name, home in homes.items()}
        producers = {name: stack.enter_context(cluster.producer()) for name, cluster in clusters.items()}
        for name, producer in producers.items():
            producer.send(name, b"ready").result(READY_TIMEOUT_S)
        for _ in range(rounds):
            for name, producer in producers.items():
                owner = clusters[name].metrics()[TopicPartition(name, 0)]["pid"]
                began = time.monotonic()
                os.kill(owner, signal.SIGKILL)
                producer.send(name, b"after").result(READY_TIMEOUT_S)
                kills[name].append((time.monotonic() - began) * 1000)
    return kills


def _row(case: str, milliseconds: list[float]) -> dict[str, object]:
    return {
        "case": case,
        "median_ms": round(statistics.median(milliseconds), 1),
        "least_ms": round(min(milliseconds), 1),
        "most_ms": round(max(milliseconds), 1),
    }

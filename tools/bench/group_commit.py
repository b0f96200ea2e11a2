"""Commits of a consumer that is in a group, one after the other, each of one more record: how long each takes.

`asynchronous`: a store in the consumer's own commit cell. `committed`: until the coordinator has it in its log, as
acks=all asks. `synced`: the same with flush.messages=1 for the coordinator's topic, so that the disk has it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import shmlog
from shmlog.model import OFFSETS_TOPIC
from shmlog.testing.pacing import percentile

from .arena import cluster_in, say

TOPIC, GROUP = "commit", "committer"
READ_TIMEOUT_S = 30.0
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """`commits` of each kind."""

    commits: int


def measure(plan: CommitPlan, directory: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Rows in microseconds, and what they have in common."""
    with cluster_in(directory, TOPIC, 1) as cluster:
        with cluster.producer() as producer:
            producer.send_many(TOPIC, [b"."] * (3 * (plan.commits + WARM_UP)))
        with cluster.consumer(
            TOPIC, group_id=GROUP, enable_auto_commit=False, auto_offset_reset="earliest"
        ) as consumer:
            rows = [_row("asynchronous", *_commit(cluster, consumer, plan.commits, asynchronous=True))]
            rows.append(_row("committed", *_commit(cluster, consumer, plan.commits, asynchronous=False)))
            cluster.admin.alter_topic(OFFSETS_TOPIC, set={"flush.messages": 1})
            rows.append(_row("synced", *_commit(cluster, consumer, plan.commits, asynchronous=False)))
            expected = 3 * (plan.commits + WARM_UP)
            committed = consumer.committed()[shmlog.TopicPartition(TOPIC, 0)]
    assert committed is not None, "a group that has committed"
    return rows, {"commits": plan.commits, "last_offset": committed.offset, "lost": expected - committed.offset}


def _commit(
    cluster: shmlog.Cluster, consumer: shmlog.Consumer, commits: int, *, asynchronous: bool
) -> tuple[list[float], int]:
    """Microseconds of each commit after the first few, and how many records the coordinator wrote for all of them."""
    say(f"{commits} commits, {'asynchronous' if asynchronous else 'waited for'}")
    took_us, before = [], _records_written(cluster)
    for _ in range(WARM_UP + commits):
        (record,) = consumer.poll(max_records=1, timeout=READ_TIMEOUT_S)
        began_ns = time.perf_counter_ns()
        consumer.commit(record, asynchronous=asynchronous)
        took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    return sorted(took_us[WARM_UP:]), _records_written(cluster) - before


def _records_written(cluster: shmlog.Cluster) -> int:
    return cluster.metrics()[shmlog.TopicPartition(OFFSETS_TOPIC, 0)]["high_watermark"]


def _row(case: str, took_us: list[float], records: int) -> dict[str, object]:
    return {
        "case": case,
        "p50_us": round(percentile(took_us, 0.5), 2),
        "p99_us": round(percentile(took_us, 0.99), 2),
        "most_us": round(took_us[-1], 2),
        "records_written": records,
    }

"""Compaction of a topic with many records of fewer keys: how fast without a limit, and what producers notice within it.

fill     records of random keys, through a producer; none is compacted yet
compact  as fast as it goes: records and bytes per second, memory of the cleaner at its most
again    in another cluster within log.cleaner.io.max.bytes.per.second, beside a producer of another topic
"""

from __future__ import annotations

import random
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

import shmlog
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.storage import OsStorage
from shmlog.setting import LONG_MAX
from shmlog.testing import wait_until
from shmlog.testing.pacing import percentile
from shmlog.testing.worker_process import WorkerProcess

from .arena import say
from .cases import verdict
from .compaction_worker import MODULE
from .figures import Figures

TOPIC, OTHER = "compacted", "steady"
SEGMENT_BYTES = 16 << 20
RUN_RECORDS = 1000
LATER_MS = 3_600_000
TIMEOUT_S = 600.0
READY_TIMEOUT_S = 60.0
QUIET_S = 8.0
RATIO_MAX = 1.5


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """`records` of `size_bytes` (key and value), `keys` different ones."""

    records: int
    keys: int
    size_bytes: int
    seed: int


def measure(
    plan: CompactionPlan, directory: Path, figures: Figures
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Rows of producer latencies in milliseconds, and facts; speed goes into `figures`."""
    seconds, records, peak_bytes = _fastest(plan, directory / "fast")
    figures.records_per_second = records / seconds
    figures.megabytes_per_second = records * plan.size_bytes / seconds / 1e6
    quiet_ms, busy_ms, limited_s = _noticed(plan, directory / "limited")
    rows = [_row("nothing is compacted", quiet_ms), _row("compaction within its limit", busy_ms)]
    ratio = percentile(busy_ms, 0.99) / percentile(quiet_ms, 0.99)
    facts = {
        "records": plan.records,
        "keys": plan.keys,
        "cleaner_peak_bytes": peak_bytes,
        "seconds_without_limit": seconds,
        "seconds_within_limit": limited_s,
        "p99_ratio": ratio,
        "target_ratio": RATIO_MAX,
        "verdict": verdict(ratio, RATIO_MAX, at_least=False),
    }
    return rows, facts


def _fastest(plan: CompactionPlan, directory: Path) -> tuple[float, int, int]:
    """Seconds, records that were cleaned, and the cleaner's memory at its most."""
    config = {"log.cleaner.backoff.ms": 100, "log.cleaner.io.max.bytes.per.second": LONG_MAX}
    with shmlog.start(directory, config=config) as cluster:
        _fill(plan, cluster)
        say("compacting without a limit")
        seconds, end_offset = _compact(cluster)
        return seconds, end_offset, _peak_bytes(cluster)


def _noticed(plan: CompactionPlan, directory: Path) -> tuple[list[float], list[float], float]:
    """Milliseconds of each record of another topic, ascending: before, and while a topic is compacted; and how long."""
    times_file = directory.parent / "times"
    with shmlog.start(directory, config={"log.cleaner.backoff.ms": 100}) as cluster:
        _fill(plan, cluster)
        cluster.admin.create_topic(OTHER)
        order = {"cluster": cluster.name, "topic": OTHER, "size_bytes": plan.size_bytes, "times": str(times_file)}
        with WorkerProcess(MODULE, orjson.dumps(order).decode(), label="producer") as producer:
            producer.receive(READY_TIMEOUT_S)
            say("a producer beside it, first without compaction")
            time.sleep(QUIET_S)
            began = time.monotonic()
            seconds, _ = _compact(cluster)
            producer.send(stop=True)
            producer.receive(READY_TIMEOUT_S)
    times = array("d")
    times.frombytes(times_file.read_bytes())
    sent = list(zip(times[::2], times[1::2], strict=True))
    quiet = sorted(1000 * took for at, took in sent if at < began)
    busy = sorted(1000 * took for at, took in sent if began <= at < began + seconds)
    return quiet, busy, seconds


def _fill(plan: CompactionPlan, cluster: shmlog.Cluster) -> None:
    say(f"{plan.records:,} records of {plan.keys:,} keys")
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": SEGMENT_BYTES,
        "min.cleanable.dirty.ratio": 0,
        "min.compaction.lag.ms": LATER_MS,
        "flush.ms": 100,
    }
    cluster.admin.create_topic(TOPIC, config=config)
    chance, digits = random.Random(plan.seed), len(str(plan.keys))
    value = b"." * max(0, plan.size_bytes - digits)
    with cluster.producer() as producer:
        for _ in range(0, plan.records, RUN_RECORDS):
            keys = [b"%0*d" % (digits, chance.randrange(plan.keys)) for _ in range(RUN_RECORDS)]
            producer.send_many(TOPIC, [value] * RUN_RECORDS, keys=keys)
        producer.flush(TIMEOUT_S)


def _compact(cluster: shmlog.Cluster) -> tuple[float, int]:
    """From the setting that lets it to the checkpoint that says it; and where the active segment begins."""
    log_dir = cluster.admin.describe_topic(TOPIC).partitions[0].log_dir
    newest = max(int(path.stem) for path in Path(log_dir).glob("*.log"))
    began = time.monotonic()
    cluster.admin.alter_topic(TOPIC, set={"min.compaction.lag.ms": 0})
    wait_until(
        lambda: read_compaction_checkpoint(OsStorage(), log_dir).first_dirty_offset >= newest,
        timeout_s=TIMEOUT_S,
        what=f"compaction up to offset {newest}",
    )
    return time.monotonic() - began, newest


def _peak_bytes(cluster: shmlog.Cluster) -> int:
    """The most memory that the cleaner has had."""
    children = psutil.Process(cluster.describe().pid).children()
    (cleaner,) = [one for one in children if "shmlog.workers.cleaner" in one.cmdline()]
    status = Path(f"/proc/{cleaner.pid}/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _row(case: str, values_ms: list[float]) -> dict[str, object]:
    return {
        "case": case,
        "records": len(values_ms),
        "p50_ms": percentile(values_ms, 0.5),
        "p99_ms": percentile(values_ms, 0.99),
        "most_ms": values_ms[-1],
    }

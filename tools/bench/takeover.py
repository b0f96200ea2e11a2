"""Supervisors killed with a standby beside them: how long until a topic can be created, and what consumers notice.

The cluster is a daemon, as only a daemon has standbys. Records flow all the time, one a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import shmlog
from shmlog.control import life
from shmlog.control.paths import RuntimePaths, runtime_paths
from shmlog.errors import BrokerNotAvailableError, NoClusterError
from shmlog.testing import wait_until
from shmlog.testing.pacing import percentile

from .arena import say
from .cases import verdict

NAME, TOPIC = "takeover", "steady"
PACE_S = 0.001
QUIET_S = 0.5  # between two kills, and between a kill and the next look at what a consumer noticed
TARGET_MS = 200.0


@dataclass(frozen=True, slots=True)
class TakeoverPlan:
    """`partitions` are those that records flow through meanwhile."""

    rounds: int
    partitions: int


@dataclass(slots=True)
class _Traffic:
    """A producer and a consumer, a thread each, and the pauses that the consumer saw: (when it ended, how long)."""

    partitions: int
    stop: threading.Event = field(default_factory=threading.Event)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    sent: int = 0
    read: int = 0

    def produce(self) -> None:
        with shmlog.connect(NAME) as cluster, cluster.producer() as producer:
            while not self.stop.is_set():
                producer.send(TOPIC, b"%d" % self.sent, partition=self.sent % self.partitions)
                self.sent += 1
                time.sleep(PACE_S)
            producer.flush(30.0)

    def consume(self) -> None:
        with shmlog.connect(NAME) as cluster, cluster.consumer(TOPIC, consumer_timeout_ms=2000) as consumer:
            before = time.monotonic()
            for _ in consumer:
                now = time.monotonic()
                self.pauses.append((now, now - before))
                before = now
                self.read += 1

    def longest_ms(self, start: float, end: float) -> float:
        return 1000 * max((pause for at, pause in self.pauses if start <= at <= end), default=0.0)


def measure(plan: TakeoverPlan, directory: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Rows in milliseconds, and what they have in common."""
    with _daemon(directory) as runtime, shmlog.connect(NAME) as cluster:
        cluster.admin.create_topic(TOPIC, plan.partitions)
        traffic = _Traffic(plan.partitions)
        threads = [threading.Thread(target=work) for work in (traffic.produce, traffic.consume)]
        for thread in threads:
            thread.start()
        try:
            took_ms, noticed_ms, quiet_ms = _kill(plan, cluster, runtime, traffic)
        finally:
            traffic.stop.set()
            for thread in threads:
                thread.join()
    rows = [
        _row("kill to a new topic", took_ms),
        _row("longest pause of a consumer over a kill", noticed_ms),
        _row("longest pause of a consumer without", quiet_ms),
    ]
    p99_ms = percentile(sorted(took_ms), 0.99)
    facts = {
        "rounds": plan.rounds,
        "partitions": plan.partitions,
        "records": traffic.sent,
        "unread": traffic.sent - traffic.read,
        "target_ms": TARGET_MS,
        "verdict": verdict(p99_ms, TARGET_MS, at_least=False),
    }
    return rows, facts


def _kill(
    plan: TakeoverPlan, cluster: shmlog.Cluster, runtime: RuntimePaths, traffic: _Traffic
) -> tuple[list[float], list[float], list[float]]:
    took_ms, noticed_ms, quiet_ms = [], [], []
    for number in range(plan.rounds):
        wait_until(lambda: life.holder(runtime.standby(0)), timeout_s=30.0, what="a standby")
        say(f"kill {number + 1} of {plan.rounds}")
        quiet = time.monotonic()
        time.sleep(QUIET_S)
        killed = time.monotonic()
        os.kill(life.holder(runtime.supervisor_lock) or 0, signal.SIGKILL)
        while True:
            with contextlib.suppress(BrokerNotAvailableError, NoClusterError):  # it died over this request
                cluster.admin.create_topic(f"round-{number}")
                break
        took_ms.append(1000 * (time.monotonic() - killed))
        time.sleep(QUIET_S)
        quiet_ms.append(traffic.longest_ms(quiet, killed))
        noticed_ms.append(traffic.longest_ms(killed, time.monotonic()))
    return took_ms, noticed_ms, quiet_ms


def _row(case: str, values_ms: list[float]) -> dict[str, object]:
    ordered = sorted(values_ms)
    return {
        "case": case,
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
        "most_ms": ordered[-1],
    }


@contextlib.contextmanager
def _daemon(directory: Path) -> Iterator[RuntimePaths]:
    """A cluster with a standby, its control socket below `directory`, where connect() finds it meanwhile."""
    before = os.environ.get("SHMLOG_RUNTIME_DIR")
    os.environ["SHMLOG_RUNTIME_DIR"] = str(directory / "run")
    shell = [sys.executable, "-P", "-m", "shmlog.cli.main"]
    up = ["up", "--detach", "--name", NAME, "--data-dir", str(directory / "data"), "--standbys", "1"]
    try:
        subprocess.run([*shell, *up], check=True, stdout=subprocess.DEVNULL)
        try:
            yield runtime_paths(NAME)
        finally:
            subprocess.run([*shell, "down", "--name", NAME], check=True, stdout=subprocess.DEVNULL)
    finally:
        if before is None:
            del os.environ["SHMLOG_RUNTIME_DIR"]
        else:
            os.environ["SHMLOG_RUNTIME_DIR"] = before

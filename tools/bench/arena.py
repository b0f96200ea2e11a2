"""Where a benchmark happens: an embedded cluster in a directory of its own, which is removed."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import shmlog

from . import calibration
from .figures import Figures


@contextlib.contextmanager
def scratch_directory(parent: str | None) -> Iterator[Path]:
    """A directory in `parent` (default: the system's for temporary files), removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="shmlog-bench-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def cluster_in(
    directory: Path, topic: str, partitions: int, replication_factor: int = 1, **config: object
) -> Iterator[shmlog.Cluster]:
    """An embedded cluster with one topic; its data stays in `directory` when it has ended: in /data, and the logs in a
    directory for each replica if there are several."""
    disks = [str(directory / f"disk-{number}") for number in range(replication_factor)]
    settings = {"log.dirs": disks} if replication_factor > 1 else {}
    with shmlog.start(directory / "data", config=settings) as cluster:
        cluster.admin.create_topic(topic, partitions, replication_factor, config)
        yield cluster


def calibrate(figures: Figures, directory: Path) -> None:
    """Fill in the three figures of the machine."""
    say("calibrating")
    figures.loop_ns = calibration.loop_ns()
    figures.copy_gbps = calibration.copy_gbps(directory)
    figures.wake_us = calibration.wake_us()


def say(what: str) -> None:
    """Progress, for people only."""
    if sys.stderr.isatty():
        print(f"bench: {what}", file=sys.stderr)


def cpu_ns_of(pid: int) -> int:
    """CPU time that another process has used, all threads, in nanoseconds."""
    return time.clock_gettime_ns(~pid << 3 | 2)  # the kernel's clock id of a process (CPUCLOCK_SCHED)

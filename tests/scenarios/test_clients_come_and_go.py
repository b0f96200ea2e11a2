"""Clients that live for a moment, hundreds of them in a row, each leaving in its own way: nothing of them remains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import shmlog
from shmlog.memory import names, region
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

PROGRAM_S = 600.0
DEADLINE_S = 30.0
GROWTH_BYTES_MAX = 3 << 20
"""What a process may grow over hundreds of clients: its allocator's arenas, but not a page for each of them."""

ONE_AFTER_THE_OTHER = """
import os, signal, sys
import shmlog

def live(number):
    cluster = shmlog.connect("t")
    producer, consumer = cluster.producer(linger_ms=1000 * (number % 2)), cluster.consumer("flights")
    producer.send("flights", b"%d" % number)
    consumer.poll(timeout=1.0)
    leave = number % 4
    if leave == 0:
        cluster.close()
    elif leave == 1:
        sys.exit()  # without close: what was accepted is delivered
    elif leave == 2:
        os._exit(0)
    else:
        os.kill(os.getpid(), signal.SIGKILL)

for number in range(int(sys.argv[1]), int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        live(number)
        sys.exit()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (-signal.SIGKILL if number % 4 == 3 else 0), status
"""


def run_clients(first: int, stop: int) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", ONE_AFTER_THE_OTHER, str(first), str(stop)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PROGRAM_S,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "count", [pytest.param(100, marks=pytest.mark.slow), pytest.param(1000, marks=pytest.mark.long)]
)
def test_clients_that_come_and_go_leave_nothing_behind(
    real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        owners = [partition.pid for partition in cluster.admin.describe_topic("flights").partitions]
        watched = [psutil.Process(pid) for pid in [real_daemon.pid, *owners]]

        info = cluster.describe()
        tag = names.cluster_tag(info.cluster_id, info.runtime_dir)

        def left() -> tuple[list[str], list[str], int, list[int], list[int]]:
            return (
                [name for name, _ in region.list_regions(tag)],
                os.listdir(real_daemon.runtime.lives),
                len(cluster.describe().clients),
                [process.num_fds() for process in watched],
                [len(Path(f"/proc/{process.pid}/maps").read_text().splitlines()) for process in watched],
            )

        before = left()
        run_clients(0, 20)  # so that every table and arena has its size
        wait_until(lambda: left()[:4] == before[:4], timeout_s=DEADLINE_S)
        before, memory = left(), [process.memory_info().rss for process in watched]
        run_clients(20, 20 + count)
        wait_until(lambda: left()[:4] == before[:4], timeout_s=DEADLINE_S)
        maps = zip(left()[4], before[4], strict=True)
        assert all(after <= earlier + 8 for after, earlier in maps), (before, left())
        grown = [process.memory_info().rss - earlier for process, earlier in zip(watched, memory, strict=True)]
        assert max(grown) < GROWTH_BYTES_MAX, grown
        assert sorted(int(record.value) for record in read_all(cluster, "flights")) == list(range(20 + count))

"""Clients that write anything into the regions that are theirs, or cut them: owners live, others do not notice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.cli.main import run
from shmlog.memory import layout, region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

TIMEOUT_S = 60.0

HOSTILE_CLIENT = """
import os, re, signal, shmlog
cluster = shmlog.connect("t")
producer = cluster.producer()
producer.send("calm", b"hostile").result(20.0)
regions = sorted(set(re.findall(r"/dev/shm/(shmlog[.][0-9a-f]+[.][lc][0-9]+)", open("/proc/self/maps").read())))
for region in regions:
    os.truncate("/dev/shm/" + region, 0)
print(*regions, flush=True)
signal.pause()
"""


@pytest.fixture
def daemon(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A running supervisor that shmlog.connect("t") finds."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    real_daemon.start()
    return real_daemon


def round_trip(producer: shmlog.Producer, consumer: shmlog.Consumer, values: list[bytes]) -> None:
    """Send these; they arrive, among whatever else does."""
    for value in values:
        producer.send("calm", value)
    producer.flush(TIMEOUT_S)
    found: list[bytes | None] = []

    def all_there() -> bool:
        found.extend(record.value for record in consumer.poll(timeout=0.1))
        return [value for value in found if value in values] == values

    wait_until(all_there, timeout_s=TIMEOUT_S)


def owner_pid(cluster: shmlog.Cluster) -> int:
    return cluster.admin.describe_topic("calm").partitions[0].pid


def test_a_client_that_cuts_its_lane_and_its_region_ends_neither_owner_nor_supervisor(daemon: Daemon) -> None:
    """Regression: the owner died of SIGBUS at its next look at the lane."""
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("calm")
        with cluster.producer() as producer, cluster.consumer("calm") as consumer:
            round_trip(producer, consumer, [b"1"])
            owner = owner_pid(cluster)
            process = subprocess.Popen([sys.executable, "-P", "-c", HOSTILE_CLIENT], stdout=subprocess.PIPE, text=True)
            with killed_afterwards(process):
                assert process.stdout is not None
                cut = process.stdout.readline().split()
                assert len(cut) == 2
                for number in range(2, 30):
                    round_trip(producer, consumer, [b"%d" % number])
                assert owner_pid(cluster) == owner
            wait_until(lambda: not any(Path("/dev/shm", name).exists() for name in cut))
            round_trip(producer, consumer, [b"last"])
            assert owner_pid(cluster) == owner


def test_whatever_stands_in_the_bell_records_arrive_and_a_successor_starts(daemon: Daemon) -> None:
    """Regression: a bell whose header was overwritten kept every new client and every new owner out."""
    random, over = Random(1), threading.Event()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("calm")
        tag = daemon.peer().welcome.cid8
        (bell_name,) = [name for name, _ in region.list_regions(tag) if name.endswith(".bell")]
        bell = region.open_region(bell_name, writable=True)

        def scribble() -> None:
            while not over.is_set():
                bell.store(random.randrange(0, layout.BELL_SIZE, 8), random.getrandbits(64))

        thread = threading.Thread(target=scribble, daemon=True)
        thread.start()
        try:
            with cluster.producer() as producer, cluster.consumer("calm") as consumer:
                round_trip(producer, consumer, [b"1", b"2"])
                before = owner_pid(cluster)
                os.kill(before, signal.SIGKILL)
                wait_until(lambda: owner_pid(cluster) not in (0, before))
                round_trip(producer, consumer, [b"3"])
            with cluster.producer() as producer, cluster.consumer("calm") as consumer:
                round_trip(producer, consumer, [b"4"])
        finally:
            over.set()
            thread.join()


def test_what_looks_into_regions_makes_the_best_of_garbage(daemon: Daemon, capfd: pytest.CaptureFixture[str]) -> None:
    """Regression: a lane whose state is no state ended `shmlog memory` with a traceback."""
    random = Random(2)
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("calm")
        with cluster.producer() as producer, cluster.consumer("calm") as consumer:
            round_trip(producer, consumer, [b"1"])

            def spoil() -> None:
                for name, size in region.list_regions(daemon.peer().welcome.cid8):
                    if re.search(r"[.][cl]\d+$", name):
                        mapping = region.open_region(name, writable=True)
                        first = layout.CLIENT_SLOTS if ".c" in name else layout.LANE_HEAD
                        last = size if ".c" in name else layout.LANE_DATA
                        for at in range(first, last, 8):
                            mapping.store(at, random.getrandbits(64))

            for command in (
                "status",
                "status -o json",
                "top --once --interval 0.05",
                "memory dump",
                "memory dump -o json",
            ):
                spoil()  # again each time, because the owner puts right what it sees
                assert run([*command.split(), "--name", "t"]) == 0, command
            out, err = capfd.readouterr()
            assert "unknown (" in out
            assert "Traceback" not in err

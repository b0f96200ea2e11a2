"""Profiles of running clusters: every hop of records that really go their way, and whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shmlog
from shmlog.cli.profile.hops import HOPS, durations
from shmlog.cli.profile.recorded import Recorded, load
from shmlog.memory import names
from shmlog.memory.control_page import ControlPage
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

PROGRAM = [sys.executable, "-P", "-m", "shmlog.cli.main", "profile"]


def recording(cluster: str, file: Path, seconds: float, *arguments: str) -> subprocess.Popen[str]:
    command = [*PROGRAM, "record", "--name", cluster, "--seconds", str(seconds), "-o", str(file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def has_samples(file: Path) -> bool:
    return file.exists() and b"taken_ns" in file.read_bytes()


class Traffic:
    """A producer and a consumer of topic orders, which take a step whenever somebody waits."""

    def __init__(self, cluster: shmlog.Cluster, undo: ExitStack) -> None:
        self.producer = undo.enter_context(cluster.producer())
        self.consumer = undo.enter_context(cluster.consumer("orders"))
        self.sent = self.read = 0

    def step(self) -> None:
        for _ in range(20):
            self.producer.send("orders", b"x" * 100)
            self.sent += 1
            self.read += len(self.consumer.poll())

    def until(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            self.step()
            return condition()

        wait_until(holds, timeout_s=60.0, what=what)

    def drain(self) -> None:
        self.producer.flush(30.0)
        while self.read < self.sent:
            found = self.consumer.poll(timeout=30.0)
            assert found, f"{self.sent - self.read} of {self.sent} records did not come"
            self.read += len(found)


def stride(cluster: shmlog.Cluster) -> int:
    info = cluster.describe()
    (partition, *_) = cluster.admin.describe_topic("orders").partitions
    page = ControlPage.open(names.cluster_tag(info.cluster_id, info.runtime_dir), partition.partition_id)
    try:
        return page.trace_stride
    finally:
        page.close()


def assert_plausible(found: Recorded) -> None:
    """Every hop was seen, in the order of the way, and no longer than the test took."""
    hops = durations(found.samples, found.readings)
    assert hops.impossible == 0
    for hop in HOPS:
        assert hops.ns[hop], f"nothing went from {hop[0]} to {hop[1]}"
        assert 0 <= min(hops.ns[hop]) <= max(hops.ns[hop]) < 120e9
    offsets = [sample.offset for sample in found.samples if sample.partition == found.samples[0].partition]
    assert offsets == sorted(set(offsets))


@pytest.mark.slow
def test_every_hop_of_a_running_cluster_is_recorded_and_reported(tmp_path: Path) -> None:
    file = tmp_path / "a.profile"
    with shmlog.start(tmp_path / "data") as cluster, ExitStack() as undo:
        for topic in ("orders", "others"):
            cluster.admin.create_topic(topic, partitions=2)
        traffic = Traffic(cluster, undo)
        recorder = undo.enter_context(killed_afterwards(recording(cluster.name, file, 2, "--topic", "orders")))
        traffic.until(lambda: recorder.poll() is not None, "the end of the recording")
        said, complaints = recorder.communicate()
        assert (recorder.returncode, complaints) == (0, "")
        assert f"look: shmlog profile report {file}" in said
        wait_until(lambda: stride(cluster) == 0, what="the end of tracing")
        traffic.drain()
    found = load(file)
    assert_plausible(found)
    assert {"orders-0", "orders-1"} >= set(found.partitions()) != set()
    assert found.seconds is not None
    assert found.seconds >= 1.9, "as long as it was told to, or more on a busy machine"
    shown = subprocess.run([*PROGRAM, "report", str(file)], capture_output=True, text=True, check=True).stdout
    for begin, end in HOPS:
        assert f"\n{begin} > {end}  " in shown


@pytest.mark.slow
def test_a_profiler_that_is_killed_leaves_nothing_on_and_a_file_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.profile"
    with shmlog.start(tmp_path / "data") as cluster, ExitStack() as undo:
        cluster.admin.create_topic("orders")
        traffic = Traffic(cluster, undo)
        recorder = undo.enter_context(killed_afterwards(recording(cluster.name, file, 600)))
        traffic.until(lambda: has_samples(file), "samples")
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()
        traffic.until(lambda: stride(cluster) == 0, "the end of the lease")
        traffic.drain()
    found = load(file)
    assert found.seconds is None
    assert durations(found.samples, found.readings).impossible == 0
    shown = subprocess.run([*PROGRAM, "report", str(file)], capture_output=True, text=True, check=True).stdout
    assert "The recorder was killed" in shown


@pytest.mark.slow
def test_recording_goes_on_over_the_death_of_an_owner(tmp_path: Path) -> None:
    file = tmp_path / "a.profile"
    with shmlog.start(tmp_path / "data") as cluster, ExitStack() as undo:
        cluster.admin.create_topic("orders")
        traffic = Traffic(cluster, undo)
        recorder = undo.enter_context(killed_afterwards(recording(cluster.name, file, 600)))
        traffic.until(lambda: has_samples(file), "samples")
        (partition,) = cluster.admin.describe_topic("orders").partitions
        os.kill(partition.pid, signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        traffic.until(lambda: any(one.taken_ns > killed_ns for one in load(file).samples), "samples of the successor")
        recorder.send_signal(signal.SIGINT)
        traffic.until(lambda: recorder.poll() is not None, "the end of the recording")
        assert recorder.returncode == 0, recorder.communicate()
        recorder.communicate()
        traffic.drain()
    assert_plausible(load(file))


@pytest.mark.slow
def test_recording_goes_on_over_the_death_of_the_supervisor(real_daemon: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "a.profile"
    real_daemon.start()
    with ExitStack() as undo:
        undo.enter_context(pytest.MonkeyPatch.context()).setenv(
            "SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run")
        )
        cluster = undo.enter_context(shmlog.connect("t"))
        cluster.admin.create_topic("orders")
        traffic = Traffic(cluster, undo)
        recorder = undo.enter_context(killed_afterwards(recording("t", file, 600)))
        traffic.until(lambda: has_samples(file), "samples")
        real_daemon.kill()
        killed_ns = time.monotonic_ns()
        traffic.until(lambda: any(one.taken_ns > killed_ns for one in load(file).samples), "samples of orphans")
        real_daemon.start()
        again_ns = time.monotonic_ns()
        traffic.until(
            lambda: any(one.taken_ns > again_ns + 6_000_000_000 for one in load(file).samples),
            "samples after the first lease",
        )
        recorder.send_signal(signal.SIGINT)
        traffic.until(lambda: recorder.poll() is not None, "the end of the recording")
        assert recorder.returncode == 0, recorder.communicate()
        recorder.communicate()
        traffic.drain()
    assert_plausible(load(file))


def test_a_topic_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        with killed_afterwards(recording(cluster.name, tmp_path / "a.profile", 600, "--topic", "nowhere")) as recorder:
            _, complaints = recorder.communicate(timeout=60.0)
            assert recorder.returncode == 1
            assert "'nowhere'" in complaints
        with pytest.raises(shmlog.UnknownTopicOrPartitionError):
            cluster.admin.trace(["nowhere"])
        with pytest.raises(shmlog.InvalidArgumentError, match="lease_ms"):
            cluster.admin.trace(lease_ms=3_600_000)


def test_the_shell_completes_partitions_of_the_running_cluster(tmp_path: Path) -> None:
    with shmlog.start(tmp_path / "data") as cluster:
        for topic in ("orders", "others"):
            cluster.admin.create_topic(topic, partitions=2)
        words = f"shmlog profile flame --name {cluster.name} --partition or"
        asked = {"_SHMLOG_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "6"}
        said = subprocess.run(PROGRAM[:-1], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert said.stdout.split() == ["plain,orders-0", "plain,orders-1"], said.stderr


def test_a_flame_graph_is_drawn_or_it_is_said_what_is_missing(tmp_path: Path) -> None:
    picture = tmp_path / "flame.svg"
    has_tool = Path(sys.executable).with_name("py-spy").exists()
    with shmlog.start(tmp_path / "data") as cluster:
        cluster.admin.create_topic("orders")
        asked = subprocess.run(
            [*PROGRAM, "flame", "--name", cluster.name, "--seconds", "1", "-o", str(picture)],
            env={**os.environ, "PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    if asked.returncode == 0:
        assert has_tool
        assert picture.read_text().startswith("<svg ")
    else:
        assert (
            "may not look at the owner of orders-0" if has_tool else "pip install 'shmlog[profile]'"
        ) in asked.stderr
        assert not picture.exists()

"""The cluster under torture: a daemon of its own, started as an operator would, watched through the kernel.

Who owns what is read from life locks, never asked of anybody who may be stopped. The daemon and all that it starts run
with the fault shim in front of libc; so do the clients, with a page of their own, which only sets their clock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson
import psutil

import shmlog
from shmlog.cli.counters import region_tag
from shmlog.cli.down import stop_process
from shmlog.cli.torture.patience import connect_patiently
from shmlog.cli.torture.profile import Profile
from shmlog.control import life
from shmlog.control.paths import runtime_paths
from shmlog.errors import ShmlogError
from shmlog.memory import region
from shmlog.model import TopicPartition
from shmlog.native import fault_shim

DOWN_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 10.0
OWNER_NAMES = "shmlog-p"


class Stage:
    """Directories and processes of one cluster. To be used as a context, which leaves nothing of it but its files."""

    def __init__(self, profile: Profile, scratch: Path, data_dir: Path | None) -> None:
        self.profile = profile
        self.scratch = scratch
        self.data_dir = data_dir if data_dir is not None else scratch / "data"
        self.name = f"torture-{os.getpid()}-{secrets.token_hex(3)}"
        self.runtime = runtime_paths(self.name)
        self.log_file = self.data_dir / "supervisor.log"
        self.partition_ids: dict[TopicPartition, int] = {}
        self.tag = ""
        self._up: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed at exit)

    def __enter__(self) -> Stage:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.faults = fault_shim.FaultOrders(str(self.scratch / "faults"), str(self.data_dir))
        self.clients_clock = fault_shim.FaultOrders(str(self.scratch / "clients-clock"), str(self.data_dir))
        config = self.scratch / "shmlog.toml"
        lines = [
            f"{orjson.dumps(name).decode()} = {orjson.dumps(value).decode()}"
            for name, value in self.profile.cluster.items()
        ]
        config.write_text("[cluster]\n" + "\n".join(lines) + "\n")
        preload = " ".join(filter(None, [fault_shim.LIBRARY, os.environ.get("LD_PRELOAD", "")]))
        self._environment = {**os.environ, "LD_PRELOAD": preload, fault_shim.VARIABLE: self.faults.path}
        self.clients_environment = {"LD_PRELOAD": preload, fault_shim.VARIABLE: self.clients_clock.path}
        self._command = [sys.executable, "-P", "-m", "shmlog.cli.main", "up", "--detach", "--name", self.name]
        self._command += ["--data-dir", str(self.data_dir), "--config", str(config)]
        if self.profile.standbys:
            self._command += ["--standbys", str(self.profile.standbys)]
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever still runs, and take its shared memory away."""
        self.stop_coming_up()
        for pid in self.everybody():
            kill_and_wait(pid)
        for pid in self.everybody():  # who was just being started
            kill_and_wait(pid)
        if self.tag:
            region.sweep(self.tag)
        shutil.rmtree(self.runtime.directory, ignore_errors=True)
        self._said.close()

    # --- start and end ------------------------------------------------------------------------------------------------

    def begin_up(self) -> None:
        """Run `shmlog up --detach`; is_coming_up() says how far it is."""
        self._said.seek(0)
        self._said.truncate()
        self._up = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env=self._environment,
            start_new_session=True,
        )

    def is_coming_up(self) -> bool:
        """Whether `shmlog up` still runs."""
        return self._up is not None and self._up.poll() is None

    def stop_coming_up(self) -> None:
        """Kill a running `shmlog up`, but nothing that it started."""
        if self._up is not None and self._up.poll() is None:
            self._up.kill()
            self._up.wait()

    def last_words(self) -> str:
        """What the last `shmlog up` said when it failed; empty if it did not."""
        if self._up is None or self._up.poll() in (None, 0):
            return ""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"`shmlog up` exited with {self._up.returncode}"

    def begin(self) -> None:
        """Start the cluster for the first time and create the topics. Raises ShmlogError."""
        self.begin_up()
        assert self._up is not None
        self._up.wait()
        if words := self.last_words():
            raise ShmlogError(f"the cluster to be tortured does not start: {words.removeprefix('error: ')}")
        with self.connect() as cluster:
            self.tag = region_tag(cluster.describe())
            for name, topic in self.profile.topics.items():
                info = cluster.admin.create_topic(
                    name, topic.partitions, self.profile.replicas, config=dict(topic.config)
                )
                for partition in info.partitions:
                    self.partition_ids[TopicPartition(name, partition.partition)] = partition.partition_id

    def down(self) -> str:
        """Stop it as `shmlog down` does; returns what was wrong with that, or an empty string."""
        pid = self.supervisor_pid()
        if not pid:
            return "the supervisor was gone before `shmlog down`"
        try:
            stop_process(pid, DOWN_TIMEOUT_S)
        except ShmlogError as error:
            return f"`shmlog down`: {error}"
        if left := [name for name, _ in region.list_regions(self.tag)]:
            return f"`shmlog down` left {len(left)} regions in shared memory: {', '.join(left[:5])}"
        if alive := [pid for pid in self.everybody() if not _is_dead(pid)]:
            return f"`shmlog down` left processes: {', '.join(map(str, alive))}"
        return ""

    def connect(self) -> shmlog.Cluster:
        """A client of the cluster, which comes up meanwhile."""
        return connect_patiently(self.name)

    # --- who is who ---------------------------------------------------------------------------------------------------

    def supervisor_pid(self) -> int | None:
        """The process that holds the supervisor's lock."""
        return life.holder(self.runtime.supervisor_lock)

    def has_standby(self) -> bool:
        """Whether a supervisor waits for its turn."""
        return any(life.holder(self.runtime.standby(number)) for number in range(self.profile.standbys))

    def owner_pid(self, place: TopicPartition) -> int | None:
        """The process that holds the life lock of a partition's owner."""
        return life.holder(self.runtime.owner(self.partition_ids[place]))

    def coordinator_pid(self) -> int | None:
        """The process that holds the life lock of the one partition that is not ours: the coordinator's."""
        ours = set(self.partition_ids.values())
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.runtime.owners):
                if name.isdigit() and int(name) not in ours:
                    return life.holder(self.runtime.owner(int(name)))
        return None

    def follower_pid(self, place: TopicPartition, number: int) -> int | None:
        """One of the processes that hold life locks of a partition's followers; None if there is none."""
        holders = [self._follower_pid(place, replica_id) for replica_id in range(self.profile.replicas)]
        pids = [pid for pid in holders if pid]
        return pids[number % len(pids)] if pids else None

    def worker_pid(self, place: TopicPartition, replica_id: int) -> int | None:
        """The process over a replica's log, also if that leads."""
        return self._follower_pid(place, replica_id) or self.owner_pid(place)

    def _follower_pid(self, place: TopicPartition, replica_id: int) -> int | None:
        return life.holder(self.runtime.follower(self.partition_ids[place], replica_id))

    def zygote_pid(self) -> int | None:
        """The supervisor's child that runs the zygote's module and is no owner."""
        supervisor = self.supervisor_pid()
        if not supervisor:
            return None
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(supervisor).children():
                with contextlib.suppress(psutil.Error):
                    if "shmlog.workers.zygote" in child.cmdline() and not child.name().startswith(OWNER_NAMES):
                        return int(child.pid)
        return None

    def everybody(self) -> list[int]:
        """All processes of the cluster: those with our orders in their environment, the supervisor first."""
        mark = f"{fault_shim.VARIABLE}={self.faults.path}".encode()
        found = [pid for pid in psutil.pids() if pid != os.getpid() and mark in _environment_of(pid)]
        supervisor = self.supervisor_pid()
        return sorted(found, key=lambda pid: pid != supervisor)


def kill_and_wait(pid: int) -> None:
    """SIGKILL, and wait until the kernel says that the process is gone (or EXIT_TIMEOUT_S)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + EXIT_TIMEOUT_S
    while time.monotonic() < deadline and not _is_dead(pid):
        time.sleep(0.005)


def _is_dead(pid: int) -> bool:
    """Gone, or waiting for its parent to look."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _environment_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""

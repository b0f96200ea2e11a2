"""Clients and clusters that do not live in the same world: another pid namespace, another user, another boot."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import shmlog
from shmlog.control.messages import Done, Shutdown
from shmlog.memory import layout, names, region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from shmlog.testing.whole_topic import read_all

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

DEADLINE_S = 30.0
NOBODY = 65534
NEW_PID_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root makes namespaces and becomes another user")

CLIENT = """
import os, sys
import shmlog
cluster = shmlog.connect("t")
with cluster.producer() as producer:
    for number in range(100):
        producer.send("flights", b"%d" % number)
with cluster.consumer("flights", consumer_timeout_ms=500) as consumer:
    read = len(list(consumer))
producer = cluster.producer(linger_ms=1000)
for number in range(100, 200):
    producer.send("flights", b"%d" % number)
print(read, os.getpid(), flush=True)
sys.stdin.read()
"""

AS_NOBODY = f"""
import importlib, os, pkgutil
import numpy, orjson
used = ("client", "control", "log", "memory", "model", "partition", "record")
for module in pkgutil.walk_packages(shmlog.__path__, "shmlog."):  # nobody may be kept out of where it is installed
    if module.name.split(".")[1] in used:
        importlib.import_module(module.name)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""


@pytest.fixture
def daemon(real_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon, not started, that shmlog.connect("t") finds."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(real_daemon.directory / "run"))
    yield real_daemon
    if real_daemon.prefix and real_daemon.process is not None:  # its signals would end unshare alone
        real_daemon.peer().ask(Shutdown(0), Done)
        real_daemon.ended()


def numbers(cluster: shmlog.Cluster) -> list[int]:
    return sorted(int(record.value) for record in read_all(cluster, "flights"))


# --- pid namespaces ---------------------------------------------------------------------------------------------------


@root_only
@pytest.mark.slow
@pytest.mark.parametrize("inside", ["the client", "the cluster"])
def test_a_client_in_another_pid_namespace_works_and_its_death_is_noticed(daemon: Daemon, inside: str) -> None:
    daemon.prefix = NEW_PID_NAMESPACE if inside == "the cluster" else []
    daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        prefix = NEW_PID_NAMESPACE if inside == "the client" else []
        command = [*prefix, sys.executable, "-P", "-c", CLIENT]
        with killed_afterwards(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ) as client:
            assert client.stdout is not None
            read, pid = map(int, client.stdout.readline().split())
            assert read == 100
            assert (pid == client.pid) == (inside == "the cluster")
            assert len(cluster.describe().clients) == 2
            client.kill()
            wait_until(lambda: len(cluster.describe().clients) == 1, timeout_s=DEADLINE_S)
        assert numbers(cluster) == list(range(200))  # the second hundred was in its lanes when it died


# --- users ------------------------------------------------------------------------------------------------------------


def run_as_nobody(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", "import shmlog\n" + AS_NOBODY + program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@root_only
@pytest.mark.slow
def test_another_user_is_refused_by_a_cluster_of_mode_0600_and_told_what_lets_him_in(
    daemon: Daemon, session_directory: Path
) -> None:
    session_directory.chmod(0o711)
    daemon.start()
    done = run_as_nobody(CLIENT)
    last = done.stderr.splitlines()[-1]
    assert re.search(r"(no permission|belongs to).*(another user|user 0)", last), done.stderr
    assert done.returncode == 1


@root_only
@pytest.mark.slow
def test_members_of_the_group_produce_and_consume_in_a_cluster_of_mode_0660(
    daemon: Daemon, session_directory: Path
) -> None:
    session_directory.chmod(0o711)
    daemon.config = f'[cluster]\nshm.mode = "0660"\nshm.group = "{NOBODY}"\n'
    daemon.start()
    with shmlog.connect("t") as cluster:
        config = {"max.message.bytes": 50_000, "shm.ring.bytes": 524_288}
        cluster.admin.create_topic("flights", partitions=1, config=config)
        with cluster.producer() as producer:
            producer.send_many("flights", [b"1" * 1000] * 1500)  # more than the ring holds
        done = run_as_nobody(CLIENT)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout.split()[0]) == 1600
        wait_until(lambda: len(cluster.describe().clients) == 1, timeout_s=DEADLINE_S)
        assert len(numbers(cluster)) == 1700


# --- boots ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_another_boot_left_in_shared_memory_is_not_believed_and_the_log_has_everything(daemon: Daemon) -> None:
    daemon.start()
    with shmlog.connect("t") as cluster:
        cluster.admin.create_topic("flights", partitions=2)
        with cluster.producer() as producer:
            for number in range(500):
                producer.send("flights", b"%d" % number)
        info = cluster.describe()
        owners = [partition.pid for partition in cluster.admin.describe_topic("flights").partitions]
        victims = [psutil.Process(pid) for pid in [info.zygote_pid, *owners]]
    daemon.kill()
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    psutil.wait_procs(victims, timeout=DEADLINE_S)
    tag = names.cluster_tag(info.cluster_id, info.runtime_dir)
    for name, size in region.list_regions(tag):
        mapping = region.open_region(name, writable=True)
        kind = name.split(".")[3] if name.count(".") > 2 else ""
        if kind == "ctl":
            header = layout.RegionHeader.load(mapping, layout.KIND_CTL, name)
            layout.RegionHeader(header.kind, header.owner_uuid, header.number, bytes(16)).store(mapping)
        elif kind in ("ring", "idx"):
            mapping.write(0, b"\xff" * size)  # whoever looks into them finds nothing of use
        mapping.close()
    daemon.start()
    with shmlog.connect("t") as cluster:
        assert numbers(cluster) == list(range(500))

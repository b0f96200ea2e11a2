"""What the supervisor does about what the host has no room for: processes, memory, the disk of its decisions."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.errors import DiskFullError, InvalidPartitionsError
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.supervision import Wanted
from shmlog.settings import ClusterConfig
from shmlog.supervisor import capacity, cgroup, zygote
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.zygote_process import ZygoteProcess


def test_the_tightest_cgroup_limits_processes_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir()
    figures = {
        "own/pids.max": "max",
        "own/memory.max": "1000",
        "own/memory.current": "700",
        "own/memory.stat": "file 500\nshmem 200\n",  # 300 bytes of cached files, which the kernel would give back
        "pids.max": "100",
        "pids.current": "90",
        "memory.max": "9000",
        "memory.current": "1000",
    }
    for name, text in figures.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cgroup, "_groups", lambda controller, v2, v1: iter([(own, v2), (tmp_path, v2)]))
    capacity.check_partitions(2)
    with pytest.raises(InvalidPartitionsError, match=r"pids\.max leaves 10: raise TasksMax"):
        capacity.check_partitions(3)
    assert cgroup.free_memory_bytes() == 600
    monkeypatch.setattr(cgroup, "_groups", lambda controller, v2, v1: iter(()))
    capacity.check_partitions(3)
    assert cgroup.free_memory_bytes() is None


def test_an_owner_whose_epoch_finds_no_room_on_the_disk_is_started_once_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns, committed, started = [0], list[Any](), list[Any]()
    full = [True]

    def commit(records: Any) -> None:
        if records and full:
            raise DiskFullError("no room")
        committed.extend(records)

    title = SimpleNamespace(topic=SimpleNamespace(name="t"), partition=0)
    machine = SimpleNamespace(partition_by_id=lambda _: title)
    catalog = SimpleNamespace(commit=commit, machine=machine)
    identity = SimpleNamespace(config=ClusterConfig.from_mapping({}))
    zygote = SimpleNamespace(knows=lambda _: None)
    loop = Loop(lambda: now_ns[0])
    parts: Any = (loop, identity, catalog, None, zygote)
    owners = Owners(*parts)
    monkeypatch.setattr(owners, "_start", started.append)
    owners.observe(Wanted(3, 0))
    for _ in range(3):
        now_ns[0] += 10**10
        loop.run_once(0.0)
    assert (started, committed) == ([], [])
    assert owners.machine.error(3) == "DiskFullError: no room"
    full.clear()
    now_ns[0] += 10**10
    loop.run_once(0.0)
    (start,) = started
    assert committed == [LeaderEpochRaised(3, start.leader_epoch)]
    loop.close()


def test_a_zygote_that_finds_no_process_is_started_once_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the refusal ended the supervisor."""
    now_ns, refusals, spawn = [0], [errno.EAGAIN, errno.ENOMEM, errno.EAGAIN], os.posix_spawn

    def spawn_if_there_is_room(*_: object, **__: object) -> int:
        if refusals:
            raise OSError(refusals.pop(), "no room for a process")
        return spawn("/bin/true", ["true"], {})

    monkeypatch.setattr(zygote, "children", list)
    loop = Loop(lambda: now_ns[0])
    first = spawn("/bin/true", ["true"], {})  # before the socket pair, of which it would hold a copy for a moment
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    link = zygote.ZygoteLink(loop, "no.module", ZygoteProcess(first, ours))
    monkeypatch.setattr(os, "posix_spawn", spawn_if_there_is_room)
    theirs.close()  # the first one dies
    loop.run_once(0.0)
    loop.run_once(0.0)
    assert (len(refusals), link.pid) == (2, 0), "the next is tried at once"
    open_before = os.listdir("/proc/self/fd")
    loop.run_once(0.0)
    assert len(refusals) == 2, "and then after a pause"
    now_ns[0] += 10**10
    loop.run_once(0.0)
    now_ns[0] += 10**10
    loop.run_once(0.0)
    assert refusals == []
    assert os.listdir("/proc/self/fd") == open_before
    now_ns[0] += 10**10
    loop.run_once(0.0)
    assert link.pid > 0
    link.close()
    loop.close()

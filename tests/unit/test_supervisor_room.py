"""What the supervisor does about what the host has no room for: processes, memory, the disk of its decisions."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.errors import DiskFullError, InvalidPartitionsError
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.supervision import Wanted
from shmlog.settings import ClusterConfig
from shmlog.supervisor import capacity, cgroup
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.owners import Owners


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
    zygote = SimpleNamespace(connect=lambda *_: None)
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

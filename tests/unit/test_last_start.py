"""People who are told to start a cluster again are told with which directories; and doctor looks at all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from shmlog.cli.cluster_paths import ClusterPlace
from shmlog.cli.host_checks import Finding, check_log_directories
from shmlog.client.absence import explain
from shmlog.control.last_start import LastStart, lock_text, parse_lock_text, restart_command, up_command
from shmlog.control.paths import RuntimePaths, data_directory, runtime_paths
from shmlog.machines.metadata_records import DirectoryRegistered, ReplicasAssigned, TopicAdded
from shmlog.settings import ClusterConfig
from shmlog.supervisor import home
from shmlog.supervisor.metadata import Catalog

GIB = 1 << 30


def test_what_a_lock_file_says_is_what_was_written() -> None:
    for last in (LastStart("/data"), LastStart("/data", ("/disk 1", "/disk2"))):
        assert parse_lock_text(lock_text(17, last)) == last
    assert parse_lock_text("") is None
    assert parse_lock_text("17\n") is None


def test_commands_are_quoted_for_a_shell() -> None:
    assert up_command("orders") == "shmlog up --name orders"
    assert up_command("orders", "/d a", ("/disk1",)) == "shmlog up --name orders --data-dir '/d a' --log-dir /disk1"


def test_who_finds_no_supervisor_is_told_to_start_it_with_the_directories_that_it_had(tmp_path: Path) -> None:
    runtime = RuntimePaths(str(tmp_path))
    Path(runtime.control_socket).touch()
    lock = Path(runtime.supervisor_lock)
    assert "`shmlog up --name orders` takes the cluster over" in str(explain("orders", runtime, was_connected=True))
    lock.write_text(lock_text(17, LastStart(data_directory("orders"))))
    assert restart_command("orders", str(lock)) == "shmlog up --name orders", "defaults and environment find it"
    lock.write_text(lock_text(17, LastStart("/data")))
    elsewhere = "`shmlog up --name orders --data-dir /data` takes the cluster over"
    assert elsewhere in str(explain("orders", runtime, was_connected=True))
    lock.write_text(lock_text(17, LastStart("/data", ("/disk1", "/disk2"))))
    command = "shmlog up --name orders --data-dir /data --log-dir /disk1 --log-dir /disk2"
    assert f"`{command}` takes the cluster over" in str(explain("orders", runtime, was_connected=True))
    Path(runtime.control_socket).unlink()
    assert f"start it again with `{command}`" in str(explain("orders", runtime, was_connected=True))


@pytest.fixture
def entered(tmp_path: Path) -> Iterator[home.Home]:
    runtime = runtime_paths("orders")
    entered = home.enter(
        "orders", runtime, str(tmp_path / "data"), directory_mode=0o700, group=None, log_dirs=("/disk1",)
    )
    yield entered
    entered.release(empty=True)


def test_a_supervisor_leaves_word_of_its_directories_in_its_lock_file(entered: home.Home, tmp_path: Path) -> None:
    text = Path(entered.runtime.supervisor_lock).read_text()
    assert parse_lock_text(text) == LastStart(str(tmp_path / "data"), ("/disk1",))
    command = f"shmlog up --name orders --data-dir {tmp_path / 'data'} --log-dir /disk1"
    assert entered.restart_command("orders") == command


# --- doctor -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> ClusterPlace:
    """A cluster that was started with two disks: one has a replica, and so had another one before."""
    for name in ("data", "disk1", "disk2"):
        (tmp_path / name).mkdir()
    catalog = Catalog(str(tmp_path / "data"), ClusterConfig.from_mapping({}), directory_id="D" * 22)
    catalog.commit(
        (
            DirectoryRegistered("A" * 22, str(tmp_path / "disk1")),
            DirectoryRegistered("B" * 22, str(tmp_path / "disk2")),
            DirectoryRegistered("C" * 22, str(tmp_path / "retired")),
            TopicAdded("flights", "T" * 22, internal=False, partition_ids=[1], config={}),
            ReplicasAssigned(1, [0], ["A" * 22]),
        )
    )
    catalog.close(clean=True)
    return ClusterPlace("orders", runtime_paths("orders"), None, str(tmp_path / "data"))


def looked(place: ClusterPlace) -> dict[str, Finding]:
    return {Path(one.found.split(",")[0].split(":")[0].split(" ")[0]).name: one for one in check_log_directories(place)}


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes by directory name; others have plenty."""
    free: dict[str, int] = {}
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=free.get(os.path.basename(path), 100 * GIB))
    )
    return free


def test_doctor_looks_at_all_log_directories_that_are_used_or_given(place: ClusterPlace, room: dict[str, int]) -> None:
    assert {name: one.verdict for name, one in looked(place).items()} == {"disk1": "ok", "disk2": "ok"}
    room["disk2"] = GIB // 2
    found = looked(place)
    assert found["disk2"].verdict == "warn"
    assert "512.0 MiB free" in found["disk2"].found
    assert found["disk1"].verdict == "ok"


def test_doctor_names_a_disk_that_is_not_there_with_what_is_on_it(place: ClusterPlace, room: dict[str, int]) -> None:
    os.rmdir(Path(place.data_dir).parent / "disk1")
    os.rmdir(Path(place.data_dir).parent / "disk2")  # nothing is in it
    (found,) = looked(place).values()
    assert (found.subject, found.verdict) == ("log directory", "warn")
    assert found.found.endswith("disk1: not there; it has 1 replica of partitions")
    assert "with --log-dir if it is at another path now" in found.remedy


def test_doctor_names_a_directory_that_cannot_be_written_to(
    place: ClusterPlace, room: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("disk1") and may(path, mode))
    assert looked(place)["disk1"].verdict == "fail"


def test_doctor_looks_at_what_a_running_cluster_was_given(place: ClusterPlace, room: dict[str, int]) -> None:
    given = replace(place, log_dirs=(place.data_dir, "/mnt/disk9"))
    assert {name: one.verdict for name, one in looked(given).items()} == {"disk1": "ok", "disk2": "ok", "disk9": "warn"}

"""--data-dir names a directory: a cluster that runs, or died, with another one does not take its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmlog.cli import main as cli, up as up_module
from shmlog.control import life
from shmlog.control.last_start import LastStart, lock_text
from shmlog.control.paths import RuntimePaths, data_directory, runtime_paths


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuntimePaths:
    """Cluster "orders" was started with its data in `tmp_path`/its."""
    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.delenv("SHMLOG_DATA_DIR", raising=False)
    runtime = runtime_paths("orders")
    os.makedirs(runtime.directory)
    Path(runtime.supervisor_lock).write_text(lock_text(17, LastStart(str(tmp_path / "its"))))
    for directory in ("its", "other"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "supervisor.log").write_text(f"log of {directory}\n")
    return runtime


@pytest.fixture
def running(runtime: RuntimePaths, monkeypatch: pytest.MonkeyPatch) -> RuntimePaths:
    monkeypatch.setattr(life, "holder", lambda _: 17)
    return runtime


@pytest.mark.usefixtures("running")
def test_logs_are_those_of_the_directory_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["logs", "--name", "orders"]) == 0
    assert capsys.readouterr().out == "log of its\n"
    assert cli.run(["logs", "--name", "orders", "--data-dir", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().out == "log of other\n"


@pytest.mark.usefixtures("running")
def test_a_scrub_looks_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert cli.run(["segment", "scrub", "--name", "orders", "--data-dir", nowhere]) == 1
    assert nowhere in capsys.readouterr().err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The data directories of clusters that would have been started."""
    found: list[str] = []
    monkeypatch.setattr(up_module, "start_detached", lambda place, *_: found.append(place.data_dir))
    return found


@pytest.mark.usefixtures("runtime")
def test_a_cluster_that_died_elsewhere_than_the_default_is_not_started_empty(
    tmp_path: Path, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["up", "--detach", "--name", "orders"]) == 1
    said = capsys.readouterr().err
    assert f"`shmlog up --name orders --data-dir {tmp_path / 'its'}` goes on with it" in said
    assert f"`shmlog up --name orders --data-dir {data_directory('orders')}` starts another one" in said
    assert started == []


@pytest.mark.usefixtures("runtime")
def test_a_data_directory_that_was_chosen_is_taken(
    tmp_path: Path, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "shmlog.toml"
    config.write_text(f'[cluster]\ndata.dir = "{tmp_path}/configured"\n')
    assert cli.run(["up", "--detach", "--name", "orders", "--data-dir", str(tmp_path / "other")]) == 0
    assert cli.run(["up", "--detach", "--name", "orders", "--config", str(config)]) == 0
    monkeypatch.setenv("SHMLOG_DATA_DIR", str(tmp_path / "environment"))
    assert cli.run(["up", "--detach", "--name", "orders"]) == 0
    assert started == [str(tmp_path / name) for name in ("other", "configured", "environment")]

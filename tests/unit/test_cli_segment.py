"""`shmlog segment` on files and directories, sound and not: what it finds, and its exit code."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from shmlog.cli import main as cli
from shmlog.testing.damage import flip_in_the_last_entry
from shmlog.testing.known_log import log_file, write_log


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with one partition of two segments, and what else lies there."""
    write_log(tmp_path / "orders-0", [3, 1], clean=True)
    (tmp_path / "supervisor.log").write_text("ready\n")
    (tmp_path / "meta.properties").write_text("version=1\n")
    return tmp_path


def test_a_directory_without_segments_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = data / "empty"
    empty.mkdir()
    assert cli.run(["segment", "verify", str(empty)]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"error: {empty}: no segment files in it")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("place", ["", "orders-0"])
def test_every_segment_of_a_partition_and_of_a_data_directory_is_verified(
    data: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["segment", "verify", str(data / place), "-o", "json"]) == 0
    verified = [verdict["path"] for verdict in orjson.loads(capsys.readouterr().out)]
    segments = [str(path) for path in sorted((data / "orders-0").glob("0*"))]
    assert verified == segments
    assert len([path for path in verified if path.endswith(".log")]) == 2


@pytest.mark.parametrize("command", ["verify", "dump"])
def test_a_file_that_may_not_be_looked_at_is_not_called_missing(
    data: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(log_file(data / "orders-0", 0))
    look = os.stat

    def closed(path: str, *arguments: object, **options: object) -> object:
        if path == file:
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    monkeypatch.setattr("shmlog.cli.segment_files.os.stat", closed)
    assert cli.run(["segment", command, file]) == 1
    assert capsys.readouterr().err == f"error: {file}: Permission denied\n"


@pytest.mark.parametrize("options", [[], ["-o", "json"], ["--records"]])
def test_a_dump_of_a_damaged_file_shows_the_damage_and_fails(
    data: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = log_file(data / "orders-0", 0)
    assert cli.run(["segment", "dump", str(file), *options]) == 0
    assert capsys.readouterr().err == ""
    flip_in_the_last_entry(file)
    assert cli.run(["segment", "dump", str(file), *options]) == 1
    printed = capsys.readouterr()
    assert "the checksum is wrong" in printed.out + printed.err
    assert printed.err.endswith(f"error: {file} is damaged: `shmlog segment verify` says what of it can be recovered\n")

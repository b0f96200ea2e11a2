"""`shmlog up` from the shell: what it says, where it writes, and what a start that fails leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.testing import wait_until

PROGRAM = [sys.executable, "-P", "-m", "shmlog.cli.main"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=False)


def runtime_base() -> Path:
    return Path(os.environ["SHMLOG_RUNTIME_DIR"])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a detached cluster."""
    directory = tmp_path / "data"
    started = run("up", "--detach", "--data-dir", str(directory))
    assert started.returncode == 0, started.stderr
    yield directory
    assert run("down").returncode == 0


@pytest.mark.parametrize("place", ["thesis.txt", "thesis.txt/below", "/proc/nowhere"])
def test_a_data_directory_that_cannot_be_is_the_same_error_everywhere_and_nothing_is_left(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "thesis.txt").write_text("important")
    directory = str(tmp_path / place)
    with pytest.raises(shmlog.StartError) as caught:
        shmlog.start(directory)
    assert directory in str(caught.value)
    assert "choose another data directory" in str(caught.value)
    for arguments in ([], ["--detach"]):
        failed = run("up", "--data-dir", directory, *arguments)
        assert (failed.returncode, failed.stderr) == (1, f"error: {caught.value}\n")
    assert not runtime_base().exists()
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_second_cluster_on_the_same_data_does_not_write_into_the_log_of_the_first(data: Path) -> None:
    before = (data / "supervisor.log").read_text()
    refused = run("up", "--detach", "--name", "other", "--data-dir", str(data))
    assert refused.returncode == 1
    assert f"the data directory {data} is in use by process " in refused.stderr
    assert "(cluster 'default')" in refused.stderr
    assert (data / "supervisor.log").read_text() == before
    assert os.listdir(runtime_base()) == ["default"]


def test_what_a_recovery_cut_away_is_said_at_every_start_and_by_status_until_somebody_has_seen_it(
    tmp_path: Path,
) -> None:
    with shmlog.start(tmp_path) as cluster:
        cluster.admin.create_topic("flights")
        with cluster.producer() as producer:
            for _ in range(2):
                producer.send("flights", b"x").result(60.0)
    (log,) = (tmp_path / "flights-0").glob("*.log")
    whole = log.read_bytes()
    log.write_bytes(whole[:-10])
    expected = "damage: flights-0: offsets 1 to 1 had reached the disk and are lost"
    kept = log.with_name(log.name + ".damaged")
    for _ in range(2):
        started = run("up", "--detach", "--data-dir", str(tmp_path))
        assert started.returncode == 0, started.stderr
        assert started.stderr.startswith(expected)
        shown = run("status")
        assert shown.stderr.startswith(expected)
        (found,) = orjson.loads(run("status", "-o", "json").stdout)["damage"]
        assert (found["first_offset"], found["end_offset"], found["kept"]) == (1, 2, [str(kept)])
        assert expected.removeprefix("damage: ") in (tmp_path / "supervisor.log").read_text()
        with shmlog.connect() as cluster:
            (told,) = cluster.describe().damage
            assert (told.topic, told.partition, told.kept) == ("flights", 0, (str(kept),))
        assert kept.read_bytes() == whole[:-10]
        assert run("down").returncode == 0
    run("up", "--detach", "--data-dir", str(tmp_path))
    kept.unlink()
    assert (run("status").stderr, run("down").returncode) == ("", 0)
    assert run("up", "--detach", "--data-dir", str(tmp_path)).stderr == ""
    run("down")


def test_damage_in_an_older_segment_is_an_error_in_the_log_and_shown_by_status_and_describe(tmp_path: Path) -> None:
    with shmlog.start(tmp_path) as cluster:
        cluster.admin.create_topic("flights", config={"segment.bytes": 1 << 20})
        with cluster.producer(linger_ms=0) as producer:
            for _ in range(4):
                producer.send("flights", bytes(400_000)).result(60.0)
    oldest = sorted((tmp_path / "flights-0").glob("*.log"))[0]
    data = bytearray(oldest.read_bytes())
    data[len(data) // 2 + 8] ^= 1  # the length of the second batch of two
    oldest.write_bytes(data)
    assert run("up", "--detach", "--data-dir", str(tmp_path)).returncode == 0
    expected = "flights-0: offsets 1 to 1 had reached the disk and are damaged"

    def said() -> list[str]:
        return [line for line in (tmp_path / "supervisor.log").read_text().splitlines() if expected in line]

    wait_until(said, timeout_s=20.0)  # the owner does, a while after its start
    lines = said()
    assert len(lines) == 1
    assert " ERROR " in lines[0]
    assert oldest.name in lines[0]
    for command in (["status"], ["topic", "describe", "flights"]):
        assert f"damage: {expected}" in run(*command).stderr
        (found,) = orjson.loads(run(*command, "-o", "json").stdout)["damage"]
        assert (found["first_offset"], found["end_offset"], found["kept"]) == (1, 2, [str(oldest)])
    assert run("down").returncode == 0

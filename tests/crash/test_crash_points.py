"""Killed before every shared store and every system call, and recovered: whatever prefix is left, nothing is amiss.

The engine is in tests/crash/points; `python tests/crash/points` runs it by hand, and a failure here says how to repeat
the one kill that shows it. By default a sample of the kills is made, which the commit's hash draws: another commit
tries others. The long tier makes all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.points.sample import Kill, Sample

POINTS = Path(__file__).parent / "points"
STORIES = ("@scenario(", "@follower_scenario(", "@takeover_scenario(", "@cluster_scenario(", "@session_scenario(")
SCENARIOS = sorted(
    line.split('"')[1]
    for path in POINTS.glob("*.py")
    for line in path.read_text().splitlines()
    if line.startswith(STORIES)
)
SAMPLE = {"every": 6, "doubles": 6}
ALL = {"every": 1, "doubles": 400}

Run = Callable[[str, dict[str, int]], dict[str, Any]]


def seed_of(config: pytest.Config) -> int:
    """What draws the kills of this run: the seed that was asked for, else the commit; 0 where neither is known."""
    asked = config.getoption("hypothesis_seed", None)
    if asked is not None:
        return int(asked)
    commit = os.environ.get("SHMLOG_COMMIT")  # .ci/run checks a copy that is no repository
    if not commit and shutil.which("git"):
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=POINTS, capture_output=True, text=True, check=False)
        commit = git.stdout
    return int(commit[:8], 16) if commit else 0


@pytest.fixture(scope="module")
def campaign(pytestconfig: pytest.Config) -> Iterator[Run]:
    """Runs kills of a scenario, single and double ones, in a process that has the counted core."""
    with subprocess.Popen(
        [sys.executable, "-P", str(POINTS), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(scenario: str, sample: dict[str, int]) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            seed = seed_of(pytestconfig)
            process.stdin.write(json.dumps({"scenario": scenario, **sample, "seed": seed}) + "\n")
            process.stdin.flush()
            result: dict[str, Any] = json.loads(process.stdout.readline())
            if result["failures"]:
                repeat = f"--only {scenario!r} --every {sample['every']} --seed {seed}"
                result["failures"][0] += f"\nthe whole sample again: python tests/crash/points {repeat}"
            return result

        yield run
        assert process.stdin is not None
        process.stdin.close()


def test_a_sample_has_the_first_kill_and_the_last_and_those_of_many_commits_are_all_kills() -> None:
    kills = [Kill(at, "warm") for at in range(1, 100)]
    samples = [Sample(every=SAMPLE["every"], seed=seed).of_singles("roll", kills) for seed in range(100)]
    assert all(sample[0] == kills[0] and sample[-1] == kills[-1] and len(sample) < 20 for sample in samples)
    assert set().union(*samples) == set(kills)
    assert samples == [Sample(every=SAMPLE["every"], seed=seed).of_singles("roll", kills) for seed in range(100)]


def assert_survived(result: dict[str, Any], record: Callable[[str, object], None]) -> None:
    for figure in ("points", "kills", "doubles"):
        record(figure, result[figure])
    assert result["failures"] == [], "\n\n".join(result["failures"][:3])
    assert result["points"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_amiss_after_a_kill_at_any_point(
    campaign: Run, scenario: str, record_property: Callable[[str, object], None]
) -> None:
    result = campaign(scenario, SAMPLE)
    assert_survived(result, record_property)
    assert result["kills"] >= result["points"] / SAMPLE["every"]


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_amiss_after_a_kill_at_every_point_and_a_second_one_during_the_recovery(
    campaign: Run, scenario: str, record_property: Callable[[str, object], None]
) -> None:
    result = campaign(scenario, ALL)
    assert_survived(result, record_property)
    assert result["kills"] >= result["points"]

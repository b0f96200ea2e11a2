"""Killed before every shared store and every system call, and recovered: whatever prefix is left, nothing is amiss.

The engine is in tests/crash/points; `python tests/crash/points` runs it by hand, and a failure here says how to repeat
the one kill that shows it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

POINTS = Path(__file__).parent / "points"
STORIES = ("@scenario(", "@follower_scenario(", "@takeover_scenario(", "@cluster_scenario(", "@session_scenario(")
SCENARIOS = sorted(
    line.split('"')[1]
    for path in POINTS.glob("*.py")
    for line in path.read_text().splitlines()
    if line.startswith(STORIES)
)
DOUBLES_SAMPLED = 40
DOUBLES_LONG = 400

Run = Callable[[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def campaign(pytestconfig: pytest.Config) -> Iterator[Run]:
    """Runs all kills of a scenario and a sample of double kills in a process that has the counted core."""
    with subprocess.Popen(
        [sys.executable, "-P", str(POINTS), "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(scenario: str, doubles: int) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            seed = pytestconfig.getoption("hypothesis_seed", None) or 0
            process.stdin.write(json.dumps({"scenario": scenario, "doubles": doubles, "seed": int(seed)}) + "\n")
            process.stdin.flush()
            result: dict[str, Any] = json.loads(process.stdout.readline())
            return result

        yield run
        assert process.stdin is not None
        process.stdin.close()


def assert_survived(result: dict[str, Any], record: Callable[[str, object], None]) -> None:
    for figure in ("points", "kills", "doubles"):
        record(figure, result[figure])
    assert result["failures"] == [], "\n\n".join(result["failures"][:3])
    assert result["kills"] >= result["points"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_amiss_after_a_kill_at_any_point(
    campaign: Run, scenario: str, record_property: Callable[[str, object], None]
) -> None:
    assert_survived(campaign(scenario, DOUBLES_SAMPLED), record_property)


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_amiss_after_a_second_kill_during_the_recovery(
    campaign: Run, scenario: str, record_property: Callable[[str, object], None]
) -> None:
    assert_survived(campaign(scenario, DOUBLES_LONG), record_property)

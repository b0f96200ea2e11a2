"""All kills of a scenario, each in a process of its own, forked from this one, which has everything imported."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

from tests.crash.points import (
    clusters,
    compacting,
    compressing,
    disks,
    following,
    importing,
    keeping,
    producing,
    recovering,
    replicating,
    sessions,
    taking_over,
)
from tests.crash.points.count import KINDS, CountPage
from tests.crash.points.roles import shrink_everything
from tests.crash.points.sample import DOUBLES_SAMPLED, Kill, Sample
from tests.crash.points.scenario import SCENARIOS, Scenario

DEADLINE_S = 60
STORIES = (
    producing,
    compressing,
    keeping,
    compacting,
    recovering,
    replicating,
    following,
    taking_over,
    clusters,
    disks,
    importing,
    sessions,
)
"""The modules that fill SCENARIOS."""
BOTH_UNKILLED = -1
FAILURES_SHOWN = 5


@dataclass
class Result:
    scenario: str
    points: int = 0
    syscalls: int = 0
    kills: int = 0
    doubles: int = 0
    recovery_points: int = 0
    failures: list[str] = field(default_factory=list)


def _telling_points(page: CountPage, final: str) -> list[int]:
    """Without shared memory only the files tell, and they differ only before system calls."""
    points = range(1, page.points + 1)
    return [at for at in points if final != "cold" or page.kind(at) not in (KINDS["s"], KINDS["c"])]


class Campaign:
    """Runs kills of scenarios, `jobs` at a time, under directories of its own."""

    def __init__(self, jobs: int, place: Path) -> None:
        shrink_everything()
        import_module("numpy")  # readers of indexes import it when they need it: once, and not in every child
        gc.disable()  # a collection in a child would copy every page that it looks at
        gc.freeze()
        self._jobs = jobs
        self._directory = place
        self._number = 0

    def run(self, scenario: Scenario, sample: Sample) -> Result:
        """Make the kills of the sample, single ones and pairs."""
        result = Result(scenario.name)
        singles: list[Kill] = []
        chosen: list[Kill] = []
        recovery_points: dict[str, int] = {}
        for final in scenario.finals:
            for _, error, first, second in self._all(scenario, [Kill(0, final, BOTH_UNKILLED)]):
                result.points, result.syscalls = first.points, int(first.fields.syscalls)
                recovery_points[final] = second.points
                points = _telling_points(first, final)
                kills = [Kill(at, final, 0, aside) for aside in range(first.aside_points + 1) for at in points]
                singles += kills
                chosen += sample.of_singles(scenario.name, kills)
                if error:
                    result.failures.append(f"without a kill, {final}: {error}")
        if result.failures:
            return result
        result.recovery_points = max(recovery_points.values())
        result.kills = self._count(scenario, chosen, result)
        pairs = [
            Kill(kill.at, kill.final, second, kill.aside)
            for kill in singles
            for second in range(1, recovery_points[kill.final] + 1)
        ]
        result.doubles = self._count(scenario, sample.of_pairs(pairs), result)
        return result

    def _count(self, scenario: Scenario, kills: Iterable[Kill], result: Result) -> int:
        count = 0
        for kill, error, _, second in self._all(scenario, kills):
            reached = kill.second == 0 or second.points >= kill.second
            count += reached
            if error:
                again = f"--only {scenario.name!r} --at {kill.at} --final {kill.final}"
                again += f" --second {kill.second}" if kill.second else ""
                again += f" --aside {kill.aside}" if kill.aside else ""
                result.failures.append(f"python tests/crash/points {again}\n{error}")
        return count

    def one(self, scenario: Scenario, kill: Kill) -> str:
        """What is wrong after one kill, "" if nothing."""
        ((_, error, first, second),) = self._all(scenario, [kill])
        print(f"killed at point {kill.at}, before: {first.kind(kill.at)}; recovery reached point {second.points}")
        return error

    def _all(self, scenario: Scenario, kills: Iterable[Kill]) -> Iterator[tuple[Kill, str, CountPage, CountPage]]:
        """Each kill with what went wrong and both pages, in the order in which they end."""
        running: dict[int, tuple[Kill, Path, CountPage, CountPage]] = {}
        waiting = iter(kills)
        while True:
            while len(running) < self._jobs and (kill := next(waiting, None)) is not None:
                self._number += 1
                place = self._directory / str(self._number)
                first, second = CountPage(kill.at, kill.aside), CountPage(max(0, kill.second))
                pid = os.fork()
                if pid == 0:
                    _child(scenario, place, first, second if kill.second else None, kill.final)
                running[pid] = (kill, place, first, second)
            if not running:
                return
            pid, status = os.wait()
            kill, place, first, second = running.pop(pid)
            error = _error_of(place, status)
            yield kill, error, first, second


def _child(scenario: Scenario, place: Path, first: CountPage, second: CountPage | None, final: str) -> None:
    signal.alarm(DEADLINE_S)
    code = 1
    try:
        scenario.run(place, first, second, final)
        code = 0
    except BaseException:  # noqa: BLE001  (whatever it is, it is what this run has to tell)
        place.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _error_of(place: Path, status: int) -> str:
    told = place.with_suffix(".error")
    if told.exists():
        text = told.read_text()
        told.unlink()
        return text
    return "" if status == 0 else f"the run ended with status {status}: it hung, or crashed"


def main(options: argparse.Namespace, place: Path) -> int:
    """`place`: an empty directory for what the runs need."""
    campaign = Campaign(options.jobs, place)
    if options.serve:
        return serve(campaign)
    if options.at is not None:
        kill = Kill(options.at, options.final or "warm", options.second or 0, options.aside or 0)
        error = campaign.one(SCENARIOS[options.only[0]], kill)
        print(error or "all is well")
        return bool(error)
    sample = Sample(options.every, None if options.double else DOUBLES_SAMPLED, options.seed)
    return table(campaign, options.only or list(SCENARIOS), sample)


def table(campaign: Campaign, chosen: list[str], sample: Sample) -> int:
    print(f"{'scenario':36}{'points':>8}{'syscalls':>10}{'kills':>8}{'recovery':>10}{'double kills':>14}{'failed':>8}")
    failed = 0
    for name in chosen:
        result = campaign.run(SCENARIOS[name], sample)
        failed += len(result.failures)
        print(
            f"{name:36}{result.points:>8}{result.syscalls:>10}{result.kills:>8}{result.recovery_points:>10}"
            f"{result.doubles:>14}{len(result.failures):>8}",
            flush=True,
        )
        for failure in result.failures[:FAILURES_SHOWN]:
            print(failure)
    return min(failed, 1)


def serve(campaign: Campaign) -> int:
    for line in sys.stdin:
        asked = json.loads(line)
        result = campaign.run(SCENARIOS[asked.pop("scenario")], Sample(**asked))
        print(json.dumps(asdict(result)), flush=True)
    return 0

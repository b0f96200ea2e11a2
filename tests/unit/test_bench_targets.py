"""A figure is held against its target as a ratio to what the machine does in the same run."""

from __future__ import annotations

import os

import pytest

from shmlog.tools.bench.figures import Figures
from shmlog.tools.bench.pinning import FREE, pinnings
from shmlog.tools.bench.targets import Target

CALIBRATION = Figures(loop_ns=10.0, copy_gbps=4.0, wake_us=35.0)


@pytest.mark.parametrize(
    ("target", "samples", "ratio", "verdict"),
    [
        (Target("ns", 5, "loop_ns"), [40.0, 49.0, 90.0], 4.9, "met"),
        (Target("ns", 5, "loop_ns"), [40.0, 51.0, 90.0], 5.1, "missed"),
        (Target("GB/s", 0.5, "copy_gbps", at_least=True), [1.0, 2.0, 9.0], 0.5, "met"),
        (Target("GB/s", 0.5, "copy_gbps", at_least=True), [1.0, 1.9, 9.0], 0.47, "missed"),
        (Target("million/s", 8, at_least=True), [7.0, 9.0, 9.5], 9.0, "met"),
    ],
)
def test_the_median_of_the_rounds_decides(target: Target, samples: list[float], ratio: float, verdict: str) -> None:
    row = target.row(samples, CALIBRATION)
    assert (row["ratio"], row["verdict"]) == (ratio, verdict)
    assert (row["least"], row["median"], row["most"]) == tuple(sorted(samples))


def test_a_target_is_told_in_words() -> None:
    assert Target("ns", 1.4, "loop_ns").sentence() == "at most 1.4 x loop_ns"
    assert Target("million/s", 8, at_least=True).sentence() == "at least 8"


def test_placements_are_free_one_core_and_two_where_there_are_two() -> None:
    cores = sorted(os.sched_getaffinity(0))
    free, one, *two = pinnings()
    assert free == FREE
    assert {one.producer, one.owner, one.consumer} == {cores[0]}
    assert [(place.producer, place.owner, place.consumer) for place in two] == [(cores[0], cores[-1], cores[-1])] * (
        len(cores) > 1
    )

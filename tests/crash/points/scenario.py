"""What happens to a partition, up to the point at which somebody is killed.

A scenario is a function of a World. From `arm` on the victim counts. It says nothing about the kill: an order to a
victim that is killed raises Killed, and what the survivors find then is checked by run.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.crash.points.count import CountPage
from tests.crash.points.run import run_once
from tests.crash.points.world import World

Run = Callable[[Path, CountPage, CountPage | None, str], None]
"""One run in an empty directory, with the points at which victim and successor are killed, and what is left then: all,
("warm"), or the files ("cold"). An AssertionError says what is wrong."""


@dataclass(frozen=True)
class Scenario:
    """`finals`: what may be left after each kill."""

    name: str
    run: Run
    finals: tuple[str, ...]


SCENARIOS: dict[str, Scenario] = {}
FILES = ("warm", "cold")


def scenario(
    name: str, finals: tuple[str, ...] = ("warm",)
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def enter(play: Callable[[World], None]) -> Callable[[World], None]:
        SCENARIOS[name] = Scenario(name, partial(run_once, play), finals)
        return play

    return enter


def arm(world: World) -> None:
    assert world.owner is not None
    world.owner.arm()

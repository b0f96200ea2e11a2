"""What happens to a partition, up to the point at which somebody is killed.

A scenario is a function of a World. From `arm` on the victim counts. It says nothing about the kill: an order to a
victim that is killed raises Killed, and what the survivors find then is checked by run.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.crash.points.world import World


@dataclass(frozen=True)
class Scenario:
    """`finals`: how the partition is opened at the end, after each kill."""

    name: str
    play: Callable[[World], None]
    finals: tuple[str, ...]


SCENARIOS: dict[str, Scenario] = {}
FILES = ("warm", "cold")


def scenario(
    name: str, finals: tuple[str, ...] = ("warm",)
) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def enter(play: Callable[[World], None]) -> Callable[[World], None]:
        SCENARIOS[name] = Scenario(name, play, finals)
        return play

    return enter


def arm(world: World) -> None:
    assert world.owner is not None
    world.owner.arm()

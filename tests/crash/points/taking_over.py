"""Scenarios: another replica takes over from a dead leader, over its ring, and is killed while it does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.crash.points.scenario import SCENARIOS, Scenario, arm
from tests.crash.points.takeover_world import NEW, TakeoverWorld, run_takeover

FINALS = ("warm", "old leader", "cold")
"""Who recovers: the new leader's replica; the old one's; the new one's when shared memory is gone."""


def takeover_scenario(
    name: str,
) -> Callable[[Callable[[TakeoverWorld], None]], Callable[[TakeoverWorld], None]]:
    def enter(play: Callable[[TakeoverWorld], None]) -> Callable[[TakeoverWorld], None]:
        SCENARIOS[name] = Scenario(name, partial(run_takeover, play), FINALS)
        return play

    return enter


@takeover_scenario("another replica takes over, with a copy that lags")
def lagging_copy(world: TakeoverWorld) -> None:
    world.follow()
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(2)
    world.order("run")
    world.copy()
    world.order("run")
    world.read()
    for _ in range(2):
        lane.send(3)
        other.send(2)
        world.order("run")
    world.order("roll")
    lane.send(1)
    world.order("run")
    lane.send(2)
    other.seal()
    other.send(1)
    world.lead_from(NEW)
    world.start_owner(armed=True)
    world.order("run")


@takeover_scenario("another replica takes over, from a leader that was killed anywhere")
def leader_killed_anywhere(world: TakeoverWorld) -> None:
    world.follow()
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(2)
    world.order("run")
    world.copy()
    arm(world)
    world.order("run")
    lane.send(3)
    lane.seal()
    lane.send(1)
    other.send(2)
    world.order("run")
    world.copy()
    other.send(5)
    world.order("run")
    world.order("roll")


@takeover_scenario("another replica takes over what was handed over")
def handed_over(world: TakeoverWorld) -> None:
    world.follow()
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(5)
    other.send(3)
    world.order("run")
    world.hand_over()
    lane.send(2)
    world.lead_from(NEW)
    world.start_owner(armed=True)
    world.order("run")


@takeover_scenario("another replica takes over, from a ring that is spoiled")
def spoiled_ring(world: TakeoverWorld) -> None:
    """Its copy is in sync, so nothing that is lost was shown: all of it is still in the lanes."""
    world.follow()
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(2)
    world.order("run")
    world.copy()
    world.order("run")
    world.read()
    for _ in range(7):
        lane.send(1)
        other.send(1)
        world.order("run")
    world.order("roll")
    lane.send(2)
    world.order("run")
    other.send(2)
    other.seal()
    other.send(1)
    world.spoil(4)
    world.lead_from(NEW)
    world.start_owner(armed=True)
    world.order("run")


@takeover_scenario("another replica takes over, from a ring that begins behind its copy")
def ring_behind_the_copy(world: TakeoverWorld) -> None:
    """It was replaced while the copy lagged. That is in sync, so all that is lost is still in the lanes."""
    world.follow()
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(2)
    world.order("run")
    world.copy()
    world.order("run")
    world.has_losses = True
    for _ in range(3):
        lane.send(1)
        other.send(2)
        world.order("run")
    world.order("grow")
    lane.send(2)
    world.order("run")
    other.send(1)
    world.lead_from(NEW)
    world.start_owner(armed=True)
    world.order("run")


@takeover_scenario("another replica takes over, from an empty ring behind its copy")
def empty_ring(world: TakeoverWorld) -> None:
    world.follow()
    world.start_owner()
    lane = world.lane()
    lane.send(1)
    world.order("run")
    world.copy()
    world.order("run")
    lane.send(2)
    world.order("run")
    world.has_losses = True
    world.order("grow")
    lane.send(1)
    world.lead_from(NEW)
    world.start_owner(armed=True)
    world.order("run")

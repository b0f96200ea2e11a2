"""Scenarios: an owner starts, over a ring or from files, and is killed while it does."""

from __future__ import annotations

from tests.crash.points.scenario import FILES, scenario
from tests.crash.points.world import World


@scenario("takeover of a ring that lives", FILES)
def warm_takeover(world: World) -> None:
    world.start_owner()
    lane, closing = world.lane(), world.lane()
    lane.send(3, 300)
    closing.send(1)
    world.order("run")
    lane.send(2)
    lane.seal()
    lane.send(1)
    closing.send(1)
    world.order("begin_close", closing.lane_id)
    world.kill_everybody()
    world.start_owner(armed=True)
    world.order("run")


@scenario("first start", FILES)
def first_start(world: World) -> None:
    world.start_owner(armed=True)
    lane = world.lane()
    lane.send(1)
    world.order("run")


@scenario("start after a reboot", FILES)
def cold_open(world: World) -> None:
    world.segment_bytes = 700
    world.start_owner()
    lane = world.lane()
    lane.send(5, 300)
    world.order("run")
    world.reboot()
    world.start_owner(armed=True)


@scenario("start after a clean close", FILES)
def clean_open(world: World) -> None:
    world.segment_bytes = 700
    world.start_owner()
    lane = world.lane()
    lane.send(5, 300)
    world.order("close")
    world.kill_everybody()
    world.start_owner(armed=True)


@scenario("start with a torn tail", FILES)
def torn_tail(world: World) -> None:
    world.segment_bytes = 700
    world.start_owner()
    lane = world.lane()
    lane.send(5, 300)
    lane.seal()
    world.order("run")
    world.reboot()
    active = max(world.directory.glob("*.log"))
    with active.open("ab") as file:
        file.write(active.read_bytes()[:90] or b"torn")
    world.start_owner(armed=True)

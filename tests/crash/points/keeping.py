"""Scenarios: segments are appended to, rolled, synced, deleted and closed."""

from __future__ import annotations

from tests.crash.points.scenario import FILES, arm, scenario
from tests.crash.points.world import Party, World


@scenario("append with indexes", FILES)
def append(world: World) -> None:
    world.start_owner()
    lane = world.lane()
    arm(world)
    for _ in range(3):
        lane.send(2, 300)
        world.order("run")
        lane.reclaim()


@scenario("roll", FILES)
def roll(world: World) -> None:
    world.segment_bytes = 1000
    world.start_owner()
    lane, other = world.lane(), world.lane()
    lane.send(3, 300)
    world.order("run")
    arm(world)
    lane.send(1, 300)
    world.order("run")
    other.send(2, 400)
    world.order("run")


@scenario("roll by age, in front of the first index entry", FILES)
def roll_by_age(world: World) -> None:
    """The roll writes the segment's only time index entry, and nobody whom a kill leaves repeats the roll."""
    world.start_owner()
    lane = world.lane()
    lane.send(1)
    world.order("run")
    lane.send(1)
    arm(world)
    world.order("roll")
    world.order("run")


@scenario("group commit of every record", FILES)
def group_commit(world: World) -> None:
    world.config["flush.messages"] = "1"
    world.start_owner()
    lane, other = world.lane(), world.lane(acks=1)
    lane.send(1)
    world.order("run")
    arm(world)
    lane.send(2)
    other.send(1)
    world.order("run")
    lane.send(1)
    world.order("run")


@scenario("group commit of three records", FILES)
def group_commit_of_three(world: World) -> None:
    world.config["flush.messages"] = "3"
    world.start_owner()
    lane = world.lane()
    arm(world)
    for _ in range(4):
        lane.send(1)
        world.order("run")


@scenario("sync in a thread beside the owner", FILES)
def sync_aside(world: World) -> None:
    """Two program orders: the thread stops before each of its calls, and the owner is killed at each of its points."""
    world.segment_bytes = 700
    world.config["retention.bytes"] = "1500"
    world.start_owner()
    lane = world.lane()
    for _ in range(2):
        lane.send(2, 300)
        world.order("run")
    arm(world)
    world.order("sync_aside")
    lane.send(2, 300)
    world.order("run")
    world.order("retain")
    world.order("collect_sync")


def fill(world: World, segments: int) -> Party:
    """An owner with so many segments of two records, and whose they are."""
    world.segment_bytes = 700
    world.start_owner()
    lane = world.lane()
    for _ in range(segments):
        lane.send(2, 300)
        world.order("run")
        lane.reclaim()
    return lane


@scenario("retention", FILES)
def retention(world: World) -> None:
    lane = fill(world, 5)
    world.config["retention.bytes"] = "800"
    world.order("alter", world.config)
    arm(world)
    world.order("retain")
    lane.send(1)
    world.order("run")


@scenario("retention of everything", FILES)
def retention_of_everything(world: World) -> None:
    fill(world, 2)
    world.config["retention.bytes"] = "0"
    world.order("alter", world.config)
    arm(world)
    world.order("retain")


@scenario("records are deleted", FILES)
def records_are_deleted(world: World) -> None:
    lane = fill(world, 4)
    arm(world)
    world.order("delete_before", 5)
    lane.send(1)
    world.order("run")
    world.order("delete_before", -1)


@scenario("clean close", FILES)
def clean_close(world: World) -> None:
    world.segment_bytes = 700
    world.start_owner()
    lane = world.lane()
    lane.send(3, 300)
    world.order("run")
    lane.send(2)
    arm(world)
    world.order("close")

"""Scenarios: a leader with followers shows what they have, and is killed; they live on."""

from __future__ import annotations

from shmlog.control.messages import ReplicaCaughtUp
from tests.crash.points.scenario import FILES, arm, scenario
from tests.crash.points.world import World

SECOND_NS = 1_000_000_000


@scenario("publish: followers, one quick and one slow", FILES)
def publish(world: World) -> None:
    world.replicas.start(1)
    world.replicas.start(2)
    world.start_owner()
    world.replicas.follow(0)
    lane, other = world.lane(), world.lane(acks=1)
    lane.send(3)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    world.read()
    lane.send(2)
    lane.seal()
    lane.send(3)
    arm(world)
    world.order("run")
    world.replicas.copy(1)
    world.order("run")
    other.send(2)
    world.order("run")
    world.replicas.copy(2)
    world.order("run")
    world.replicas.copy(1)
    world.order("run")
    world.read()


@scenario("publish: a follower catches up and is waited for from then on")
def catch_up(world: World) -> None:
    world.replicas.start(1, in_sync=False)
    world.start_owner()
    lane = world.lane()
    lane.send(3)
    world.order("run")
    arm(world)
    world.order("followers_are", 1, [], [1])
    world.replicas.follow(0)
    world.order("look_at_followers", SECOND_NS)
    world.replicas.copy()
    if ReplicaCaughtUp(1, 1) in world.order("look_at_followers", 2 * SECOND_NS):
        world.replicas.in_sync.append(1)
    lane.send(1)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    world.order("followers_are", 2, [], [])
    world.replicas.in_sync.clear()
    lane.send(1)
    world.order("run")


@scenario("group commit with a follower")
def group_commit(world: World) -> None:
    world.config["flush.messages"] = "1"
    world.replicas.start(1)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    arm(world)
    for _ in range(2):
        lane.send(2)
        world.order("run")
        world.replicas.copy()
        world.order("run")


@scenario("publish: too few replicas in sync, then enough", FILES)
def too_few(world: World) -> None:
    world.config["min.insync.replicas"] = "2"
    world.replicas.start(1)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    lane.send(2)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    arm(world)
    world.replicas.in_sync.clear()
    world.order("followers_are", 1, [], [])
    lane.send(2)
    world.order("run")
    world.order("look_at_followers", SECOND_NS)
    world.read()
    world.order("followers_are", 2, [], [1])
    world.replicas.copy()
    world.order("run")
    world.order("followers_are", 3, world.replicas.count_in(), [])
    lane.send(1)
    world.order("run")
    world.replicas.copy()
    world.order("run")


@scenario("ring grows while a follower lags")
def ring_grows(world: World) -> None:
    world.replicas.start(1)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    lane.send(2)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    lane.send(1)
    world.order("run")
    arm(world)
    world.order("grow")
    lane.send(1)
    world.order("run")
    world.replicas.copy()
    world.order("run")


@scenario("takeover with followers that lag", FILES)
def takeover(world: World) -> None:
    world.replicas.start(1)
    world.replicas.start(2)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    lane.send(2)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    lane.send(3)
    world.order("run")
    world.replicas.copy(1)
    lane.send(1)
    world.kill_everybody()
    world.start_owner(armed=True)
    world.order("run")
    world.replicas.follow(world.epochs_used - 1)
    world.order("run")
    world.replicas.copy()
    world.order("run")


@scenario("clean close with a follower", FILES)
def clean_close(world: World) -> None:
    world.replicas.start(1)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    lane.send(2)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    arm(world)
    world.order("look_at_followers", SECOND_NS)
    lane.send(1)
    world.order("run")
    world.replicas.copy()
    world.order("close")


@scenario("start after a reboot with followers", FILES)
def reboot(world: World) -> None:
    world.replicas.start(1)
    world.start_owner()
    world.replicas.follow(0)
    lane = world.lane()
    lane.send(3)
    world.order("run")
    world.replicas.copy()
    world.order("run")
    lane.send(2)
    world.order("run")
    world.reboot()
    world.start_owner(armed=True)
    world.replicas.follow(world.epochs_used - 1)
    world.order("run")
    world.replicas.copy()
    world.order("run")

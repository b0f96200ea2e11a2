"""Scenarios: records are accepted, handed off, published, refused; ring and index wrap and grow."""

from __future__ import annotations

from tests.crash.points.scenario import FILES, arm, scenario
from tests.crash.points.world import World


@scenario("accept")
def accept(world: World) -> None:
    world.start_owner()
    producer = world.victim_producer()
    try:
        producer.arm()
        producer.call("send", 3)
        world.order("run")
        producer.call("send", 2, 700)
        producer.call("send", 2, 900)
        world.order("run")
        producer.call("reclaim")
        producer.call("send", 2)
        producer.call("seal")
        producer.call("send", 1)
    finally:  # the owner lives on, and lets go of a producer that is dead
        world.order("run")
        world.order("detach", world.parties[0].lane_id)


@scenario("accept: runs of records")
def accept_runs(world: World) -> None:
    """Counted together: in a new batch, behind others, an even and an odd number, over the end of a batch."""
    world.start_owner()
    producer = world.victim_producer()
    try:
        producer.arm()
        producer.call("send_run", 3)
        producer.call("send_run", 2)
        producer.call("send", 1)
        producer.call("send_run", 4)
        world.order("run")
        producer.call("send_run", 5, 400)
        producer.call("send_run", 1)
        world.order("run")
        producer.call("reclaim")
        producer.call("send_run", 3)
    finally:
        world.order("run")
        world.order("detach", world.parties[0].lane_id)


@scenario("accept: a record beyond the word's range")
def accept_large(world: World) -> None:
    world.config["max.message.bytes"] = "1200000"
    world.start_owner()
    producer = world.victim_producer(max_batch=1200000)
    try:
        producer.arm()
        producer.call("send", 1)
        producer.call("send", 1, 1100000)
        producer.call("send", 1)
    finally:
        world.order("run")
        world.order("detach", world.parties[0].lane_id)


@scenario("accept: records move from a closed lane into another one")
def accept_moved(world: World) -> None:
    world.start_owner()
    producer = world.victim_producer(producer_id=7)
    producer.call("send", 2)
    world.order("detach", world.parties[0].lane_id)
    other = world.lane_region(producer_id=7)
    world.attach(other)
    try:
        producer.arm()
        producer.call("send_aside")
        producer.call("move_to", other, world.terms[other])
        producer.call("send", 1)
    finally:
        world.order("run")
        world.order("detach", other)


@scenario("publish: several lanes", FILES)
def publish(world: World) -> None:
    world.start_owner()
    first, second, third = world.lane(), world.lane(), world.lane(acks=1)
    for party in (first, second):
        party.send(3)
    world.order("run")
    world.read()
    first.send(2)
    first.seal()
    first.send(3)
    second.send(1)
    third.send(5)
    arm(world)
    world.order("run")
    second.send(2)
    world.order("run")


@scenario("publish: records are followed")
def follow(world: World) -> None:
    """What is sampled changes nothing, and a successor goes on with it."""
    world.start_owner()
    party = world.lane()
    arm(world)
    world.order("follow")
    for count in (3, 1):
        party.send(count)
        world.order("run")
    world.order("sync")
    party.send(2)
    world.order("run")


@scenario("hand-off of the open batch")
def hand_off(world: World) -> None:
    world.start_owner()
    plain, lingering = world.lane(producer_id=-1, sequence=-1), world.lane(linger_us=10_000_000)
    arm(world)
    plain.send(1)
    lingering.send(2)
    world.order("run")
    plain.send(2)
    world.order("publish_once")
    plain.send(4)
    lingering.send(1)
    world.order("publish_once")
    plain.seal()
    lingering.seal()
    world.order("run")


@scenario("publish: a larger group after one that never was")
def larger_group(world: World) -> None:
    """An entry of the group that never was would lie inside the first batch of the successor."""
    world.start_owner()
    large, *small = world.lane(), world.lane(), world.lane(), world.lane()
    world.order("run")
    for party in small:
        party.send(1)
    world.meanwhile = lambda: large.send(2, 1100)  # two batches, and no room for more in their group
    arm(world)
    world.order("run")


@scenario("duplicates")
def duplicates(world: World) -> None:
    world.start_owner()
    first = world.lane(producer_id=7)
    for _ in range(3):
        first.send(1)
        first.seal()
    world.order("run")
    again = world.lane(producer_id=7, named=first.name)
    for _ in range(3):
        again.send(1)
        again.seal()
    arm(world)
    world.order("run")


@scenario("duplicates in front of a new batch")
def duplicates_and_new(world: World) -> None:
    world.start_owner()
    first = world.lane(producer_id=7)
    for _ in range(2):
        first.send(1)
        first.seal()
    world.order("run")
    again = world.lane(producer_id=7, named=first.name)
    for _ in range(2):
        again.send(1)
        again.seal()
    again.send(2)
    again.seal()
    again.send(1)
    arm(world)
    world.order("run")


@scenario("rejection")
def rejection(world: World) -> None:
    world.start_owner()
    good = world.lane(producer_id=7)
    good.send(2)
    world.order("run")
    gap = world.lane(producer_id=7, sequence=9)
    gap.refused_from = 0
    gap.send(2)
    gap.seal()
    gap.send(1)
    other = world.lane()
    other.send(1)
    arm(world)
    world.order("run")


@scenario("index wraps")
def index_wraps(world: World) -> None:
    world.start_owner()
    lane = world.lane()
    for _ in range(61):
        lane.send(1)
        world.order("run")
        lane.reclaim()
    arm(world)
    for _ in range(6):
        lane.send(1)
        lane.seal()
    world.order("run")


@scenario("ring wraps", FILES)
def ring_wraps(world: World) -> None:
    world.start_owner()
    lane = world.lane()
    for _ in range(9):
        lane.send(1, 1500)
        world.order("run")
        lane.reclaim()
    world.read()
    arm(world)
    for _ in range(4):
        lane.send(1, 1500)
        world.order("run")
        lane.reclaim()


@scenario("ring grows")
def ring_grows(world: World) -> None:
    world.start_owner()
    small = world.lane()
    small.send(2)
    world.order("run")
    world.config["max.message.bytes"] = "8192"
    world.order("alter", world.config)
    large = world.lane(max_batch=8192)
    large.send(1, 6000)
    small.send(1)
    arm(world)
    world.order("run")


@scenario("ring grows while a sync is due")
def ring_grows_unsynced(world: World) -> None:
    world.config["flush.messages"] = "1"
    world.start_owner()
    small = world.lane()
    world.config["max.message.bytes"] = "8192"
    world.order("alter", world.config)
    large = world.lane(max_batch=8192)
    small.send(1)
    large.send(1, 6000)
    arm(world)
    world.order("run")


@scenario("empty ring grows")
def empty_ring_grows(world: World) -> None:
    world.start_owner()
    world.config["max.message.bytes"] = "8192"
    world.order("alter", world.config)
    large = world.lane(max_batch=8192)
    large.send(1, 6000)
    arm(world)
    world.order("run")


@scenario("lane opens and closes")
def lane_opens_and_closes(world: World) -> None:
    world.start_owner()
    stays = world.lane()
    stays.send(1)
    was_there = world.lane_region(producer_id=8)  # what it was granted for stays in its slot
    world.attach(was_there)
    world.order("detach", was_there)
    lane_id = world.lane_region(producer_id=9)
    party = world.party(lane_id)
    arm(world)
    world.attach(lane_id)
    party.send(2)
    world.order("detach", lane_id)
    stays.send(1)
    world.order("begin_close", stays.lane_id)
    world.order("run")

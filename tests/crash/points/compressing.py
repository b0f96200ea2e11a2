"""Scenarios: the owner compresses what it takes, so that batches are longer in their lanes than in ring and files."""

from __future__ import annotations

from shmlog.record.compression import GZIP, LZ4, SNAPPY, ZSTD
from tests.crash.points.scenario import FILES, arm, scenario
from tests.crash.points.world import World


@scenario("compress: several lanes", FILES)
def several_lanes(world: World) -> None:
    world.start_owner()
    lanes = [world.lane(codec=codec) for codec in (GZIP, ZSTD, 0, LZ4, SNAPPY)]
    for party in lanes:
        party.send(1, 1500)
    world.order("run")
    world.read()
    arm(world)
    for party in lanes:
        party.send(1, 1500)
        party.seal()
        party.send(2, 300)
    world.order("run")


@scenario("compress: ring and index wrap", FILES)
def ring_and_index_wrap(world: World) -> None:
    world.start_owner()
    lane = world.lane(codec=ZSTD)
    for _ in range(126):
        lane.send(1, 1500)
        world.order("run")
        lane.reclaim()
    world.read()
    arm(world)
    for _ in range(4):
        lane.send(1, 1500)
        world.order("run")
        lane.reclaim()


@scenario("compress: duplicates in front of a new batch")
def duplicates_and_new(world: World) -> None:
    world.start_owner()
    first = world.lane(producer_id=7, codec=GZIP)
    for _ in range(2):
        first.send(1, 900)
        first.seal()
    world.order("run")
    again = world.lane(producer_id=7, named=first.name, codec=GZIP)
    for _ in range(2):
        again.send(1, 900)
        again.seal()
    again.send(1, 900)
    again.seal()
    again.send(1)  # too little to become smaller: it stays as it is
    arm(world)
    world.order("run")


@scenario("compress: the topic changes its mind")
def topic_changes_its_mind(world: World) -> None:
    world.config["compression.type"] = "lz4"
    world.start_owner()
    own, none = world.lane(codec=GZIP), world.lane()
    own.send(1, 900)
    none.send(1, 900)
    world.order("run")
    own.send(1, 900)
    none.send(1, 900)
    arm(world)
    world.order("alter", {"compression.type": "uncompressed"})
    world.order("run")
    own.send(1, 900)
    world.order("alter", {"compression.type": "producer"})
    none.send(1, 900)
    world.order("run")


@scenario("compress: roll", FILES)
def roll(world: World) -> None:
    world.segment_bytes = 1900
    world.start_owner()
    lane = world.lane(codec=ZSTD)
    for _ in range(3):
        lane.send(1, 1500)
        world.order("run")
    lane.send(1, 1500)
    arm(world)
    world.order("run")
    lane.send(1, 1500)
    world.order("run")

"""Scenarios: the owner puts compacted segments in their places while its lanes have records."""

from __future__ import annotations

from shmlog.control.messages import CleanLog, LogCleaned, SwapSegments
from shmlog.log.log_reader import open_log
from shmlog.partition.cleaner import clean_log
from tests.crash.points.roles import name_and_number
from tests.crash.points.scenario import FILES, arm, scenario
from tests.crash.points.world import World

KEYS_BYTES = 1 << 20


def ready_to_swap(world: World) -> SwapSegments:
    """What the cleaner makes of all rolled segments. What is out of date in them may be gone from now on."""
    world.order("sync")
    records = list(open_log(str(world.directory)).records())
    end = records[-1].offset + 1
    job = CleanLog(str(world.directory), world.config, end, KEYS_BYTES, 1 << 40, 0o600, None)
    done = clean_log(job, lambda read, written: None)
    assert isinstance(done, LogCleaned), done
    cleaned = [one for one in records if one.offset < done.swap.first_dirty_offset]
    newest = {one.key: one.offset for one in cleaned}
    removed = {one.offset: name_and_number(one.value) for one in cleaned if newest[one.key] != one.offset}
    before = world.compacted[-1]
    assert removed, "nothing would be missed"
    world.compacted = [before, before | removed]
    return done.swap


def fill(world: World) -> None:
    """Rolled segments of two records, the newest of each key in the last of them, and an active one."""
    world.segment_bytes = 700
    world.config |= {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0"}
    world.start_owner()
    parties = [world.lane() for _ in range(3)]
    for party in parties:
        for _ in range(2):
            party.send(2, 300)
            world.order("run")
            party.reclaim()
    parties[0].send(1, 300)
    world.order("run")
    world.read()


def go_on_with_records(world: World, swap: SwapSegments) -> None:
    lane, other = world.parties[:2]
    lane.send(2)
    other.send(1, 300)
    other.seal()
    other.send(1)
    arm(world)
    world.order("swap", swap)
    world.order("run")


@scenario("compacted segments take their places", FILES)
def take_their_places(world: World) -> None:
    fill(world)
    go_on_with_records(world, ready_to_swap(world))


@scenario("compacted segments take their places in a compacted log", FILES)
def take_their_places_again(world: World) -> None:
    fill(world)
    world.order("swap", ready_to_swap(world))
    for party in world.parties:
        party.send(2, 300)
        world.order("run")
        party.reclaim()
    world.read()
    world.compacted = world.compacted[-1:]
    go_on_with_records(world, ready_to_swap(world))

"""One kill: play a scenario up to its point, kill the recovery too if asked, then recover for good and check."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.crash.points.actor import Killed
from tests.crash.points.count import CountPage
from tests.crash.points.invariants import (
    check_index_files,
    check_log,
    check_producer_state,
    check_recovered,
    check_ring,
)
from tests.crash.points.promise import Promise, check_kept, check_kept_in_files, promise_of
from tests.crash.points.roles import OwnerRole
from tests.crash.points.world import World


def run_once(
    play: Callable[[World], None], place: Path, first: CountPage, second: CountPage | None, final: str
) -> None:
    """See scenario.Run."""
    place.mkdir(parents=True)
    world = World(place, first)
    try:
        with suppress(Killed):
            play(world)
        world.kill_everybody()
        before = world.cells()
        if before is not None:
            before.check(synced_first=world.config.get("flush.messages") == "1")
        check_index_files(world)
        promises = [promise_of(world)]
        check_replicas_have(world, promises)
        check_files_keep(world, promises)
        if final == "cold":
            world.reboot()
            before = None
        if second is not None:
            with suppress(Killed):
                world.start_owner(armed=True, page=second)
                world.order("run")
            world.kill_everybody()
            promises.append(promise_of(world))
            check_replicas_have(world, promises)
            check_files_keep(world, promises)
        lanes_survive = not world.was_rebooted
        rings = world.rings()
        world.meanwhile()
        if world.cells() is not None:
            world.replicas.copy()
        rig = world.partition(world.next_epoch())
        check_ring(rig)
        if rig.opened.end is not None and promises[-1] is not None:
            check_still_shown(rig, promises[-1])
        world.replicas.follow(rig.spec.leader_epoch)
        rig.publish_once()
        check_ring(rig)
        rig.run()
        world.replicas.check_have(rig.control.high_watermark, min_insync_replicas(world))
        replicate(world, rig)
        check_recovered(rig, before if lanes_survive else None)
        for promise in filter(None, promises):
            check_kept(world, rig, promise)
        assert world.rings() > rings, "who slept was not rung"
        world.read()
        go_on(world, rig)
        check_log(world, rig, lanes_survive=lanes_survive)
        check_clean_restart(world, rig)
    finally:
        world.close()


def check_files_keep(world: World, promises: list[Promise | None]) -> None:
    """Before anybody recovers anything."""
    for promise in filter(None, promises):
        check_kept_in_files(world, promise)


def check_replicas_have(world: World, promises: list[Promise | None]) -> None:
    """Before anybody takes over: whoever of them leads next, has what was shown."""
    for promise in filter(None, promises):
        world.replicas.check_have(promise.end, min_insync_replicas(world))


def check_still_shown(rig: OwnerRole, promise: Promise) -> None:
    """By a successor over the same ring, before anybody else has said a word."""
    start = rig.control.log_start_offset
    end = max((record.offset + 1 for record in rig.read_all(start)), default=start)
    assert promise.end <= end, f"records below {promise.end} were shown, a reader now gets those below {end}"


def replicate(world: World, rig: OwnerRole) -> None:
    """The followers get everything, and are in sync if that is what the partition waits for."""
    world.replicas.copy()
    if rig.publisher.under_min_isr:
        rig.followers_are(1, world.replicas.count_in(), [])
    rig.run()


def min_insync_replicas(world: World) -> int:
    return int(world.config.get("min.insync.replicas", "1"))


def go_on(world: World, rig: OwnerRole) -> None:
    """The survivors send on, and are served; the owner looks at sealed segments, as it does when it has time."""
    for party in {party.name: party for party in world.parties}.values():  # of several of a name, the last
        if party.role is not None and party.refused_from is None and rig.is_open(party.lane_id):
            party.send(1)
            party.seal()
    rig.run()
    replicate(world, rig)
    while rig.opened.log.sealed.check_next():
        pass
    world.read()


def check_clean_restart(world: World, rig: OwnerRole) -> None:
    """What was recovered can be closed and opened again, and nothing has to be repaired then."""
    end = rig.publisher.tail_offset
    rig.close()
    again = world.partition(world.next_epoch())
    assert again.publisher.tail_offset == end
    assert again.opened.recovered == "", again.opened.recovered
    check_producer_state(again)

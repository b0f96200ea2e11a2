"""One run of a scenario in which another replica takes over: who plays, who recovers, and what must hold then.

Whoever recovers, the same replica or the old leader's over its own log, everything holds that holds after any other
takeover: what was shown and acknowledged is kept, what was accepted gets an offset or goes back into its lane. Then the
other replica follows, and has the same log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns

from shmlog.control.messages import FollowerSpec
from shmlog.errors import CorruptRecordError
from shmlog.log.progress import Progress
from shmlog.log.storage import OsStorage
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import ReplicaState
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.partition.following import Following
from shmlog.partition.survey import find_end, read_entries
from shmlog.partition.takeover import NOWHERE
from shmlog.setting_tables import TOPIC
from shmlog.settings import as_text
from shmlog.testing.follower_rig import FollowerRig, difference
from shmlog.testing.partition_rig import TOPIC_NAME
from tests.crash.points.actor import Killed
from tests.crash.points.count import CountPage
from tests.crash.points.following import make_here
from tests.crash.points.invariants import check_index_files, check_log, check_recovered, check_ring
from tests.crash.points.promise import Promise, check_kept, check_kept_in_files, promise_of
from tests.crash.points.roles import OwnerRole
from tests.crash.points.run import check_clean_restart, check_still_shown, go_on
from tests.crash.points.world import PARTITION_ID, Cells, World

OLD, NEW = 0, 1
"""The replica that led, and the one that takes over."""


class TakeoverWorld(World):
    """A partition with two replicas, the second of which follows until the first one's owner is dead."""

    def __init__(self, place: Path, page: CountPage) -> None:
        super().__init__(place, page)
        self.directories = {OLD: self.directory, NEW: place / "flights-0.r1"}
        self.leader = OLD
        self.segment_bytes = 700
        self.is_in_sync = True
        """Whoever leads: his replica has all that was shown."""
        self.has_losses = False
        """Not all that was published comes into the new leader's log; the old leader's replica never leads after it."""
        self.intent = 0
        """What the control page said that may be overwritten when it was last looked at."""
        self.heal: Callable[[], None] = lambda: None
        """Undo what was spoiled in the ring, before somebody who has it in his files goes on with it."""
        self._following: Following | None = None
        self._region: ReplicaRegion | None = None

    def partition(self, epoch: int) -> OwnerRole:
        directory = self.directories[self.leader]
        in_sync = self.replicas.in_sync
        return OwnerRole(
            self.tag, directory, self.config, epoch, self.segment_bytes, self.page, in_sync, replica_id=self.leader
        )

    def follow(self) -> None:
        """The follower starts, and is in sync. Its syncs are made in its one thread."""
        Progress.wait_for = make_here  # type: ignore[method-assign, assignment]  # in this process alone
        self._region = ReplicaRegion.create(self.tag, PARTITION_ID, NEW, mode=0o600)
        config = {name: as_text(setting.default) for name, setting in TOPIC.items()} | self.config
        spec = FollowerSpec(
            "cluster", "test", self.tag, "", TOPIC_NAME, "A" * 22, 0, PARTITION_ID, NEW,
            str(self.directories[NEW]), str(self.directories[OLD]), config, 0o600, None,
        )  # fmt: skip
        self._following = Following(spec, self._region, OsStorage(), lambda _: None)
        self.replicas.in_sync.append(NEW)

    def copy(self) -> None:
        """The follower takes what its leader has written."""
        assert self._following is not None
        while self._following.follow(monotonic_ns()):
            pass

    def hand_over(self) -> None:
        """The follower takes what there is and closes its copy for an owner."""
        self.copy()
        assert self._following is not None
        assert self._region is not None
        self._following.hand_over()
        self._region.store_state(ReplicaState.CLOSED)
        self._following = None

    def lead_from(self, replica_id: int) -> None:
        """Whoever leads next has that replica's log. Everybody is dead, but for the producers."""
        self.kill_everybody()
        if self._following is not None:
            self._following.close(clean=False)
            self._following = None
        self.replicas.in_sync = []
        self.leader, self.directory = replica_id, self.directories[replica_id]
        cells = self.cells()
        if cells is not None and self.intent == 0:
            self.intent = cells.intent

    def spoil(self, offset: int) -> None:
        """One byte of the batch at this offset, in the ring."""
        self.has_losses = True
        page = ControlPage.open(self.tag, PARTITION_ID)
        generation = page.generation
        page.close()
        index = region.open_region(names.index(self.tag, PARTITION_ID, generation))
        entry = next(one for one in read_entries(index.read(0, index.size_bytes)) if one.base_offset == offset)
        index.close()

        def write(change: Callable[[int], int]) -> None:
            with suppress(FileNotFoundError):
                ring = region.open_region(names.ring(self.tag, PARTITION_ID, generation), writable=True)
                at = (entry.pos_end - 1) % ring.size_bytes
                ring.write(at, bytes([change(ring.read(at, 1)[0])]))
                ring.close()

        sound: list[int] = []

        def flip(byte: int) -> int:
            sound.append(byte)
            return byte ^ 1

        write(flip)
        self.heal = lambda: write(lambda _: sound[0])

    def leader_replica(self) -> int | None:
        """Whose log the control page speaks of."""
        try:
            page = ControlPage.open(self.tag, PARTITION_ID)
        except (FileNotFoundError, CorruptRecordError):
            return None
        try:
            return page.leader_replica
        finally:
            page.close()


def run_takeover(
    play: Callable[[TakeoverWorld], None], place: Path, first: CountPage, second: CountPage | None, final: str
) -> None:
    """See scenario.Run."""
    place.mkdir(parents=True)
    world = TakeoverWorld(place, first)
    try:
        with suppress(Killed):
            play(world)
        in_sync = (NEW,) if world.leader_replica() == NEW else (OLD, NEW)
        promises = [promise_now(world, in_sync)]
        if final == "cold":
            world.reboot()
            world.intent = 0
        before = choose_leader(world, final)
        check_index_files(world)
        if second is not None:
            with suppress(Killed):
                world.start_owner(armed=True, page=second)
                world.order("run")
            world.kill_everybody()
            promises.append(promise_now(world, (world.leader,) if world.is_in_sync else ()))
            before = choose_leader(world, final)
        rings = world.rings()
        rig = world.partition(world.next_epoch())
        check_ring(rig)
        if rig.opened.end is not None and promises[-1] is not None:
            check_still_shown(rig, promises[-1])
        rig.publish_once()
        check_ring(rig)
        rig.run()
        assert rig.control.leader_replica == world.leader
        check_recovered(rig, None)
        if before is not None:
            check_goes_on(Cells.of(rig.control), before)
        for promise in filter(None, promises):
            check_kept(world, rig, promise)
        assert world.rings() > rings, "who slept was not rung"
        world.read()
        go_on(world, rig)
        check_other_replica_follows(world, rig)
        check_log(world, rig, lanes_survive=not world.was_rebooted)
        check_clean_restart(world, rig)
    finally:
        world.close()


def choose_leader(world: TakeoverWorld, final: str) -> Cells | None:
    """As a supervisor would: a replica that has not all that was published leads only if no other is in sync. Returns
    the control page before."""
    is_done = world.leader_replica() == NEW
    back = final == "old leader" and not (is_done and world.has_losses)
    world.lead_from(OLD if back else NEW)
    world.is_in_sync = world.is_in_sync and not (back and is_done)
    if back:
        world.heal()
    cells = world.cells()
    if cells is not None:
        assert cells.intent >= world.intent, (
            "the intent went back: readers of the old ring believe what was overwritten"
        )
        world.intent = cells.intent
        check_end_is_known(world)
    return cells


def check_end_is_known(world: TakeoverWorld) -> None:
    """Whoever surveys the ring learns where it ends."""
    page = ControlPage.open(world.tag, PARTITION_ID)
    index = region.open_region(names.index(world.tag, PARTITION_ID, page.generation))
    cells = (page.mapping.load(cell) for cell in (layout.CTL_TAIL_POS, layout.CTL_BASE_OFFSET, layout.CTL_BASE_POS))
    assert find_end(read_entries(index.read(0, index.size_bytes)), *cells).next_offset < NOWHERE, (
        "the ring ends nowhere"
    )
    index.close()
    page.close()


def promise_now(world: TakeoverWorld, in_sync: Sequence[int]) -> Promise | None:
    """What is shown; the replicas that are in sync have it in their files."""
    promise = promise_of(world)
    for replica_id in in_sync if promise is not None else ():
        assert promise is not None
        world.lead_from(replica_id)
        check_kept_in_files(world, promise)
    return promise


def check_goes_on(now: Cells, before: Cells) -> None:
    """Nothing goes back in one generation, but how much is on the disk, which is another one now."""
    if now.generation == before.generation:
        for cell in ("intent", "tail", "written", "hw", "lso"):
            assert getattr(now, cell) >= getattr(before, cell), (cell, before, now)


def check_other_replica_follows(world: TakeoverWorld, rig: OwnerRole) -> None:
    """It makes this leader's log of whatever it has. The leader's replica does not look like a follower any more."""
    if world.leader == NEW:
        assert not region.exists(names.replica(world.tag, PARTITION_ID, NEW)), (
            "the leader's replica looks like a follower"
        )
    follower = FollowerRig(rig, world.directories[OLD if world.leader == NEW else NEW])
    try:
        follower.work()
        assert difference(rig.directory, follower.directory) == ""
        assert follower.end_offset == rig.publisher.written_offset
    finally:
        follower.kill()
        region.unlink(names.replica(world.tag, PARTITION_ID, NEW))

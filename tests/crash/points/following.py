"""Scenarios: a follower copies its leader's log, and is killed while it appends, rolls, cuts, starts or closes.

The leader is a rig in the process that plays, and lives on; the victim is a follower's agent in a process of its own.
Whatever is left of its copy is a beginning of a log that some leader had, it has everything that its region has shown,
and the next follower makes the leader's log of it.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from shmlog.control.messages import Close
from shmlog.errors import CorruptRecordError
from shmlog.log import damage
from shmlog.log.dump import verify
from shmlog.log.progress import Progress
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import OsStorage
from shmlog.memory import names, region
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.testing.follower_rig import (
    REPLICA_ID,
    FollowerRig,
    assert_same,
    lose_shared_memory,
    produce,
    retain,
    run_state,
)
from shmlog.testing.partition_rig import Rig
from tests.crash.points.actor import Actor, Killed
from tests.crash.points.count import CountPage
from tests.crash.points.invariants import sound_batches
from tests.crash.points.roles import CONFIG
from tests.crash.points.scenario import FILES, SCENARIOS, Scenario

PARTITION_ID = 1
SEGMENT_BYTES = 1000


def make_here(_: Progress, call: Callable[[], None]) -> None:
    """In the place of Progress.wait_for: in this thread."""
    call()


class FollowerRole(FollowerRig):
    """A follower in a process of its own: methods are what a scenario tells it to do.

    Its syncs are made in its one thread, so that they are points like everything else.
    """

    def __init__(self, rig: Rig, directory: Path) -> None:
        Progress.wait_for = make_here  # type: ignore[method-assign, assignment]  # in this process alone
        super().__init__(rig, directory)

    def close(self) -> None:
        self.supervisor.send(Close(delete=False))
        self.agent.serve()


class FollowerWorld:
    """A leader, the place of its follower's copy, and everything that a leader of this log ever had."""

    def __init__(self, place: Path, page: CountPage) -> None:
        self.place = place
        self.page = page
        self.copy = place / "flights-0.r1"
        self.tag = names.cluster_tag("following", str(place))
        self.history: defaultdict[int, set[bytes]] = defaultdict(set)
        self.producers = 0
        self.config: dict[str, str] = {}
        self._rig: Rig | None = None
        self._follower: Actor | None = None

    @property
    def leader(self) -> Rig:
        """Made when it is first asked for."""
        if self._rig is None:
            self._rig = Rig(self.tag, self.place / "flights-0", CONFIG | self.config, 0)
            self._settle()
        return self._rig

    def _settle(self) -> None:
        self.leader.publisher.segment_bytes = SEGMENT_BYTES
        run_state(self.leader)

    def take_over(self) -> None:
        """The leader's successor, over what there is."""
        self.leader.take_over(self.leader.spec.leader_epoch + 1)
        self._settle()

    def produce(self, count: int, size: int = 200) -> None:
        """Through a new producer: the one before went with its leader, perhaps."""
        self.producers += 1
        lane_id = self.leader.make_lane(producer_id=self.producers)
        produce(self.leader, self.leader.attached(lane_id), count, size)
        self.leader.close_lane(lane_id)
        for offset, batch in batches_in(self.leader.directory).items():
            self.history[offset].add(batch)

    def start(self, *, armed: bool = False, page: CountPage | None = None) -> None:
        """A follower, after whatever was there before."""
        make = partial(FollowerRole, self.leader, self.copy)
        self._follower = Actor(make, page or self.page, armed=armed)

    def order(self, method: str) -> None:
        assert self._follower is not None
        self._follower.call(method)

    def arm(self) -> None:
        assert self._follower is not None
        self._follower.arm()

    def kill(self) -> None:
        if self._follower is not None:
            self._follower.kill()

    def save(self) -> None:
        """What the leader has now is what its disk will still have."""
        shutil.copytree(self.leader.directory, self.place / "on the disk")

    def lose_power(self) -> None:
        """At the leader, which has only what was saved; the follower's disk has everything."""
        lose_shared_memory(self.leader)
        shutil.rmtree(self.leader.directory)
        (self.place / "on the disk").rename(self.leader.directory)
        self.take_over()

    def reboot(self) -> None:
        """Shared memory is gone, the files are as they were written."""
        self.leader.let_go()
        region.sweep(self.tag)
        self.take_over()

    def close(self) -> None:
        self.kill()
        if self._rig is not None and self._rig.lives:
            self._rig.let_go()
        region.sweep(self.tag)
        shutil.rmtree(self.place, ignore_errors=True)


def batches_in(directory: Path) -> dict[int, bytes]:
    """All batches of a log by their offsets, up to the first of each file that is not sound."""
    found: dict[int, bytes] = {}
    for base_offset in list_base_offsets(OsStorage(), str(directory)) if directory.exists() else []:
        path = segment_path(str(directory), base_offset, LOG_SUFFIX)
        data = Path(path).read_bytes()
        for row in sound_batches(path):
            found[row.header.base_offset] = data[row.position : row.position + row.header.size_bytes]
    return found


def run_follower(
    play: Callable[[FollowerWorld], None], place: Path, first: CountPage, second: CountPage | None, final: str
) -> None:
    """See scenario.Run."""
    place.mkdir(parents=True)
    world = FollowerWorld(place, first)
    try:
        with suppress(Killed):
            play(world)
        world.kill()
        check_copy(world)
        if final == "cold":
            world.reboot()
        if second is not None:
            with suppress(Killed):
                world.start(armed=True, page=second)
                world.order("work")
            world.kill()
            check_copy(world)
        check_follower(world)
    finally:
        world.close()


def check_copy(world: FollowerWorld) -> None:
    """Right after a kill: nothing is in the copy that no leader had, and all that was shown is there."""
    copied = batches_in(world.copy)
    for offset, batch in copied.items():
        assert batch in world.history[offset], f"at offset {offset} is a batch that no leader ever had"
    with suppress(FileNotFoundError, CorruptRecordError):
        shown = ReplicaRegion.open(names.replica(world.tag, PARTITION_ID, REPLICA_ID), PARTITION_ID)
        written, epoch = shown.written_offset, shown.leader_epoch
        synced = shown.synced_offset
        shown.close()
        if epoch == world.leader.spec.leader_epoch:
            assert synced <= max(written, world.leader.opened.log.log_start_offset)
            leaders = batches_in(world.leader.directory)
            start = max(min(leaders, default=0), min(copied, default=0))
            missing = [k for k, batch in leaders.items() if start <= k < written and copied.get(k) != batch]
            assert not missing, f"offsets up to {written} were shown, {missing} are not there"


def check_follower(world: FollowerWorld) -> None:
    """The next follower makes the leader's log of what is there, goes on, closes and opens again."""
    follower = FollowerRig(world.leader, world.copy)
    try:
        follower.work()
        follower.keep_house()
        assert_same(follower)
        for _ in range(3):
            world.produce(2)
            assert_same(follower)
        check_files(world)
        follower.supervisor.send(Close(delete=False))
        follower.agent.serve()
        follower.hang_up()
        follower.start()
        assert follower.following.copy.log.recovered == ""
        world.produce(2)
        assert_same(follower)
    finally:
        follower.kill()


def check_files(world: FollowerWorld) -> None:
    """Every file is sound, nothing is left over, nothing is called damage."""
    assert not damage.read(str(world.copy))
    known = {path.suffix for path in world.leader.directory.iterdir()} | {".snapshot", ".deleted"}
    for path in world.copy.iterdir():
        assert path.suffix in known, f"{path.name} was left over"
        if path.suffix in (".log", ".index", ".timeindex", ".snapshot"):
            verdict = verify(str(path))
            assert verdict.sound, verdict.summary
    offsets = sorted(batches_in(world.copy))
    assert all(later > earlier for earlier, later in pairwise(offsets))


def follower_scenario(
    name: str,
) -> Callable[[Callable[[FollowerWorld], None]], Callable[[FollowerWorld], None]]:
    def enter(play: Callable[[FollowerWorld], None]) -> Callable[[FollowerWorld], None]:
        SCENARIOS[name] = Scenario(name, partial(run_follower, play), FILES)
        return play

    return enter


@follower_scenario("follower: append")
def append(world: FollowerWorld) -> None:
    world.start()
    world.order("work")
    world.arm()
    for count in (1, 2):
        world.produce(count, 100)
        world.order("work")


@follower_scenario("follower: group commit")
def group_commit(world: FollowerWorld) -> None:
    world.config["flush.messages"] = "1"
    world.start()
    world.order("work")
    world.arm()
    for count in (1, 2):
        world.produce(count, 100)
        world.order("work")


@follower_scenario("follower: roll")
def roll(world: FollowerWorld) -> None:
    world.start()
    world.produce(2)
    world.order("work")
    world.arm()
    world.produce(3)
    world.order("work")
    world.leader.keeper.roll()
    world.order("work")


@follower_scenario("follower: several rolls at once")
def several_rolls(world: FollowerWorld) -> None:
    world.start()
    world.produce(1)
    world.order("work")
    world.produce(9)
    world.take_over()
    world.produce(3)
    world.arm()
    world.order("work")


@follower_scenario("follower: start from nothing")
def start_from_nothing(world: FollowerWorld) -> None:
    world.produce(5)
    world.take_over()
    world.produce(4)
    world.start(armed=True)
    world.order("work")


@follower_scenario("follower: start with a torn tail")
def torn_tail(world: FollowerWorld) -> None:
    world.start()
    world.produce(5)
    world.order("work")
    world.kill()
    active = max(world.copy.glob("*.log"))
    with active.open("ab") as file:
        file.write(active.read_bytes()[:90] or b"torn")
    world.start(armed=True)
    world.order("work")


@follower_scenario("follower: cut")
def cut(world: FollowerWorld) -> None:
    """A leader that lost what its follower has, in the middle of a segment and behind it."""
    world.start()
    world.produce(4)
    world.save()
    world.produce(7)
    world.order("work")
    world.kill()
    world.lose_power()
    world.produce(3, 250)
    world.start(armed=True)
    world.order("work")


@follower_scenario("follower: cut while it runs")
def cut_while_it_runs(world: FollowerWorld) -> None:
    world.config["flush.messages"] = "1"
    world.start()
    world.produce(2)
    world.save()
    world.produce(5)
    world.order("work")
    world.lose_power()
    world.produce(1, 250)
    world.arm()
    world.order("keep_house")


@follower_scenario("follower: begin anew")
def begin_anew(world: FollowerWorld) -> None:
    """What comes next was deleted by its leader."""
    world.start()
    world.produce(5)
    world.order("work")
    world.produce(12)
    retain(world.leader, SEGMENT_BYTES)
    world.leader.publisher.segment_bytes = SEGMENT_BYTES
    world.arm()
    world.order("work")


@follower_scenario("follower: retention")
def retention(world: FollowerWorld) -> None:
    world.start()
    world.produce(12)
    world.order("work")
    retain(world.leader, SEGMENT_BYTES)
    world.leader.publisher.segment_bytes = SEGMENT_BYTES
    world.arm()
    world.order("keep_house")


@follower_scenario("follower: close")
def close(world: FollowerWorld) -> None:
    world.start()
    world.produce(5)
    world.arm()
    world.order("close")

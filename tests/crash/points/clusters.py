"""Scenarios: a supervisor is killed while it starts, hands out ids, and makes and deletes topics.

Its parts are the real ones: home, metadata log, regions, topics, trash. Owners are stood in for by _Owners, which
makes what an owner makes and reports it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

from shmlog.control.messages import CreateTopic, DeleteTopic, Done, Failed, OwnerSpec, Reply, TopicCreated
from shmlog.control.paths import RuntimePaths
from shmlog.control.worker_messages import OwnerReady
from shmlog.log.mirror import Mirror, first_difference, look_for_sound
from shmlog.log.storage import OsStorage
from shmlog.machines.metadata import Partition
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.supervision import OwnerPhase
from shmlog.memory import names, region
from shmlog.partition.opening import open_partition
from shmlog.settings import ClusterConfig
from shmlog.supervisor import home
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.describe import Descriptions
from shmlog.supervisor.directories import LogDirectories
from shmlog.supervisor.directory_opening import open_directories
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog, Point, metadata_directory
from shmlog.supervisor.metadata_restoring import restore
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.topics import Topics
from shmlog.supervisor.trash import Trash
from shmlog.supervisor.worker_specs import owner_spec
from tests.crash.points.actor import Actor, Killed
from tests.crash.points.count import CountPage
from tests.crash.points.scenario import FILES, SCENARIOS, Scenario
from tests.no_followers import no_failover, no_followers

CLUSTER_CONFIG = {"max.message.bytes": "2048", "file.delete.delay.ms": "0"}
TURNS_MAX = 1000


class _Owners:
    """Owners that are ready when they are wanted and gone when they are not."""

    def __init__(
        self,
        catalog: Catalog,
        regions: Regions,
        directories: LogDirectories,
        spec: Callable[[Partition, int], OwnerSpec],
    ) -> None:
        self.watchers: list[OwnerWatcher] = []
        self._directories = directories
        self.machine = SimpleNamespace(phase=lambda partition_id: OwnerPhase.RUNNING, error=lambda partition_id: "")
        self._catalog = catalog
        self._regions = regions
        self._spec = spec

    def pid(self, partition_id: int) -> int:
        return os.getpid()

    def running(self, partition_id: int) -> None:
        return None

    def want(self, partitions: Sequence[Partition]) -> None:
        there = [partition for partition in partitions if not self._directories.missing(partition)]
        epochs = [(partition, partition.leader_epoch + 1) for partition in there]
        self._catalog.commit(tuple(LeaderEpochRaised(one.partition_id, epoch) for one, epoch in epochs))
        for partition, epoch in epochs:
            self._start(partition, epoch)

    def _start(self, partition: Partition, epoch: int) -> None:
        self._regions.bell(partition.partition_id).close()
        opened = open_partition(self._spec(partition, epoch))
        opened.log.close(clean=False)
        for watcher in self.watchers:
            watcher.owner_ready(OwnerReady(partition.partition_id, epoch, 1, 0, 0, 0, 0, [], "", False))

    def unwant(self, partition_id: int, *, delete: bool) -> None:
        for watcher in self.watchers:
            watcher.owner_gone(partition_id, delete, clean=True)


class _CopiesAtOnce:
    """Copies of the metadata log without threads, so that points have one order."""

    def __init__(self, data_dir: str, log_dirs: Iterable[str]) -> None:
        source, targets = metadata_directory(data_dir), [metadata_directory(one) for one in log_dirs]
        storage = OsStorage()
        self._mirrors = [Mirror(storage, source, one, look_for_sound(storage, one).sizes) for one in targets]

    def add(self, log_dir: str) -> None:
        """No directory comes back here."""

    def bring(self, point: Point) -> None:
        for mirror in self._mirrors:
            mirror.bring(*point)

    def close(self) -> None:
        pass


class ClusterRole:
    """A supervisor, as far as it needs no processes. `disks`: names of its log directories; none: data.dir alone."""

    disks: tuple[str, ...] = ()

    def __init__(self, place: Path) -> None:
        self.data_dir = str(place / "data")
        config = ClusterConfig.from_mapping({}, {})
        self.home = home.enter("c", RuntimePaths(str(place / "run")), self.data_dir, directory_mode=0o700, group=None)
        log_dirs = [str(place / disk) for disk in self.disks]
        self.restored = restore(self.data_dir, log_dirs, self.home.cluster_id)
        self.catalog = Catalog(self.data_dir, config, directory_id=self.home.directory_id)
        self.opened = open_directories(self.home, "c", log_dirs, self.catalog.machine, None)
        self.catalog.copy_to(_CopiesAtOnce(self.data_dir, self.opened.found.values()))
        self.identity = ClusterIdentity(
            "c",
            self.home.cluster_id,
            names.cluster_tag("clusters", str(place)),
            self.home.runtime,
            self.data_dir,
            config,
            None,
            0,
            self.opened.directories,
        )
        self.loop = Loop()
        self.regions = Regions(self.identity)
        self.owners = self.make_owners()
        trash = Trash(self.loop, self.paths())
        self.describe = Descriptions(self.identity, self.catalog, self.owners, no_followers(), no_failover())
        self.watch_owners()  # before topics, who says that all have started when everybody was told
        self.topics = Topics(
            self.loop, self.identity, self.catalog, self.regions, self.owners, no_followers(), self.describe, trash
        )
        self.begin_to_serve()
        known = {partition.partition_id for partition in self.catalog.machine.partitions()}
        for partition_id in self.regions.leftover_partitions() - known:  # as Supervisor does when it starts
            self.regions.drop_partition(partition_id)
        self.catalog.commit(self.catalog.machine.register_directories(self.opened.found).records)
        self.topics.resume(self.settled)
        self.turn()

    # --- what a supervisor with clients does besides ------------------------------------------------------------------

    def make_owners(self) -> Owners:
        return cast(Owners, _Owners(self.catalog, self.regions, self.identity.directories, self.owner_spec))

    def watch_owners(self) -> None:
        """Make what wants to be told of owners."""

    def begin_to_serve(self) -> None:
        """Before any owner is started."""

    def settled(self) -> None:
        """All owners run."""

    def owner_spec(self, partition: Partition, epoch: int) -> OwnerSpec:
        """What an owner of `partition` is told."""
        return owner_spec(
            self.identity,
            partition,
            self.catalog.machine.effective_config(partition.topic),
            leader_epoch=epoch,
            leftovers=self.regions.may_have_leftovers(partition.partition_id),
            followers=[],
            has_begun=epoch > 0,
        )

    # --- orders -------------------------------------------------------------------------------------------------------

    def cluster_id(self) -> str:
        return self.home.cluster_id

    def next_id(self) -> int:
        return self.catalog.next_id("producer")

    def create(self, name: str, partitions: int) -> None:
        self._ask(partial(self.topics.create, CreateTopic(1, name, partitions, 1, dict(CLUSTER_CONFIG))), TopicCreated)

    def delete(self, name: str) -> None:
        self._ask(partial(self.topics.delete, DeleteTopic(1, name)), Done)

    def turn(self) -> None:
        """Let the loop do what is due, which is the trash, one file at a time."""
        for _ in range(TURNS_MAX):
            self.loop.run_once(0.0)
            if not any(entry.endswith("-delete") for path in self.paths() for entry in os.listdir(path)):
                return
        raise AssertionError("the trash does not get empty")

    def paths(self) -> list[str]:
        return self.identity.directories.present_paths()

    def existing(self) -> dict[str, list[int]]:
        return {topic.name: topic.partition_ids for topic in self.catalog.machine.topics()}

    def close(self) -> None:
        self.regions.sweep(keep_partitions=set(), keep_clients=False)
        self.catalog.close(clean=True)
        self.opened.release()
        self.home.release(empty=True)

    def _ask(self, request: Callable[[Answer], None], expected: type[Reply]) -> Reply:
        replies: list[Reply] = []
        request(Answer(1, replies.append))
        self.turn()
        (reply,) = replies
        assert not isinstance(reply, Failed), reply
        assert isinstance(reply, expected)
        return reply


class ClusterWorld:
    """What a scenario is told with; it notes what was answered, and what was asked for and perhaps not."""

    role: type[ClusterRole] = ClusterRole

    def __init__(self, place: Path, page: CountPage) -> None:
        self.place = place
        self.page = page
        self.certain: dict[str, int] = {}  # topics that exist, and how many partitions they have
        self.doubtful: tuple[str, int] | None = None  # was being made or deleted
        self.ids: list[int] = []
        self.cluster_id: str | None = None
        self.supervisor: Actor | None = None

    def start(self, *, armed: bool = False, page: CountPage | None = None) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()
        self.supervisor = Actor(lambda: self.role(self.place), page or self.page, armed=armed)
        self.cluster_id = self.supervisor.call("cluster_id")

    def arm(self) -> None:
        assert self.supervisor is not None
        self.supervisor.arm()

    def create(self, name: str, partitions: int) -> None:
        assert self.supervisor is not None
        self.doubtful = (name, partitions)
        self.supervisor.call("create", name, partitions)
        self.certain[name] = partitions
        self.doubtful = None

    def delete(self, name: str) -> None:
        assert self.supervisor is not None
        self.doubtful = (name, self.certain.pop(name))
        self.supervisor.call("delete", name)
        self.doubtful = None

    def take_id(self) -> None:
        assert self.supervisor is not None
        self.ids.append(self.supervisor.call("next_id"))

    def kill(self) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()

    def after_kill(self) -> None:
        """What survivors do; then there is no supervisor any more."""
        self.kill()

    def check(self, role: ClusterRole) -> None:
        """`role` is the last supervisor, which has just started."""
        check_cluster(self, role)

    def close(self) -> None:
        self.kill()
        region.sweep(self.tag)
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def tag(self) -> str:
        return names.cluster_tag("clusters", str(self.place))


AnyWorld = TypeVar("AnyWorld", bound=ClusterWorld)


def run_cluster(
    play: Callable[[AnyWorld], None],
    make_world: Callable[[Path, CountPage], AnyWorld],
    place: Path,
    first: CountPage,
    second: CountPage | None,
    final: str,
) -> None:
    """See scenario.Run."""
    place.mkdir(parents=True)
    world = make_world(place, first)
    try:
        with suppress(Killed):
            play(world)
        world.after_kill()
        if final == "cold":
            region.sweep(world.tag)
        if second is not None:
            with suppress(Killed):
                world.start(armed=True, page=second)
            world.kill()
        world.check(world.role(place))
    finally:
        world.close()


def check_cluster(world: ClusterWorld, role: ClusterRole) -> None:
    """What was answered is so; what was not is done whole, or not at all; and nothing else is there."""
    assert world.cluster_id in (None, role.home.cluster_id)
    found = {name: len(partition_ids) for name, partition_ids in role.existing().items()}
    doubtful = dict([world.doubtful] if world.doubtful else [])
    assert found in (world.certain, world.certain | doubtful), (found, world.certain, doubtful)
    assert role.next_id() > max(world.ids, default=-1)
    check_leftovers(role)
    role.create("after", 1)
    for name in [*found, "after"]:
        role.delete(name)
    check_leftovers(role)
    role.close()
    assert region.list_regions(world.tag) == []
    assert not os.path.exists(role.home.runtime.directory)


def check_leftovers(role: ClusterRole) -> None:
    where, partitions = role.identity.directories, role.catalog.machine.partitions()
    reached = [partition for partition in partitions if not where.missing(partition)]
    left = role.regions.leftover_partitions()  # what was in memory waits for a disk that is not there
    assert {one.partition_id for one in reached} <= left <= {one.partition_id for one in partitions}
    wanted = {where.log_directory(partition) for partition in reached}
    directories = {entry.path for path in role.paths() for entry in os.scandir(path) if entry.is_dir()}
    logs = {metadata_directory(path) for path in role.paths()}
    assert directories == wanted | logs, directories
    sound = [look_for_sound(OsStorage(), path) for path in sorted(logs)]
    assert len({tuple(one.sizes.items()) for one in sound}) == 1, sound
    assert not any(first_difference(OsStorage(), sound[0], one) for one in sound)


def cluster_scenario(
    name: str, make_world: type[AnyWorld]
) -> Callable[[Callable[[AnyWorld], None]], Callable[[AnyWorld], None]]:
    def enter(play: Callable[[AnyWorld], None]) -> Callable[[AnyWorld], None]:
        SCENARIOS[name] = Scenario(name, partial(run_cluster, play, make_world), FILES)
        return play

    return enter


@cluster_scenario("cluster: first start", ClusterWorld)
def first_start(world: ClusterWorld) -> None:
    world.start(armed=True)


@cluster_scenario("cluster: metadata is appended", ClusterWorld)
def metadata(world: ClusterWorld) -> None:
    world.start()
    world.arm()
    world.take_id()
    world.take_id()


@cluster_scenario("cluster: a topic is created", ClusterWorld)
def creates(world: ClusterWorld) -> None:
    world.start()
    world.create("stays", 1)
    world.arm()
    world.create("new", 2)


@cluster_scenario("cluster: a topic is deleted and made again", ClusterWorld)
def deletes(world: ClusterWorld) -> None:
    world.start()
    world.create("stays", 1)
    world.create("goes", 2)
    world.arm()
    world.delete("goes")
    world.create("goes", 1)


@cluster_scenario("cluster: restart", ClusterWorld)
def restart(world: ClusterWorld) -> None:
    world.start()
    world.create("stays", 2)
    world.take_id()
    world.start(armed=True)
    world.take_id()

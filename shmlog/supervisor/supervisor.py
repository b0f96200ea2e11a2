"""One cluster's supervisor, put together: start, run until told to stop, close everything."""

from __future__ import annotations

import contextlib
import grp
import logging
from collections.abc import Callable
from dataclasses import dataclass

from shmlog.clock import monotonic_ns, wall_ms
from shmlog.control.life import LifeLock
from shmlog.control.paths import RuntimePaths
from shmlog.errors import BrokerNotAvailableError, DiskFullError, InvalidConfigError, StorageError
from shmlog.machines.placement import DirectoryUse
from shmlog.machines.topic_settings import check_with_cluster
from shmlog.memory import names
from shmlog.record.compression import check_topic
from shmlog.settings import ClusterConfig, TopicConfig
from shmlog.supervisor import home
from shmlog.supervisor.cleaning import Cleaning
from shmlog.supervisor.clients import Clients
from shmlog.supervisor.coordinators import Coordinators
from shmlog.supervisor.damage import DamageWatch
from shmlog.supervisor.deletions import Deletions
from shmlog.supervisor.describe import Descriptions
from shmlog.supervisor.directories import LogDirectory
from shmlog.supervisor.directory_opening import check_listed, open_directories
from shmlog.supervisor.directory_return import DirectoryReturn
from shmlog.supervisor.directory_watch import DirectoryLook, DirectoryWatch
from shmlog.supervisor.disk_reserve import DiskReserve
from shmlog.supervisor.ends import watch_for_end
from shmlog.supervisor.failover import Failover
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.heartbeats import Heartbeats
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.introductions import Introductions
from shmlog.supervisor.lanes import Lanes
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.mends import Mends
from shmlog.supervisor.metadata import Catalog, MetadataLostError
from shmlog.supervisor.metadata_copies import MetadataCopies
from shmlog.supervisor.metadata_restoring import restore
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.process import ServiceNotifier, become_subreaper, raise_file_limit
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.removal import LOOK_EVERY_S, RemovalWatch
from shmlog.supervisor.replicas import Replicas
from shmlog.supervisor.requests import Requests
from shmlog.supervisor.retention import Retention
from shmlog.supervisor.reunion import Reunion, wanted
from shmlog.supervisor.sessions import Listener
from shmlog.supervisor.standbys import NO_STANDBYS, StandbyPlan, Standbys
from shmlog.supervisor.topics import Topics
from shmlog.supervisor.trash import Trash
from shmlog.supervisor.zygote import ZygoteLink
from shmlog.supervisor.zygote_process import OWNER_MODULE, ZygoteProcess

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a supervisor is started with.

    `data_dir` and `log_dirs` are absolute; without log_dirs logs go to the data directory.
    `zygote`: runs already, so that it imports while we do.
    `lifetime_fd`: the reading end of a pipe; its end of file means that who started us is gone, and we go too.
    `host_pidfd`: a pidfd of who started us; it says the same when that process dies and a child keeps the pipe open.
    `owner_module`: the module whose main() owns a partition, for tests of supervision itself.
    `standbys`: who is to take over when this process dies.
    `runtime_lock`: the lock of the runtime directory, of a standby that has it already.
    """

    name: str
    runtime: RuntimePaths
    data_dir: str
    log_dirs: tuple[str, ...]
    config: ClusterConfig
    zygote: ZygoteProcess
    lifetime_fd: int | None = None
    host_pidfd: int | None = None
    owner_module: str = OWNER_MODULE
    standbys: StandbyPlan = NO_STANDBYS
    runtime_lock: LifeLock | None = None


class Supervisor(OwnerWatcher):
    """Everything of one cluster. The constructor starts it, run() serves, and returns when all is closed.

    Raises from the constructor what keeps the cluster from starting; nothing is left then.
    """

    def __init__(self, options: Options) -> None:
        self._began_ns = monotonic_ns()
        self._notifier = ServiceNotifier()
        become_subreaper()
        raise_file_limit()
        self._loop = Loop()
        self._zygote = ZygoteLink(self._loop, options.owner_module, options.zygote)
        self._stopping = False
        self._removed: str | None = None
        self._left_in_memory: set[int] = set()
        self._undo = contextlib.ExitStack()
        self._undo.callback(self._zygote.close)
        try:
            self._open(options)
        except BaseException:
            self._undo.close()
            raise

    def _open(self, options: Options) -> None:
        config = options.config
        check_topic(TopicConfig.from_mapping(config.topic_defaults))
        check_listed(options.data_dir, options.log_dirs)
        group = _gid(config.shm_group)
        self._home = home.enter(
            options.name,
            options.runtime,
            options.data_dir,
            directory_mode=0o700 if group is None else 0o770,
            group=group,
            log_dirs=options.log_dirs,
            runtime_lock=options.runtime_lock,
        )
        self._undo.callback(lambda: self._home.release(empty=False))
        self._restored = restore(options.data_dir, options.log_dirs, self._home.cluster_id)
        self._catalog = Catalog(options.data_dir, config, directory_id=self._home.directory_id)
        self._undo.callback(lambda: self._catalog.close(clean=False))
        check_with_cluster({one.name: one.config for one in self._catalog.machine.topics()}, config.topic_defaults)
        self._directories = open_directories(
            self._home, options.name, options.log_dirs, self._catalog.machine, group, DirectoryLook()
        )
        self._undo.callback(self._directories.release)
        found, look = list(self._directories.found.values()), self._directories.directories.problem_at
        self._catalog.copy_to(MetadataCopies(options.data_dir, found, look=look))
        identity = self._identity = ClusterIdentity(
            name=options.name,
            cluster_id=self._home.cluster_id,
            cid8=names.cluster_tag(self._home.cluster_id, options.runtime.directory),
            runtime=options.runtime,
            data_dir=options.data_dir,
            config=config,
            shm_group=group,
            started_ms=wall_ms(),
            directories=self._directories.directories,
        )
        loop = self._loop
        self._standbys = Standbys(loop, options.runtime, options.standbys, config.supervisor_unresponsive_ms)
        self._zygote.knows(self._standbys.pids)
        self._regions = Regions(identity)
        reunion = self._reunion = Reunion(loop, options.runtime)
        self._undo.callback(reunion.close)
        partitions, there = self._catalog.machine.partitions(), self._regions.leftover_partitions()
        reunion.orphans.end(reunion.orphans.names() - wanted(partitions, identity.directories, there))
        self._owners = Owners(loop, identity, self._catalog, self._regions, self._zygote, reunion)
        self._followers = Followers(loop, identity, self._catalog, self._owners, self._zygote)
        self._damage = DamageWatch(identity, self._catalog, self._owners)  # first: who is told of a start may ask it
        self._failover = Failover(loop, self._catalog, self._owners, self._followers)
        describe = Descriptions(identity, self._catalog, self._owners, self._followers, self._failover)
        self._clients = Clients(loop, identity, self._catalog, self._regions)
        self._cleaning = Cleaning(loop, identity, self._catalog, self._owners, self._followers, self._zygote)
        self._undo.callback(self._cleaning.close)
        introductions = Introductions(self._catalog, self._owners, self._clients)
        self._lanes = Lanes(
            loop, identity, self._catalog, self._regions, self._owners, self._clients, introductions, describe
        )
        trash = Trash(loop, identity.directories.present_paths(), reserve_bytes=config.disk_reserve_bytes)
        self._topics = Topics(
            loop, identity, self._catalog, self._regions, self._owners, self._followers, describe, trash
        )
        self._disk_reserve = DiskReserve(
            self._catalog, identity.directories, self._owners, self._followers, config.disk_reserve_bytes
        )
        self._replicas = Replicas(
            loop, identity, self._catalog, self._owners, self._followers, self._failover, self._topics.erase_abandoned
        )
        self._owners.watchers.append(self)
        self._followers.on_gone.append(lambda _: self._stop_when_closed())
        self._coordinators = Coordinators(identity, self._catalog, self._owners, self._topics, self._clients)
        self._requests = Requests(
            identity,
            self._catalog,
            self._regions,
            self._owners,
            self._clients,
            introductions,
            self._lanes,
            self._topics,
            self._damage,
            self._replicas,
            self._disk_reserve,
            Mends(identity, self._catalog, self._owners, self._followers).order,
            Deletions(self._catalog, self._owners),
            self._coordinators,
            lambda: self.stop("a client asked for it"),
        )
        self._listener = Listener(loop, identity, self._clients, self._requests)
        self._undo.callback(self._listener.close)
        self._directory_watch = DirectoryWatch(
            self._catalog,
            identity.directories,
            self._owners,
            self._followers,
            DirectoryReturn(self._directories, self._home, identity, self._catalog, self._damage, self._topics).look,
        )
        self._retention = Retention(self._catalog, self._owners)
        self._removal = RemovalWatch(identity, self._home, self._owners, self._listener)
        watch_for_end(loop, self._undo, self.stop, lifetime_fd=options.lifetime_fd, host_pidfd=options.host_pidfd)

    # --- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until stop(), then close everything. Raises StorageError when the metadata log cannot be written;
        owners then live on for a while, for the next supervisor. Raises BrokerNotAvailableError when all is closed
        because what clients need to find the cluster was removed."""
        try:
            self._take_over()
            self._loop.run()
        except MetadataLostError as error:
            self._undo.pop_all()
            raise StorageError(str(error)) from error
        except BaseException:
            self._undo.pop_all()
            raise
        self._close()
        if self._removed is not None:
            left = len(self._left_in_memory)
            lost = f"; {left} of its partitions ended before they had written all that was accepted" if left else ""
            raise BrokerNotAvailableError(self._removed + lost)

    def stop(self, reason: str) -> None:
        """Begin to drain and close; run() returns when that is done. A second call does nothing."""
        if self._stopping:
            return
        self._stopping = self._requests.is_closing = True
        log.info("stopping: %s", reason)
        self._notifier.tell("STOPPING=1")
        self._standbys.close()
        self._cleaning.close()
        self._topics.close_all()
        self._stop_when_closed()

    def _take_over(self) -> None:
        """Bring what is left in shared memory and what the metadata log says together, and start the owners."""
        for client_id in self._regions.leftover_numbers("c"):
            self._clients.adopt(client_id)
        known = {partition.partition_id for partition in self._catalog.machine.partitions()}
        for partition_id in self._regions.leftover_partitions() - known:
            self._regions.drop_partition(partition_id)
        if self._catalog.recovered:
            log.info("metadata log: %s", self._catalog.recovered)
        self._note_directories()
        self._topics.resume(self._settled)
        self._reunion.begin()
        self._replicas.resume()
        self._every(self._identity.config.log_retention_check_interval_ms / 1000.0, self._retention.apply)
        self._every(self._identity.config.log_cleaner_backoff_ms / 1000.0, self._cleaning.look)
        self._every(LOOK_EVERY_S, self._look_for_removal)
        self._every(LOOK_EVERY_S, self._directory_watch.look)
        self._every(LOOK_EVERY_S, self._disk_reserve.look)
        Heartbeats(self._loop, self._identity, self._owners, self._followers, self._lanes).start()
        if self._notifier.watchdog_s is not None:
            self._every(self._notifier.watchdog_s, lambda: self._notifier.tell("WATCHDOG=1"))

    def _note_directories(self) -> None:
        """Bring down where they are for the next start, and say which are not there."""
        try:
            self._catalog.commit(self._catalog.machine.register_directories(self._directories.found).records)
        except DiskFullError as error:  # they are found all the same, but one that goes missing is named by an old path
            log.warning("where the log directories are was not noted: %s", error)
        use = self._catalog.machine.directory_use()
        for one in self._missing_directories():
            log.error(
                "the log directory %s (directory.id %s) %s; partitions that are offline until then: %d",
                one.path,
                one.directory_id,
                one.error,
                use.get(one.directory_id, DirectoryUse()).leaders,
            )

    def _missing_directories(self) -> list[LogDirectory]:
        return [one for one in self._identity.directories.all() if one.error]

    def _settled(self) -> None:
        """All owners run, or will not for a while."""
        partitions = [one for one in self._catalog.machine.partitions() if not one.topic.is_hidden]
        owned = {one.partition_id for one in partitions if self._owners.running(one.partition_id) is not None}
        running = len(owned)
        # every lane that a running owner has was reported
        self._regions.sweep_lanes(self._lanes.is_known, keep_partitions=self._regions.leftover_partitions() - owned)
        took_ms = (monotonic_ns() - self._began_ns) / 1e6
        log.info(
            "cluster %r is ready after %.0f ms: %d of %d partitions run, data in %s",
            self._identity.name,
            took_ms,
            running,
            len(partitions),
            self._identity.data_dir,
        )
        self._damage.tell()
        self._standbys.start()
        missing = "".join(f"; the log directory {one.path} {one.error}" for one in self._missing_directories())
        restored = f"; {self._restored}" if self._restored else ""
        self._notifier.tell(f"READY=1\nSTATUS={running} of {len(partitions)} partitions run{missing}{restored}")

    def _close(self) -> None:
        self._listener.close()
        self._reunion.close()
        left = self._left_in_memory
        self._regions.sweep(keep_partitions=left, keep_clients=self._coordinators.are_among(left))
        self._zygote.close()
        self._catalog.close(clean=True)
        self._directories.release()
        self._home.release(empty=True)
        self._loop.close()
        self._undo.pop_all()
        if self._left_in_memory:
            log.error("%d partitions could not be closed; the next start recovers them", len(self._left_in_memory))
        log.info("cluster %r is down", self._identity.name)

    def _stop_when_closed(self) -> None:
        if self._stopping and self._owners.machine.all_gone() and self._followers.machine.all_gone():
            self._loop.stop()

    # --- owners -------------------------------------------------------------------------------------------------------

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        if not (clean or delete):
            self._left_in_memory.add(partition_id)
        self._stop_when_closed()

    # --- what happens by itself ---------------------------------------------------------------------------------------

    def _every(self, pause_s: float, callback: Callable[[], None]) -> None:
        def again() -> None:
            callback()
            self._loop.call_in(pause_s, again)

        self._loop.call_in(pause_s, again)

    def _look_for_removal(self) -> None:
        if not self._stopping:
            self._removed = self._removal.look()
            if self._removed is not None:
                log.error("%s", self._removed)
                self.stop("its names were removed")


def _gid(name: str) -> int | None:
    if not name:
        return None
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InvalidConfigError(f"shm.group: there is no group {name!r} on this machine") from None

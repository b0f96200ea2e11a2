"""The followers of all partitions: what they and their leaders say goes to the replication machine, what it decides is
done here."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    FollowerAt,
    FollowerFailed,
    FollowerOrder,
    FollowerReady as ReadyMessage,
    FollowersAre,
    FollowerSpec,
    FollowerTruncated,
    FollowerWaits,
    Message,
    OwnerReady,
    OwnerRecovering,
    ReplicaCaughtUp,
    ReplicaLags,
    SegmentsLookedAt,
)
from shmlog.errors import (
    CorruptRecordError,
    DiskFullError,
    ForeignVersionError,
    ShmlogError,
    StartError,
    StorageError,
)
from shmlog.machines.metadata import Partition
from shmlog.machines.replication import (
    CaughtUp,
    CloseFollower,
    FollowerExited,
    FollowerFailing,
    FollowerPhase,
    FollowerReady,
    FollowersGone,
    Lags,
    Observation,
    ReplicasUnwanted,
    ReplicasWanted,
    ReplicationMachine,
    ReplicationStep,
    StartFollower,
    TellLeader,
    Tick,
    together,
)
from shmlog.memory import names
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop, Timer, Watch
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.zygote import ZygoteLink

log = logging.getLogger(__name__)

Key = tuple[int, int]  # partition id, replica id
FULL_DISK_PAUSE_S = 1.0
SEND_S = 1.0  # an order to a follower waits so long for room in its socket
CLOSE_S = 15.0  # one that has not ended so long after it was told to is killed: longer than it would try by itself


@dataclass(slots=True)
class FollowerProcess:
    """One follower process, from the order to start it until its exit was seen. `pidfd` -1: not forked yet."""

    key: Key
    channel: Channel
    pid: int = 0
    pidfd: int = -1
    watch: Watch | None = None
    pid_watch: Watch | None = None
    region: ReplicaRegion | None = None
    """Its replica region, mapped when it is ready; None as well if somebody has spoiled it."""
    waits_for: str = ""
    """Why it cannot go on now, as it says."""
    said_goodbye: bool = False
    broken: bool = False


class Followers(OwnerWatcher):
    """All processes that follow a partition's leader. `on_gone` hears of partitions that have none any more."""

    def __init__(
        self, loop: Loop, identity: ClusterIdentity, catalog: Catalog, owners: Owners, zygote: ZygoteLink
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._zygote = zygote
        self.machine = ReplicationMachine(backoff_max_ms=identity.config.owner_restart_backoff_max_ms)
        self.on_gone: list[Callable[[int], None]] = []
        self._processes: dict[Key, FollowerProcess] = {}
        self._versions: dict[int, int] = {}  # of the last FollowersAre to each partition's owner
        self._steps: deque[ReplicationStep] = deque()  # the first one is being carried out
        self._timer: Timer | None = None
        zygote.knows(self.pids)
        owners.watchers.append(self)
        owners.followers = self.known_to

    # --- questions ----------------------------------------------------------------------------------------------------

    def pids(self) -> Set[int]:
        return {one.pid for one in self._processes.values() if one.pid}

    def process(self, partition_id: int, replica_id: int) -> FollowerProcess | None:
        """None while it does not run."""
        return self._processes.get((partition_id, replica_id))

    def known_to(self, partition_id: int) -> list[FollowerAt]:
        """What a leader is to know of its followers: those that run or are in sync, by what is durable."""
        partition = self._catalog.machine.partition_by_id(partition_id)
        in_sync = frozenset[int]() if partition is None else partition.in_sync
        return [
            FollowerAt(replica_id, names.replica(self._identity.cid8, partition_id, replica_id), replica_id in in_sync)
            for replica_id, follower in self.machine.followers(partition_id).items()
            if replica_id in in_sync or follower.phase is FollowerPhase.FOLLOWING
        ]

    # --- orders -------------------------------------------------------------------------------------------------------

    def want(self, partitions: Sequence[Partition]) -> None:
        """Start the followers of these partitions and keep them running from now on."""
        self._take(
            [
                ReplicasWanted(
                    one.partition_id,
                    one.leader,
                    tuple(replica_id for replica_id in one.replicas if replica_id != one.leader),
                    tuple(sorted(one.in_sync)),
                )
                for one in partitions
                if len(one.replicas) > 1
            ]
        )

    def unwant(self, partition_id: int, *, delete: bool) -> None:
        """End a partition's followers; `on_gone` hears when they have. Without followers that is at once."""
        if self.machine.followers(partition_id):
            self._take([ReplicasUnwanted(partition_id, delete)])
            for process in [one for key, one in self._processes.items() if key[0] == partition_id]:
                self._loop.call_in(CLOSE_S, partial(self._end, process))

    def are_gone(self, partition_id: int) -> bool:
        return not self.machine.followers(partition_id)

    def configure(self, partition_id: int, order: FollowerOrder) -> None:
        """Give an order to all followers of a partition that run."""
        for key, process in self._processes.items():
            if key[0] == partition_id and process.region is not None:
                self._send(process, order)

    # --- deciding and acting ------------------------------------------------------------------------------------------

    def _observe(self, *seen: Observation) -> None:
        self._take(list(seen))

    def _take(self, observations: list[Observation]) -> None:
        self._steps.append(together(self.machine.observe(seen, self._loop.now_ns()) for seen in observations))
        if len(self._steps) == 1:
            self._carry_out()
        due_ns = self.machine.next_deadline_ns()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_ns is None else self._loop.call_at(due_ns, lambda: self._observe(Tick()))

    def _carry_out(self) -> None:
        """One step after the other. What cannot be written down on a full disk holds up all that came later: nobody
        is told of an in-sync set that could be forgotten."""
        while self._steps:
            step = self._steps[0]
            try:
                self._catalog.commit(step.records)
            except DiskFullError as error:
                log.warning("in-sync sets stay as they are: %s", error)
                self._loop.call_in(FULL_DISK_PAUSE_S, self._carry_out)
                return
            for action in step.actions:
                match action:
                    case StartFollower():
                        self._start(action.partition_id, action.replica_id)
                    case CloseFollower(partition_id=partition_id, replica_id=replica_id, delete=delete):
                        if (process := self._processes.get((partition_id, replica_id))) is not None:
                            self._send(process, Close(delete))
                    case TellLeader(partition_id=partition_id):
                        self._tell_leader(partition_id)
                    case FollowersGone(partition_id=partition_id):
                        self._loop.call_in(0.0, partial(self._gone, partition_id))
            self._steps.popleft()

    def _gone(self, partition_id: int) -> None:
        for hear in self.on_gone:
            hear(partition_id)

    def _tell_leader(self, partition_id: int) -> None:
        found = [one for one in self._owners.all_watched() if one.partition_id == partition_id]
        if not found:  # the next one is told with its order to start
            return
        version = self._versions.get(partition_id, 0) + 1
        self._versions[partition_id] = version
        self._owners.send(found[0], FollowersAre(version, self.known_to(partition_id)))

    def _start(self, partition_id: int, replica_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        assert partition is not None
        missing = self._identity.directories.missing(partition, replica_id)
        if missing:
            self._failing(partition_id, replica_id, StorageError.__name__, missing)
        if missing or partition.topic.is_hidden:
            self._loop.call_in(0.0, lambda: self._observe(FollowerExited(partition_id, replica_id)))
            return
        channel, end = Channel.pair()
        process = FollowerProcess((partition_id, replica_id), channel)
        self._processes[process.key] = process
        self._zygote.spawn(
            self._spec(partition, replica_id), end, partial(self._spawned, process), partial(self._refused, process)
        )

    def _spec(self, partition: Partition, replica_id: int) -> FollowerSpec:
        identity = self._identity
        return FollowerSpec(
            cluster_id=identity.cluster_id,
            cluster_name=identity.name,
            cid8=identity.cid8,
            runtime_dir=identity.runtime.directory,
            topic=partition.topic.name,
            topic_id=partition.topic.topic_id,
            partition=partition.partition,
            partition_id=partition.partition_id,
            replica_id=replica_id,
            log_dir=identity.directories.log_directory(partition, replica_id),
            leader_log_dir=identity.directories.log_directory(partition),
            config=self._catalog.machine.effective_config(partition.topic),
            shm_mode=identity.config.shm_mode,
            shm_group=identity.shm_group,
        )

    def _send(self, process: FollowerProcess, order: FollowerOrder) -> None:
        with contextlib.suppress(ChannelClosedError):  # it is dying: its pidfd says so in a moment
            process.channel.send(order)
            process.channel.flush(SEND_S)
        if process.region is not None and process.region.doorbell is not None:
            process.region.doorbell.ring()

    # --- what happens -------------------------------------------------------------------------------------------------

    def owner_opened(self, ready: OwnerReady) -> None:
        """What it was started with may be old by now; also if it is only to close."""
        if self.machine.followers(ready.partition_id):
            self._loop.call_in(0.0, partial(self._tell_leader, ready.partition_id))

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        match report:
            case ReplicaCaughtUp(version=version, replica_id=replica_id) if self._is_current(partition_id, version):
                log.info("%s is in sync", self._title(partition_id, replica_id))
                self._observe(CaughtUp(partition_id, replica_id))
            case ReplicaLags(version=version, replica_id=replica_id) if self._is_current(partition_id, version):
                log.warning(
                    "%s is not in sync any more: %s",
                    self._title(partition_id, replica_id),
                    report.reason or f"it is {report.lag_records} records behind",
                )
                self._observe(Lags(partition_id, replica_id))

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        """Only now, so that they have copied what it wrote last."""
        self.unwant(partition_id, delete=delete)

    def _is_current(self, partition_id: int, version: int) -> bool:
        """Whether a leader's report is not undone by what it was told since."""
        return self._versions.get(partition_id, 0) == version

    def _spawned(self, process: FollowerProcess, pid: int, pidfd: int) -> None:
        process.pid, process.pidfd = pid, pidfd
        process.pid_watch = self._loop.watch(pidfd, lambda: self._exited(process))
        process.watch = self._loop.watch(process.channel.fileno(), lambda: self._on_readable(process))

    def _refused(self, process: FollowerProcess, reason: str | None) -> None:
        if reason is not None:
            self._failing(*process.key, StartError.__name__, reason)
        self._exited(process)

    def _on_readable(self, process: FollowerProcess) -> None:
        try:
            while (message := process.channel.receive()) is not None:
                self._handle(process, message)
        except ShmlogError as error:
            if process.watch is not None:
                self._loop.forget(process.watch)
            process.broken = True
            if not process.said_goodbye:
                if not isinstance(error, ChannelClosedError):
                    log.error("%s talks nonsense: %s", self._title(*process.key), error)
                self._kill(process)

    def _handle(self, process: FollowerProcess, message: Message) -> None:
        match message:
            case OwnerRecovering():
                pass
            case ReadyMessage():
                self._ready(process, message)
            case FollowerTruncated(message=said):
                log.warning("%s: %s", self._title(*process.key), said)
            case SegmentsLookedAt(message=said):
                log.warning("%s: %s", self._title(*process.key), said)
            case FollowerWaits(message=said):
                process.waits_for = said
                if said:
                    log.warning("%s waits: %s", self._title(*process.key), said)
            case FollowerFailed(error=error, message=said):
                process.said_goodbye = True
                self._failing(*process.key, error, said)
            case Closed():
                process.said_goodbye = True
            case _:
                raise AssertionError(f"a follower does not send {type(message).__name__}")

    def _ready(self, process: FollowerProcess, ready: ReadyMessage) -> None:
        partition_id, replica_id = process.key
        name = names.replica(self._identity.cid8, partition_id, replica_id)
        try:
            process.region = ReplicaRegion.open(name, partition_id, writable=True)
        except (FileNotFoundError, CorruptRecordError, ForeignVersionError) as error:
            log.warning("%s has no replica region: %s; starting another", self._title(*process.key), error)
            self._kill(process)
            return
        log.info(
            "%s: process %d has offsets up to %d%s",
            self._title(*process.key),
            process.pid,
            ready.log_end_offset,
            f"; {ready.recovered}" if ready.recovered else "",
        )
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None:  # it may have been altered since the order to start
            self._send(process, AlterConfig(self._catalog.machine.effective_config(partition.topic)))
        self._observe(FollowerReady(partition_id, replica_id))

    def _failing(self, partition_id: int, replica_id: int, error: str, message: str) -> None:
        before = self.machine.followers(partition_id).get(replica_id)
        if before is None or before.error != f"{error}: {message}":  # it is tried again and again
            log.error("%s: %s: %s", self._title(partition_id, replica_id), error, message)
        self._observe(FollowerFailing(partition_id, replica_id, error, message))

    def _end(self, process: FollowerProcess) -> None:
        """It should be gone by now. What it has is in its files, as after any other death."""
        if self._processes.get(process.key) is process:
            log.warning("%s does not end: killing it", self._title(*process.key))
            self._kill(process)

    def _kill(self, process: FollowerProcess) -> None:
        if process.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)

    def _exited(self, process: FollowerProcess) -> None:
        """The kernel says that it is gone: hear its last words first."""
        if not process.broken and process.watch is not None:
            self._on_readable(process)
        if process.watch is not None and not process.broken:
            self._loop.forget(process.watch)
        process.channel.close()
        if process.region is not None:
            process.region.close()
        if process.pid_watch is not None:
            self._loop.forget(process.pid_watch)
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG)
            os.close(process.pidfd)
        del self._processes[process.key]
        if not process.said_goodbye:
            log.warning("%s: process %d died", self._title(*process.key), process.pid)
        self._observe(FollowerExited(*process.key))

    def _title(self, partition_id: int, replica_id: int) -> str:
        partition = self._catalog.machine.partition_by_id(partition_id)
        name = f"partition {partition_id}" if partition is None else f"{partition.topic.name}-{partition.partition}"
        return f"replica {replica_id} of {name}"

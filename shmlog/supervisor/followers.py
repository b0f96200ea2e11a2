"""The followers of all partitions: what they and their leaders say goes to the replication machine, what it decides is
done here."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence, Set
from functools import partial

from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    FollowerAt,
    FollowerFailed,
    FollowerOrder,
    FollowerReady as ReadyMessage,
    FollowerReturns,
    FollowersAre,
    FollowerTruncated,
    FollowerWaits,
    HandOver,
    LeaderMoved,
    Message,
    OwnerReady,
    OwnerRecovering,
    ReplicaCaughtUp,
    ReplicaLags,
    SegmentsLookedAt,
    SwapRefused,
)
from shmlog.errors import (
    CorruptRecordError,
    ForeignVersionError,
    StartError,
    StorageError,
)
from shmlog.machines.metadata import Partition
from shmlog.machines.replication import (
    CaughtUp,
    CloseFollower,
    FollowerAdded,
    FollowerDropped,
    FollowerExited,
    FollowerFailing,
    FollowerIsDropped,
    FollowerPhase,
    FollowerReady,
    FollowersGone,
    HandOverWanted,
    HasHandedOver,
    KillFollower,
    Lags,
    LeaderChanged,
    Observation,
    OrderHandOver,
    ReplicasUnwanted,
    ReplicasWanted,
    ReplicationAction,
    ReplicationMachine,
    Spoiled,
    StartFollower,
    TellFollowers,
    TellLeader,
    Tick,
    together,
)
from shmlog.memory import names
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.supervisor.follower_process import FollowerProcess, Key
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.in_sync_notes import InSyncNotes
from shmlog.supervisor.loop import Loop, Timer
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.worker_specs import follower_spec
from shmlog.supervisor.zygote import ZygoteLink

log = logging.getLogger(__name__)

HAND_OVER_S = 2.0  # one that has not handed its copy over by then is killed, and the copy checked when it is opened
CLOSE_S = 15.0  # one that has not ended so long after it was told to is killed: longer than it would try by itself


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
        self.machine = ReplicationMachine(
            backoff_max_ms=identity.config.owner_restart_backoff_max_ms,
            unresponsive_ms=identity.config.owner_unresponsive_ms,
        )
        self.on_gone: list[Callable[[int], None]] = []
        self.on_ready: list[Callable[[int, int], None]] = []
        self.on_dropped: list[Callable[[int, int], None]] = []
        self.on_handed_over: list[Callable[[int, int], None]] = []
        self.on_waiting: Callable[[int], None] = lambda _: None
        self._processes: dict[Key, FollowerProcess] = {}
        self._versions: dict[int, int] = {}  # of the last FollowersAre to each partition's owner
        self._notes = InSyncNotes(loop, catalog, self.machine.in_sync, self._tell_leader)
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

    def all_ready(self) -> list[FollowerProcess]:
        """Those whose hearts must beat: they follow, or end."""
        return [one for one in self._processes.values() if one.region is not None]

    def all_starting(self) -> list[FollowerProcess]:
        """Those that are forked and not ready, after what they have said by now is heard."""
        for process in [one for one in self._processes.values() if one.pid and one.region is None]:
            process.listen()
        return [one for one in self._processes.values() if one.pid and one.region is None]

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

    def hand_over(self, partition_id: int, replica_id: int) -> None:
        """Let a follower close its copy for an owner; `on_handed_over` hears when its process is gone."""
        self._take([HandOverWanted(partition_id, replica_id)])

    def add(self, partition: Partition, replica_id: int) -> None:
        """Start a follower for a replica that the partition has since a moment ago."""
        self._take([FollowerAdded(partition.partition_id, partition.leader, replica_id)])

    def drop(self, partition_id: int, replica_id: int) -> None:
        """End the follower of what is no replica any more; `on_dropped` hears when nobody writes its copy."""
        self._take([FollowerDropped(partition_id, replica_id)])

    def follow(self, partition_id: int, leader: int, in_sync: frozenset[int]) -> None:
        """Another replica leads, durably: the leader before is to follow it, like the others."""
        self._take([LeaderChanged(partition_id, leader, in_sync)])

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
                process.send(order)

    # --- deciding and acting ------------------------------------------------------------------------------------------

    def observe(self, *seen: Observation) -> None:
        """Tell the machine, make its records durable, then do what it says."""
        self._take(list(seen))

    def _take(self, observations: list[Observation]) -> None:
        step = together(self.machine.observe(seen, self._loop.now_ns()) for seen in observations)
        self._notes.write(record.partition_id for record in step.records)
        for action in step.actions:
            self._carry_out(action)
        due_ns = self.machine.next_deadline_ns()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_ns is None else self._loop.call_at(due_ns, lambda: self.observe(Tick()))

    def _carry_out(self, action: ReplicationAction) -> None:
        match action:
            case StartFollower():
                self._start(action.partition_id, action.replica_id)
            case CloseFollower(partition_id=partition_id, replica_id=replica_id, delete=delete):
                if (process := self._processes.get((partition_id, replica_id))) is not None:
                    process.send(Close(delete))
            case KillFollower(partition_id=partition_id, replica_id=replica_id):
                if (process := self._processes.get((partition_id, replica_id))) is not None:
                    self._kill(process)
            case OrderHandOver(partition_id=partition_id, replica_id=replica_id):
                self._order_hand_over(self._processes[partition_id, replica_id])
            case HasHandedOver(partition_id=partition_id, replica_id=replica_id):
                self._loop.call_in(0.0, partial(self._tell, self.on_handed_over, partition_id, replica_id))
            case FollowerIsDropped(partition_id=partition_id, replica_id=replica_id):
                self._loop.call_in(0.0, partial(self._tell, self.on_dropped, partition_id, replica_id))
            case TellFollowers(partition_id=partition_id):
                self._tell_followers(partition_id)
            case TellLeader(partition_id=partition_id):
                if not self._notes.waits(partition_id):  # of a set that could be forgotten nobody hears
                    self._tell_leader(partition_id)
            case FollowersGone(partition_id=partition_id):
                self._loop.call_in(0.0, partial(self._tell, self.on_gone, partition_id))

    def _order_hand_over(self, process: FollowerProcess) -> None:
        process.send(HandOver())
        self._loop.call_in(HAND_OVER_S, partial(self._end, process))

    def _tell(self, who: Sequence[Callable[..., None]], *ids: int) -> None:
        for hear in who:
            hear(*ids)

    def _tell_followers(self, partition_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None:
            self.configure(partition_id, LeaderMoved(self._identity.directories.log_directory(partition)))

    def _tell_leader(self, partition_id: int) -> None:
        found = [one for one in self._owners.all_watched() if one.partition_id == partition_id]
        if not found:  # the next one is told with its order to start
            return
        # no version of an earlier supervisor is this high, and its owner may report under one of those yet
        version = max(self._versions.get(partition_id, 0) + 1, self._loop.now_ns())
        self._versions[partition_id] = version
        self._owners.send(found[0], FollowersAre(version, self.known_to(partition_id)))

    def _start(self, partition_id: int, replica_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        assert partition is not None
        missing = self._identity.directories.missing(partition, replica_id)
        if missing or partition.topic.is_hidden:
            self._could_not_start(partition_id, replica_id, StorageError(missing) if missing else None)
            return
        try:
            process = FollowerProcess(self._loop, (partition_id, replica_id), self._title(partition_id, replica_id))
        except OSError as error:
            self._could_not_start(partition_id, replica_id, error)
            return
        self._processes[process.key] = process
        config = self._catalog.machine.effective_config(partition.topic)
        has_begun = replica_id in partition.in_sync and self._owners.has_been_opened(partition)
        spec = follower_spec(self._identity, partition, config, replica_id, has_begun=has_begun)
        hear, on_exit = partial(self._handle, process), partial(self._exited, process)
        reunion, name = self._owners.reunion, f"{partition_id}.r{replica_id}"
        if reunion is not None and name in reunion.orphans:
            with contextlib.suppress(FileNotFoundError, CorruptRecordError, ForeignVersionError):  # then not rung
                where = names.replica(spec.cid8, partition_id, replica_id)
                process.bell = ReplicaRegion.open(where, partition_id, writable=True).doorbell
            reunion.expect(name, process, spec, hear=hear, on_exit=on_exit)
            return
        process.order(self._zygote, spec, hear=hear, on_refused=partial(self._refused, process), on_exit=on_exit)

    def _could_not_start(self, partition_id: int, replica_id: int, error: Exception | None) -> None:
        """Without an error nobody need hear of it: its topic is going."""
        if error is not None:
            self._failing(partition_id, replica_id, type(error).__name__, str(error))
        self._loop.call_in(0.0, partial(self._observe_exit, partition_id, replica_id))

    # --- what happens -------------------------------------------------------------------------------------------------

    def owner_opened(self, ready: OwnerReady) -> None:
        """What it was started with may be old by now; also if it is only to close."""
        if self.machine.followers(ready.partition_id):
            self._loop.call_in(0.0, partial(self._tell_leader, ready.partition_id))

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        match report:
            case ReplicaCaughtUp(version=version, replica_id=replica_id) if self._is_current(partition_id, version):
                log.info("%s is in sync", self._title(partition_id, replica_id))
                self.observe(CaughtUp(partition_id, replica_id))
            case ReplicaLags(version=version, replica_id=replica_id) if self._is_current(partition_id, version):
                log.warning(
                    "%s is not in sync any more: %s",
                    self._title(partition_id, replica_id),
                    report.reason or f"it is {report.lag_records} records behind",
                )
                self.observe(Lags(partition_id, replica_id))
                if report.reason:
                    self.observe(Spoiled(partition_id, replica_id, report.reason))

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        """Only now, so that they have copied what it wrote last."""
        self.unwant(partition_id, delete=delete)

    def _is_current(self, partition_id: int, version: int) -> bool:
        """Whether a leader's report is not undone by what it was told since."""
        return self._versions.get(partition_id, 0) == version

    def _refused(self, process: FollowerProcess, reason: str) -> None:
        process.said_goodbye = True
        self._failing(*process.key, StartError.__name__, reason)

    def _handle(self, process: FollowerProcess, message: Message) -> None:
        match message:
            case OwnerRecovering():
                process.progress_ns = self._loop.now_ns()
            case ReadyMessage():
                self._ready(process, message)
            case FollowerReturns():
                process.waits_for = message.waits_for
                self._ready(process, message.ready)
            case FollowerTruncated(message=said) | SegmentsLookedAt(message=said) | SwapRefused(message=said):
                log.warning("%s: %s", process.title, said)
            case FollowerWaits(message=said):
                process.waits_for = said
                if said:
                    log.warning("%s waits: %s", process.title, said)
                    self.on_waiting(process.key[0])
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
            log.warning("%s has no replica region: %s; starting another", process.title, error)
            process.kill()
            return
        if process.bell is not None:  # it has come back, and was rung for that
            process.bell.close()
        process.bell = process.region.doorbell  # with it the region is closed
        log.info(
            "%s: process %d has offsets up to %d%s",
            process.title,
            process.pid,
            ready.log_end_offset,
            f"; {ready.recovered}" if ready.recovered else "",
        )
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None:  # it may have been altered since the order to start
            process.send(AlterConfig(self._catalog.machine.effective_config(partition.topic)))
            process.send(LeaderMoved(self._identity.directories.log_directory(partition)))
        self.observe(FollowerReady(partition_id, replica_id))
        self._tell(self.on_ready, partition_id, replica_id)

    def _failing(self, partition_id: int, replica_id: int, error: str, message: str) -> None:
        before = self.machine.followers(partition_id).get(replica_id)
        if before is None or before.error != f"{error}: {message}":  # it is tried again and again
            log.error("%s: %s: %s", self._title(partition_id, replica_id), error, message)
        self.observe(FollowerFailing(partition_id, replica_id, error, message))

    def _kill(self, process: FollowerProcess) -> None:
        reason = self.machine.followers(process.key[0])[process.key[1]].error
        log.warning("%s: %s; killing its process %d and starting another", process.title, reason, process.pid)
        process.kill()

    def _end(self, process: FollowerProcess) -> None:
        """It should be gone by now. What it has is in its files, as after any other death."""
        if self._processes.get(process.key) is process:
            log.warning("%s does not end: killing it", process.title)
            process.kill()

    def _exited(self, process: FollowerProcess) -> None:
        del self._processes[process.key]
        if not process.said_goodbye:
            log.warning("%s: process %d died", process.title, process.pid)
        self._observe_exit(*process.key)

    def _observe_exit(self, partition_id: int, replica_id: int) -> None:
        self.observe(FollowerExited(partition_id, replica_id, self._owners.running(partition_id) is not None))

    def _title(self, partition_id: int, replica_id: int) -> str:
        partition = self._catalog.machine.partition_by_id(partition_id)
        name = f"partition {partition_id}" if partition is None else f"{partition.topic.name}-{partition.partition}"
        return f"replica {replica_id} of {name}"

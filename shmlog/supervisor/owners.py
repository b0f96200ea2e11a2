"""The owners of all partitions: what they say goes to the supervision machine, what it decides is done here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from functools import partial

from shmlog.control.messages import (
    AlterConfig,
    Close,
    Closed,
    FollowerAt,
    LogRefused,
    LogRewritten,
    Message,
    OwnerFailed,
    OwnerOrder,
    OwnerReady,
    OwnerRecovering,
    OwnerReturns,
    SegmentsLookedAt,
    StepDown,
    SwapRefused,
)
from shmlog.errors import DiskFullError, ShmlogError, StartError, StorageError
from shmlog.machines.metadata import Partition
from shmlog.machines.step import Step
from shmlog.machines.supervision import (
    START_ATTEMPTS_MAX,
    ClosedCleanly,
    CloseOwner,
    Exited,
    ExpectOwner,
    Failing,
    Gone,
    IsVacant,
    KillOwner,
    LogHasFailed,
    Observation,
    OrderStepDown,
    OwnerPhase,
    Ready,
    StartOwner,
    Stranded,
    SupervisionMachine,
    SupervisionStep,
    Survived,
    Tick,
    Unwanted,
    Wanted,
    together,
)
from shmlog.memory.control_page import ControlPage
from shmlog.native.doorbell import Doorbell
from shmlog.settings import TopicConfig
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.last_words import last_words
from shmlog.supervisor.loop import Loop, Timer
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.reunion import Reunion
from shmlog.supervisor.worker import Worker
from shmlog.supervisor.worker_specs import owner_spec
from shmlog.supervisor.zygote import ZygoteLink

log = logging.getLogger(__name__)


EPOCHS_AT_ONCE = 100
"""So many owners are started after one sync: the zygote forks these while the next are made durable."""


class Owner(Worker):
    """One owner process."""

    def __init__(self, loop: Loop, partition_id: int, title: str, bell: Doorbell) -> None:
        super().__init__(loop, f"the owner of {title}", bell)
        self.partition_id = partition_id
        self.ready: OwnerReady | None = None
        self.page: ControlPage | None = None
        """Its heartbeat, mapped at the first look after it is ready."""
        self.clients: set[int] = set()
        """Clients that it was told to ring."""

    def close(self) -> None:
        super().close()
        if self.page is not None:
            self.page.close()


class Owners:
    """All processes that own partitions. Watchers are told in the order in which they were added."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        catalog: Catalog,
        regions: Regions,
        zygote: ZygoteLink,
        reunion: Reunion | None = None,
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._regions = regions
        self.machine = SupervisionMachine(
            backoff_max_ms=identity.config.owner_restart_backoff_max_ms,
            unresponsive_ms=identity.config.owner_unresponsive_ms,
        )
        self.zygote = zygote
        zygote.knows(self.pids)
        self.reunion = reunion
        """Where workers of an earlier supervisor come back to; None: there are none."""
        self.watchers: list[OwnerWatcher] = []
        self.followers: Callable[[int], list[FollowerAt]] = lambda _: []  # what a starting owner is told of them
        self._owners: dict[int, Owner] = {}
        self._fresh: set[int] = set()  # partitions that no owner has ever opened, as far as we saw ourselves
        self._timer: Timer | None = None

    # --- questions ----------------------------------------------------------------------------------------------------

    def pids(self) -> Set[int]:
        return {owner.pid for owner in self._owners.values() if owner.pid}

    def has_been_opened(self, partition: Partition) -> bool:
        """Whether an owner has ever had this partition, as far as is known."""
        return partition.leader_epoch >= 0 and partition.partition_id not in self._fresh

    def pid(self, partition_id: int) -> int:
        """0 while no owner runs."""
        owner = self._owners.get(partition_id)
        return 0 if owner is None else owner.pid

    def opened(self, partition_id: int) -> Owner | None:
        """The owner, if there is one, also one that only closes."""
        return self._owners.get(partition_id)

    def running(self, partition_id: int) -> Owner | None:
        """The owner, if it takes orders now."""
        owner = self._owners.get(partition_id)
        is_running = self.machine.phase(partition_id) is OwnerPhase.RUNNING
        return owner if owner is not None and owner.ready is not None and is_running else None

    def all_watched(self) -> list[Owner]:
        """Owners whose hearts must beat: those that run, and those that close."""
        phases = (OwnerPhase.RUNNING, OwnerPhase.CLOSING)
        return [
            owner
            for partition_id, owner in self._owners.items()
            if owner.ready is not None and self.machine.phase(partition_id) in phases
        ]

    def all_starting(self) -> list[Owner]:
        """Owners that are forked and not ready, after what they have said by now is heard."""
        for owner in [one for one in self._owners.values() if one.pid and one.ready is None]:
            owner.listen()
        return [one for one in self._owners.values() if one.pid and one.ready is None]

    def all_running(self) -> list[Owner]:
        return [owner for partition_id in self._owners if (owner := self.running(partition_id)) is not None]

    # --- orders -------------------------------------------------------------------------------------------------------

    def want(self, partitions: Sequence[Partition]) -> None:
        """Start owners and keep them running from now on; if a topic is given up meanwhile, leave out the rest of it.

        Epochs become durable together: a sync for each would take longer than the rest of a start.
        """
        for first in range(0, len(partitions), EPOCHS_AT_ONCE):
            some = [one for one in partitions[first : first + EPOCHS_AT_ONCE] if not one.topic.is_hidden]
            self._take([self._wanted(partition) for partition in some])

    def _wanted(self, partition: Partition) -> Wanted | Survived | Stranded:
        partition_id, missing = partition.partition_id, self._identity.directories.missing(partition)
        if partition.leader_epoch < 0:
            self._fresh.add(partition_id)
        if not missing and self.reunion is not None and str(partition_id) in self.reunion.orphans:
            return Survived(partition_id, partition.leader_epoch)
        if not missing:
            return Wanted(partition_id, partition.leader_epoch)
        clean = not self._regions.had_leftovers(partition_id)
        return Stranded(partition_id, partition.leader_epoch, StorageError.__name__, missing, clean)

    def kill(self, partition_id: int) -> None:
        """SIGKILL, if one lives: as after any other death, its successor takes its place when its exit was seen."""
        owner = self._owners.get(partition_id)
        if owner is not None:
            owner.kill()

    def unwant(self, partition_id: int, *, delete: bool) -> None:
        """Close the owner; watchers hear owner_gone. Without an owner that happens at once."""
        self.observe(Unwanted(partition_id, delete))

    def lose(self, owner: Owner, reason: str) -> None:
        """Nobody finds what this owner writes any more: it is killed for that reason, which concerns its log."""
        if not owner.said_goodbye:
            owner.said_goodbye = True
            self._failing(owner.partition_id, StorageError.__name__, reason)
            owner.kill()

    def send(self, owner: Owner, order: OwnerOrder) -> None:
        """Give an order and wake the owner."""
        owner.send(order)

    def observe(self, seen: Observation) -> None:
        """Tell the machine, make its records durable, then do what it says."""
        self._take([seen])

    def _take(self, observations: list[Observation]) -> None:
        step = together(self.machine.observe(seen, self._loop.now_ns()) for seen in observations)
        try:
            self._catalog.commit(step.records)
        except DiskFullError as error:
            self._put_off(step, error)
            step = Step(actions=tuple(action for action in step.actions if not isinstance(action, StartOwner)))
        for action in step.actions:
            match action:
                case StartOwner() | ExpectOwner():
                    self._start(action)
                case CloseOwner():
                    self._order_close(action)
                case KillOwner():
                    log.warning("the owner of %s does not react: killing it", self._title(action.partition_id))
                    self._owners[action.partition_id].kill()
                case OrderStepDown():
                    self._owners[action.partition_id].send(StepDown())
                case LogHasFailed():
                    for watcher in self.watchers:
                        watcher.log_failed(action.partition_id)
                case IsVacant():
                    for watcher in self.watchers:
                        watcher.owner_vacant(action.partition_id)
                case Gone():
                    self._fresh.discard(action.partition_id)
                    for watcher in self.watchers:
                        watcher.owner_gone(action.partition_id, action.delete, action.clean)
        self._set_timer()

    def _put_off(self, step: SupervisionStep, error: DiskFullError) -> None:
        """An owner whose epoch cannot be made durable is not started. To the machine that is a start that failed."""
        for action in step.actions:
            if isinstance(action, StartOwner):
                self._could_not_start(action.partition_id, error)

    def _could_not_start(self, partition_id: int, error: Exception) -> None:
        self._failing(partition_id, type(error).__name__, str(error))
        self._loop.call_in(0.0, lambda: self.observe(Exited(partition_id)))

    def _set_timer(self) -> None:
        due_ns = self.machine.next_deadline_ns()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due_ns is None else self._loop.call_at(due_ns, lambda: self.observe(Tick()))

    def _start(self, action: StartOwner | ExpectOwner) -> None:
        partition = self._catalog.machine.partition_by_id(action.partition_id)
        assert partition is not None
        if partition.topic.is_hidden:  # given up over another of its owners, and this one has not begun to exist
            self._loop.call_in(0.0, lambda: self.observe(Exited(action.partition_id)))
            return
        config = self._catalog.machine.effective_config(partition.topic)
        self._regions.reserve_partition(action.partition_id, TopicConfig.from_mapping(config))
        try:
            self._check_log(partition)
            bell = self._regions.bell(action.partition_id)
            owner = Owner(self._loop, action.partition_id, self._title(action.partition_id), bell)
        except (ShmlogError, OSError) as error:
            if self.reunion is not None:
                self.reunion.orphans.end([str(action.partition_id)])
            self._could_not_start(action.partition_id, error)
            return
        self._owners[action.partition_id] = owner
        spec = owner_spec(
            self._identity,
            partition,
            config,
            leader_epoch=action.leader_epoch,
            leftovers=self._regions.may_have_leftovers(action.partition_id),
            followers=self.followers(action.partition_id),
            has_begun=self.has_been_opened(partition),
        )
        hear, on_exit = partial(self._handle, owner), partial(self._exited, owner)
        if isinstance(action, ExpectOwner):
            assert self.reunion is not None, "nobody else has survivors"
            self.reunion.expect(str(action.partition_id), owner, spec, hear=hear, on_exit=on_exit)
        else:
            owner.order(self.zygote, spec, hear=hear, on_refused=partial(self._refused, owner), on_exit=on_exit)

    def _check_log(self, partition: Partition) -> None:
        """Raise StorageError if its directory has gone: an owner would begin an empty log in its place."""
        missing = self._identity.directories.missing(partition)
        if missing:
            raise StorageError(missing)

    def _order_close(self, action: CloseOwner) -> None:
        if (owner := self._owners.get(action.partition_id)) is not None:
            self.send(owner, Close(action.delete))

    # --- what happens -------------------------------------------------------------------------------------------------

    def _refused(self, owner: Owner, reason: str) -> None:
        owner.said_goodbye = True
        self._failing(owner.partition_id, StartError.__name__, reason)

    def _handle(self, owner: Owner, message: Message) -> None:
        partition_id = owner.partition_id
        match message:
            case OwnerRecovering():
                owner.progress_ns = self._loop.now_ns()
            case OwnerReady():
                self._ready(owner, message)
            case OwnerReturns():
                self._returned(owner, message)
            case report if isinstance(report, OwnerReport):
                for watcher in self.watchers:
                    watcher.owner_reported(partition_id, report)
            case LogRefused(message=refused):
                for watcher in self.watchers:
                    watcher.log_refused(partition_id, refused)
            case LogRewritten(message=rewritten):
                log.warning(
                    "%s: %s; all of it was written to new files, look at the disk", self._title(partition_id), rewritten
                )
            case SegmentsLookedAt(message=found):
                log.warning("%s: %s", self._title(partition_id), found)
                for watcher in self.watchers:
                    watcher.segments_looked_at(partition_id)
            case SwapRefused(message=refused):
                log.warning("%s: %s", self._title(partition_id), refused)
            case OwnerFailed():
                owner.said_goodbye = True
                self._failing(partition_id, message.error, message.message)
            case Closed():
                owner.said_goodbye = True
                self.observe(ClosedCleanly(partition_id))
            case _:
                raise AssertionError(f"an owner does not send {type(message).__name__}")

    def _ready(self, owner: Owner, ready: OwnerReady) -> None:
        owner.ready = ready
        self._fresh.discard(ready.partition_id)
        self._regions.count_partition(ready)
        log.info(
            "%s: owner %d runs under epoch %d, offsets %d to %d%s",
            self._title(ready.partition_id),
            owner.pid,
            ready.leader_epoch,
            ready.log_start_offset,
            ready.log_end_offset,
            f"; {ready.recovered}" if ready.recovered else "",
        )
        for watcher in self.watchers:
            watcher.owner_opened(ready)
        self.observe(Ready(ready.partition_id))
        if self.machine.phase(ready.partition_id) is OwnerPhase.RUNNING:
            for watcher in self.watchers:
                watcher.owner_ready(ready)

    def _returned(self, owner: Owner, message: OwnerReturns) -> None:
        """It knows clients already, and settings that may be old."""
        owner.clients.update(message.clients)
        self._ready(owner, message.ready)
        partition = self._catalog.machine.partition_by_id(owner.partition_id)
        if partition is not None:
            self.send(owner, AlterConfig(self._catalog.machine.effective_config(partition.topic)))

    def _failing(self, partition_id: int, error: str, message: str) -> None:
        if self.machine.error(partition_id) != f"{error}: {message}":  # it is tried again and again
            log.error("%s: %s: %s", self._title(partition_id), error, message)
        self.observe(Failing(partition_id, error, message))
        for watcher in self.watchers:
            watcher.owner_failed(partition_id, error, message)

    def _exited(self, owner: Owner) -> None:
        del self._owners[owner.partition_id]
        if owner.said_goodbye:
            self.observe(Exited(owner.partition_id))
        else:
            self._died(owner)

    def _died(self, owner: Owner) -> None:
        """Unheard: SIGKILL, an error while nobody listened, or a bug of ours whose traceback is in our log."""
        partition_id = owner.partition_id
        error, reason = last_words(self._identity.cid8, partition_id, owner.pid)
        if error == StartError.__name__:
            log.warning("%s: owner %d died", self._title(partition_id), owner.pid)
            self.observe(Failing(partition_id, error, reason))
        else:
            self._failing(partition_id, error, reason)
        self.observe(Exited(partition_id))
        if owner.ready is None and self.machine.failures(partition_id) >= START_ATTEMPTS_MAX:
            for watcher in self.watchers:
                watcher.owner_failed(partition_id, StartError.__name__, reason)

    def _title(self, partition_id: int) -> str:
        partition = self._catalog.machine.partition_by_id(partition_id)
        return f"partition {partition_id}" if partition is None else f"{partition.topic.name}-{partition.partition}"

"""Leaders that change: what owners and followers say goes to the failover machine, what it decides is done here."""

from __future__ import annotations

import logging
from functools import partial

from shmlog.control.messages import OwnerReady
from shmlog.errors import DiskFullError, LeaderNotAvailableError
from shmlog.machines.failover import (
    AskToHandOver,
    Candidates,
    FailoverMachine,
    FailoverStep,
    HandedOver,
    Lead,
    LeaderWanted,
    LogFailed,
    NobodyCanLead,
    Observation,
    Vacant,
    VacateLeader,
)
from shmlog.machines.metadata import Partition
from shmlog.machines.replication import FollowerPhase
from shmlog.machines.supervision import Led, OwnerPhase, Vacated
from shmlog.settings import TopicConfig
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners

log = logging.getLogger(__name__)

FULL_DISK_PAUSE_S = 1.0
STEP_DOWN_S = 2.0  # an owner that has not gone so long after it was told to is killed
CAN_VACATE = (OwnerPhase.STARTING, OwnerPhase.RUNNING, OwnerPhase.WAITING, OwnerPhase.OFFLINE)


class Failover(OwnerWatcher):
    """Watches owners and followers of partitions that have several replicas."""

    def __init__(self, loop: Loop, catalog: Catalog, owners: Owners, followers: Followers) -> None:
        self._loop = loop
        self._catalog = catalog
        self._owners = owners
        self._followers = followers
        self.machine = FailoverMachine()
        self._said: dict[int, str] = {}  # why a partition has no leader, as the log was told
        owners.watchers.append(self)
        followers.on_ready.append(self._follower_ready)
        followers.on_handed_over.append(self._handed_over)

    # --- orders -------------------------------------------------------------------------------------------------------

    def elect(self, partition: Partition, replica_id: int) -> None:
        """Let this replica lead. Raises LeaderNotAvailableError, with the reason, if it cannot."""
        if self._owners.machine.phase(partition.partition_id) not in CAN_VACATE:
            raise LeaderNotAvailableError(f"{_name(partition)} is changing its leader, or being closed: try again")
        step = self.machine.observe(
            LeaderWanted(partition.partition_id, replica_id, self._candidates(partition)),
        )
        for action in step.actions:
            if isinstance(action, NobodyCanLead):
                raise LeaderNotAvailableError(f"{_name(partition)}: {action.reason}")
        self._carry_out(step)

    def why_offline(self, partition_id: int) -> str:
        """What is missing for a partition whose leader's log has failed; "" while it is not offline for that."""
        return self._said.get(partition_id, "")

    # --- what happens -------------------------------------------------------------------------------------------------

    def log_failed(self, partition_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None and len(partition.replicas) > 1 and not partition.topic.is_hidden:
            self._observe(LogFailed(partition_id, self._candidates(partition)))

    def log_refused(self, partition_id: int, message: str) -> None:
        """Only a replica in sync is better than waiting for room."""
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is None or partition.topic.is_hidden:
            return
        found = self._candidates(partition)
        if found.in_sync & found.following.keys():
            log.warning("%s: %s; another replica leads meanwhile", _name(partition), message)
            self._observe(LogFailed(partition_id, found))

    def owner_vacant(self, partition_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None:
            self._observe(Vacant(partition_id, self._in_sync(partition)))

    def owner_ready(self, ready: OwnerReady) -> None:
        self._said.pop(ready.partition_id, None)

    def _follower_ready(self, partition_id: int, replica_id: int) -> None:
        """It may be the one that is waited for."""
        if self._owners.machine.has_failed_log(partition_id):
            self.log_failed(partition_id)

    def _handed_over(self, partition_id: int, replica_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None:
            self._observe(HandedOver(partition_id, replica_id, self._in_sync(partition)))

    # --- deciding and acting ------------------------------------------------------------------------------------------

    def _observe(self, seen: Observation) -> None:
        self._carry_out(self.machine.observe(seen))

    def _carry_out(self, step: FailoverStep) -> None:
        try:
            self._catalog.commit(step.records)
        except DiskFullError as error:
            log.warning("a new leader waits for room on the disk: %s", error)
            self._loop.call_in(FULL_DISK_PAUSE_S, partial(self._carry_out, step))
            return
        for action in step.actions:
            match action:
                case VacateLeader(partition_id=partition_id):
                    self._owners.observe(Vacated(partition_id))
                    self._loop.call_in(STEP_DOWN_S, partial(self._insist, partition_id))
                case AskToHandOver(partition_id=partition_id, replica_id=replica_id):
                    self._followers.hand_over(partition_id, replica_id)
                case Lead(partition_id=partition_id, replica_id=replica_id, in_sync=in_sync):
                    log.warning("%s: replica %d leads from now on", self._title(partition_id), replica_id)
                    self._owners.observe(Led(partition_id))
                    self._followers.follow(partition_id, replica_id, in_sync)
                case NobodyCanLead(partition_id=partition_id, reason=reason):
                    if self._said.get(partition_id) != reason:
                        self._said[partition_id] = reason
                        log.error("%s has no leader: %s", self._title(partition_id), reason)

    def _insist(self, partition_id: int) -> None:
        """An owner that was to step down and did not is killed; nobody acts in its place before its exit was seen."""
        if self._owners.machine.phase(partition_id) is OwnerPhase.MOVING:
            self._owners.kill(partition_id)

    def _candidates(self, partition: Partition) -> Candidates:
        following: dict[int, int] = {}
        stopped: dict[int, str] = {}
        for replica_id, follower in self._followers.machine.followers(partition.partition_id).items():
            process = self._followers.process(partition.partition_id, replica_id)
            if follower.phase is FollowerPhase.FOLLOWING and process is not None and process.region is not None:
                following[replica_id] = process.region.written_offset
            else:
                stopped[replica_id] = follower.error or f"it is {follower.phase.value}"
        config = TopicConfig.from_mapping(self._catalog.machine.effective_config(partition.topic))
        return Candidates(
            partition.leader, self._in_sync(partition), following, stopped, config.unclean_leader_election_enable
        )

    def _in_sync(self, partition: Partition) -> frozenset[int]:
        """By what is durable, without those that have left and for whose record there was no room yet."""
        return partition.in_sync & self._followers.machine.in_sync(partition.partition_id)

    def _title(self, partition_id: int) -> str:
        partition = self._catalog.machine.partition_by_id(partition_id)
        return f"partition {partition_id}" if partition is None else _name(partition)


def _name(partition: Partition) -> str:
    return f"{partition.topic.name}-{partition.partition}"

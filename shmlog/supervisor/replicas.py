"""What people want of replicas: that another one leads, or that one moves to another log directory."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from shmlog.control.messages import ElectLeader, MoveReplica, OwnerReady
from shmlog.errors import DiskFullError, InvalidRequestError, LeaderNotAvailableError
from shmlog.limits import CONTROL_TIMEOUT_S
from shmlog.machines.metadata import Partition
from shmlog.machines.reassignment import begin_move, end_move
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.failover import Failover
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners

log = logging.getLogger(__name__)

LOOK_S = 0.1  # at moves that are under way


class Replicas(OwnerWatcher):
    """Answers when an owner of the wanted leader runs. Moves go on by themselves, also after a restart (resume)."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        catalog: Catalog,
        owners: Owners,
        followers: Followers,
        failover: Failover,
        erase: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._followers = followers
        self._failover = failover
        self._erase = erase
        self._answers: defaultdict[int, list[Answer]] = defaultdict(list)
        self._is_looking = False
        owners.watchers.append(self)
        followers.on_dropped.append(self._dropped)

    # --- leaders ------------------------------------------------------------------------------------------------------

    def elect(self, wanted: ElectLeader, answer: Answer) -> None:
        """Raises UnknownTopicOrPartitionError, InvalidRequestError, LeaderNotAvailableError with what is in the way."""
        partition = self._catalog.machine.partition(wanted.topic, wanted.partition)
        replica_id = min(partition.replicas) if wanted.replica_id is None else wanted.replica_id
        _require(partition, replica_id)
        if replica_id == partition.leader and self._owners.running(partition.partition_id) is not None:
            answer.done()
            return
        self._failover.elect(partition, replica_id)
        self._answers[partition.partition_id].append(answer)
        late = LeaderNotAvailableError(
            f"replica {replica_id} of {_name(partition)} does not lead after {CONTROL_TIMEOUT_S:g} s: `shmlog topic"
            " describe` shows what it is doing"
        )
        self._loop.call_in(CONTROL_TIMEOUT_S, partial(answer.fail, late))

    def owner_ready(self, ready: OwnerReady) -> None:
        for answer in self._answers.pop(ready.partition_id, []):
            answer.done()

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        for answer in self._answers.pop(partition_id, []):
            answer.fail(LeaderNotAvailableError("the partition was closed"))

    # --- moves --------------------------------------------------------------------------------------------------------

    def move(self, wanted: MoveReplica) -> None:
        """Begin it. Raises UnknownTopicOrPartitionError and InvalidRequestError."""
        partition = self._catalog.machine.partition(wanted.topic, wanted.partition)
        directory_id = self._directory(wanted.log_dir)
        left = [
            one for one in self._catalog.machine.abandoned(directory_id) if one.topic_id == partition.topic.topic_id
        ]
        if left:
            raise InvalidRequestError(
                f"{wanted.log_dir} still has {left[0].log_name} of a replica that was moved away: it goes when the"
                " cluster starts the next time"
            )
        records = begin_move(partition, wanted.replica_id, directory_id)
        self._catalog.commit(records)
        new = records[2].by
        log.info("%s: replica %d moves to %s as replica %d", _name(partition), wanted.replica_id, wanted.log_dir, new)
        self._followers.add(partition, new)
        self._watch()

    def resume(self) -> None:
        """Go on with what an earlier supervisor began; their followers are started like all others."""
        if any(one.replaced for one in self._catalog.machine.partitions()):
            self._watch()

    def _watch(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_in(LOOK_S, self._look)

    def _look(self) -> None:
        self._is_looking = False
        moving = [one for one in self._catalog.machine.partitions() if one.replaced and not one.topic.is_hidden]
        for partition in moving:
            for old, new in dict(partition.replaced).items():
                self._advance(partition, old, new)
        if moving:
            self._watch()

    def _advance(self, partition: Partition, old: int, new: int) -> None:
        """One step of a move, if it is time for it."""
        if new not in partition.in_sync or self._owners.running(partition.partition_id) is None:
            return
        if old == partition.leader:
            try:
                self._failover.elect(partition, new)
            except LeaderNotAvailableError as error:
                log.debug("%s: replica %d cannot lead yet: %s", _name(partition), new, error)
            return
        try:
            self._catalog.commit(end_move(partition, old))
        except DiskFullError as error:
            log.warning("%s", error)
            return
        log.info("%s: replica %d has taken the place of replica %d", _name(partition), new, old)
        self._followers.drop(partition.partition_id, old)

    def _dropped(self, partition_id: int, replica_id: int) -> None:
        for directory_id in self._identity.directories.present():
            if self._catalog.machine.abandoned(directory_id):
                try:
                    self._erase(directory_id)
                except DiskFullError as error:
                    log.warning("what replica %d of partition %d left goes later: %s", replica_id, partition_id, error)

    def _directory(self, path: str) -> str:
        """The id of a log directory that takes new replicas."""
        directories, wanted = self._identity.directories, os.path.abspath(path)
        takes = {directories.path(one): one for one in directories.for_new_replicas()}
        if wanted not in takes:
            raise InvalidRequestError(
                f"{path} is no log directory of this cluster that takes new replicas: it has {', '.join(sorted(takes))}"
                " (log.dirs, `shmlog up --log-dir`)"
            )
        return takes[wanted]


def _require(partition: Partition, replica_id: int) -> None:
    if replica_id not in partition.replicas:
        raise InvalidRequestError(f"{_name(partition)} has no replica {replica_id}, but {sorted(partition.replicas)}")


def _name(partition: Partition) -> str:
    return f"{partition.topic.name}-{partition.partition}"

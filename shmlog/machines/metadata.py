"""The catalog of a cluster: topics, their partitions, replicas and settings, leader epochs, and blocks of ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from shmlog.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    ShmlogError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from shmlog.limits import PARTITIONS_PER_TOPIC_MAX, PRODUCER_ID_BLOCK, REPLICAS_PER_PARTITION_MAX
from shmlog.machines.log_names import assign_log_names, check_further_name, check_topic_name, log_name
from shmlog.machines.metadata_records import (
    DirectoryRegistered,
    IdKind,
    IdsReserved,
    InSyncChanged,
    LeaderEpochRaised,
    LogAbandoned,
    LogErased,
    MetadataRecord,
    PartitionsAdded,
    ReplicaReplaced,
    ReplicasAssigned,
    TopicAdded,
    TopicConfigReplaced,
    TopicDeleted,
    TopicDeletionBegun,
)
from shmlog.machines.placement import DirectoryUse, place
from shmlog.machines.step import Step
from shmlog.machines.topic_settings import NO_CHANGE, SettingsChange, altered_settings
from shmlog.settings import did_you_mean, effective


@dataclass(frozen=True, slots=True)
class StartPartition:
    """Action: this partition needs an owner from now on."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class ConfigurePartition:
    """Action: tell this partition's owner its new effective settings."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class ErasePartition:
    """Action: close this partition's owner and remove its data."""

    partition_id: int


CatalogAction = StartPartition | ConfigurePartition | ErasePartition
CatalogStep = Step[MetadataRecord, None, CatalogAction]


@dataclass(slots=True)
class Topic:
    """A topic as the log says; read-only for everybody but MetadataMachine. `condemned` is not in the log."""

    name: str
    topic_id: str
    internal: bool
    config: dict[str, str]
    partition_ids: list[int] = field(default_factory=list)
    deleting: bool = False
    condemned: bool = False

    @property
    def is_hidden(self) -> bool:
        """It is being deleted, or will be: to clients it is unknown, and its partitions get no owners."""
        return self.deleting or self.condemned


@dataclass(slots=True)
class Partition:
    """A partition as the log says. `leader_epoch` -1: no owner was ever started.

    `replicas` has the directory id of each replica, `log_names` what its directory is called there; `leader` is the
    replica whose process owns the partition, `in_sync` what the high watermark waits for. `replaced`: replicas that are
    to go, and the one that takes the place of each (machines/reassignment).
    """

    topic: Topic
    partition: int
    partition_id: int
    replicas: dict[int, str]
    log_names: dict[int, str]
    in_sync: frozenset[int] = frozenset({0})
    leader: int = 0
    leader_epoch: int = -1
    next_replica_id: int = 1
    replaced: dict[int, int] = field(default_factory=dict)


class MetadataMachine:
    """Requests return records and actions, or raise why not; state changes only in replay() and condemn().

    `topic_defaults` are the cluster's overrides of topic settings; `partitions_default` is num.partitions, and
    `replicas_default` default.replication.factor. `data_directory_id`: where partitions of older logs are.
    """

    def __init__(
        self,
        *,
        partitions_default: int = 1,
        replicas_default: int = 1,
        topic_defaults: Mapping[str, str] | None = None,
        data_directory_id: str = "",
    ) -> None:
        self._partitions_default = partitions_default
        self._replicas_default = replicas_default
        self._topic_defaults = dict(topic_defaults or {})
        self._data_directory_id = data_directory_id
        self._topics: dict[str, Topic] = {}  # by topic id
        self._names: dict[str, Topic] = {}  # also those that are being deleted: their directories are in the way
        self._partitions: dict[int, Partition] = {}
        self._directories: dict[str, str] = {}  # paths by id
        self._abandoned: dict[str, list[LogAbandoned]] = {}  # by directory id
        self._next_partition_id = 0
        self._next_ids: dict[IdKind, int] = {"producer": 0, "client": 1, "lane": 1}

    # --- questions ----------------------------------------------------------------------------------------------------

    def topics(self) -> list[Topic]:
        """All visible topics by name."""
        return sorted((topic for topic in self._topics.values() if not topic.is_hidden), key=lambda topic: topic.name)

    def deletions(self) -> list[Topic]:
        """Topics whose deletion has begun and not ended."""
        return [topic for topic in self._topics.values() if topic.deleting]

    def topic(self, name: str) -> Topic:
        """The visible topic of that name; UnknownTopicOrPartitionError with a suggestion."""
        found = self._names.get(name)
        if found is None or found.is_hidden:
            known = [topic.name for topic in self.topics()]
            hint = did_you_mean(name, known) or (": there are no topics yet;" if not known else ":")
            raise UnknownTopicOrPartitionError(
                f"unknown topic {name!r}{hint} `shmlog topic create` makes one, `shmlog topic list` shows what there is"
            )
        return found

    def partition(self, name: str, number: int) -> Partition:
        """Partition `number` of the visible topic `name`; UnknownTopicOrPartitionError names the range."""
        topic = self.topic(name)
        if not 0 <= number < len(topic.partition_ids):
            raise UnknownTopicOrPartitionError(
                f"topic {name!r} has partitions 0 to {len(topic.partition_ids) - 1}, not {number}"
            )
        return self._partitions[topic.partition_ids[number]]

    def partition_by_id(self, partition_id: int) -> Partition | None:
        """Also of a topic that is being deleted; None for an id that no partition has."""
        return self._partitions.get(partition_id)

    def partitions(self) -> list[Partition]:
        """All partitions, those of topics being deleted included."""
        return list(self._partitions.values())

    @property
    def topic_defaults(self) -> dict[str, str]:
        """The cluster's overrides of topic settings."""
        return dict(self._topic_defaults)

    def effective_config(self, topic: Topic) -> dict[str, str]:
        """Every topic setting as it applies: defaults, the cluster's, the topic's own."""
        return effective(self._topic_defaults, topic.config)

    def directories(self) -> dict[str, str]:
        """Where each log directory was last, by id; the data directory is not among them."""
        return dict(self._directories)

    def abandoned(self, directory_id: str) -> list[LogAbandoned]:
        """Logs of deleted topics that are still in a directory."""
        return list(self._abandoned.get(directory_id, []))

    def directory_use(self) -> dict[str, DirectoryUse]:
        """What each directory has; those that have nothing are left out. Topics that are being deleted count."""
        replicas = Counter(one for partition in self._partitions.values() for one in partition.replicas.values())
        leaders = Counter(partition.replicas[partition.leader] for partition in self._partitions.values())
        return {one: DirectoryUse(replicas[one], leaders[one]) for one in replicas}

    # --- requests: they raise or return a step, and change nothing ----------------------------------------------------

    def create_topic(
        self,
        name: str,
        *,
        topic_id: str,
        partitions: int | None,
        replication_factor: int | None = None,
        config: Mapping[str, object] | None = None,
        internal: bool = False,
        directories: Sequence[str] | None = None,
    ) -> CatalogStep:
        """A new topic with a fresh `topic_id`; raises what the caller got wrong.

        Its replicas go to `directories`, by id; None: to the data directory.
        """
        check_topic_name(name)
        existing = self._names.get(name)
        if existing is not None:
            raise TopicAlreadyExistsError(
                f"topic {name!r} is being deleted: try again in a moment"
                if existing.is_hidden
                else f"topic {name!r} already exists: send to it as it is, change it with `shmlog topic alter {name}`,"
                " choose another name, or delete it first"
            )
        replicas = self._replicas_default if replication_factor is None else replication_factor
        if not 1 <= replicas <= REPLICAS_PER_PARTITION_MAX:
            raise InvalidReplicationFactorError(
                f"replication_factor must be 1 to {REPLICAS_PER_PARTITION_MAX}, not {replicas}"
            )
        count = self._partitions_default if partitions is None else partitions
        _check_partition_count(name, count)
        checked = altered_settings({}, self._topic_defaults, SettingsChange(set=config or {}))
        ids = self._fresh_partition_ids(count)
        return Step(
            records=(
                TopicAdded(name, topic_id, internal, ids, checked),
                *self._assigned(name, ids, range(count), replicas, directories),
            ),
            actions=tuple(StartPartition(partition_id) for partition_id in ids),
        )

    def delete_topic(self, name: str) -> CatalogStep:
        """Also a condemned one."""
        found = self._names.get(name)
        topic = found if found is not None and found.condemned and not found.deleting else self.topic(name)
        if topic.internal:
            raise InvalidTopicError(f"topic {name!r} is internal and cannot be deleted")
        return Step(
            records=(TopicDeletionBegun(topic.topic_id),),
            actions=tuple(ErasePartition(partition_id) for partition_id in topic.partition_ids),
        )

    def condemn(self, topic: Topic) -> None:
        """Hide a topic that was not created after all until delete_topic's record is durable, which may need room on
        the disk first. The log does not say so: a supervisor that starts before then shows the topic again."""
        topic.condemned = True

    def finish_deletion(self, topic_id: str, present: Set[str] | None = None) -> CatalogStep:
        """All its owners, regions and directories are gone, but those in directories that are not `present` (ids; None:
        all are)."""
        abandoned = tuple(
            LogAbandoned(directory_id, partition.log_names[replica_id], topic_id)
            for partition_id in self._topics[topic_id].partition_ids
            for partition in [self._partitions[partition_id]]
            for replica_id, directory_id in partition.replicas.items()
            if present is not None and directory_id not in present
        )
        return Step(records=(*abandoned, TopicDeleted(topic_id)))

    def erased(self, gone: Iterable[LogAbandoned]) -> CatalogStep:
        """These abandoned logs are gone."""
        return Step(records=tuple(LogErased(one.directory_id, one.log_name, one.topic_id) for one in gone))

    def register_directories(self, found: Mapping[str, str]) -> CatalogStep:
        """Where log directories are now, by id: a record for each that is new or was elsewhere."""
        moved = {one: path for one, path in found.items() if self._directories.get(one) != path}
        return Step(records=tuple(DirectoryRegistered(one, path) for one, path in moved.items()))

    def alter_topic(
        self,
        name: str,
        *,
        change: SettingsChange = NO_CHANGE,
        partitions: int | None = None,
        directories: Sequence[str] | None = None,
    ) -> CatalogStep:
        """Change overrides and add partitions, both or none. New partitions have as many replicas as the first one, in
        `directories`, see create_topic."""
        topic = self.topic(name)
        config = altered_settings(topic.config, self._topic_defaults, change)
        records: list[MetadataRecord] = []
        actions: list[CatalogAction] = []
        if config != topic.config:
            records.append(TopicConfigReplaced(topic.topic_id, config))
            actions.extend(ConfigurePartition(partition_id) for partition_id in topic.partition_ids)
        before = len(topic.partition_ids)
        if partitions is not None and partitions != before:
            if partitions < before:
                raise InvalidPartitionsError(
                    f"topic {name!r} has {before} partitions; partitions can only be added, so not {partitions}"
                )
            _check_partition_count(name, partitions)
            ids = self._fresh_partition_ids(partitions - before)
            records.append(PartitionsAdded(topic.topic_id, ids))
            replicas = len(self._partitions[topic.partition_ids[0]].replicas)
            records.extend(self._assigned(name, ids, range(before, partitions), replicas, directories))
            actions.extend(StartPartition(partition_id) for partition_id in ids)
        return Step(records=tuple(records), actions=tuple(actions))

    def reserve_ids(self, kind: IdKind) -> tuple[range, CatalogStep]:
        """A block of ids that nobody ever had, to be handed out once the step's record is durable."""
        first = self._next_ids[kind]
        return range(first, first + PRODUCER_ID_BLOCK), Step(records=(IdsReserved(kind, first + PRODUCER_ID_BLOCK),))

    def _fresh_partition_ids(self, count: int) -> list[int]:
        return list(range(self._next_partition_id, self._next_partition_id + count))

    def _assigned(
        self, topic: str, ids: list[int], numbers: range, replicas: int, directories: Sequence[str] | None
    ) -> list[ReplicasAssigned]:
        """Where the replicas of new partitions go. Raises InvalidTopicError for a name that is too long for them."""
        placed = place(
            len(ids), replicas, [self._data_directory_id] if directories is None else directories, self.directory_use()
        )
        if any(len(set(chosen)) < replicas for chosen in placed):
            check_further_name(topic, numbers[-1], replicas - 1)
        return [
            ReplicasAssigned(partition_id, list(range(replicas)), chosen)
            for partition_id, chosen in zip(ids, placed, strict=True)
        ]

    # --- the only writer of state -------------------------------------------------------------------------------------

    def replay(self, record: MetadataRecord) -> None:
        """Apply one record of the log, in the log's order."""
        match record:
            case TopicAdded():
                topic = Topic(record.name, record.topic_id, record.internal, dict(record.config))
                self._topics[topic.topic_id] = self._names[topic.name] = topic
                self._add_partitions(topic, record.partition_ids)
            case PartitionsAdded():
                self._add_partitions(self._topics[record.topic_id], record.partition_ids)
            case TopicConfigReplaced():
                self._topics[record.topic_id].config = dict(record.config)
            case TopicDeletionBegun():
                self._topics[record.topic_id].deleting = True
            case TopicDeleted():
                gone = self._topics.pop(record.topic_id)
                del self._names[gone.name]
                for partition_id in gone.partition_ids:
                    del self._partitions[partition_id]
            case LeaderEpochRaised():
                partition = self._partitions.get(record.partition_id)
                if partition is not None:  # logs exist in which one follows the TopicDeleted of its partition
                    assert record.leader_epoch > partition.leader_epoch, "a leader epoch never goes back"
                    partition.leader_epoch = record.leader_epoch
            case IdsReserved():
                self._next_ids[record.kind] = record.next_id
            case ReplicasAssigned() | InSyncChanged() | ReplicaReplaced():
                self._replay_replicas(record)
            case DirectoryRegistered():
                self._directories[record.directory_id] = record.path
            case LogAbandoned():
                self._abandoned.setdefault(record.directory_id, []).append(record)
            case LogErased():
                self._abandoned[record.directory_id].remove(
                    LogAbandoned(record.directory_id, record.log_name, record.topic_id)
                )

    def _replay_replicas(self, record: ReplicasAssigned | InSyncChanged | ReplicaReplaced) -> None:
        partition = self._partitions.get(record.partition_id)
        if partition is None:  # its topic was deleted before its last follower had said something
            return
        if isinstance(record, InSyncChanged):
            partition.leader, partition.in_sync = record.leader, frozenset(record.in_sync)
            return
        if isinstance(record, ReplicaReplaced):
            partition.replaced[record.replica_id] = record.by
            return
        replicas = dict(zip(record.replica_ids, record.directory_ids, strict=True))
        plain = log_name(partition.topic.name, partition.partition)
        partition.log_names = assign_log_names(plain, replicas, partition.replicas, partition.log_names)
        partition.replicas, partition.in_sync = replicas, frozenset(replicas)
        partition.next_replica_id = max(partition.next_replica_id, *(one + 1 for one in replicas))
        partition.replaced = {old: by for old, by in partition.replaced.items() if old in replicas and by in replicas}

    def _add_partitions(self, topic: Topic, partition_ids: list[int]) -> None:
        for partition_id in partition_ids:
            number = len(topic.partition_ids)
            self._partitions[partition_id] = Partition(
                topic, number, partition_id, {0: self._data_directory_id}, {0: log_name(topic.name, number)}
            )
            topic.partition_ids.append(partition_id)
            self._next_partition_id = max(self._next_partition_id, partition_id + 1)


def _check_partition_count(name: str, count: int) -> None:
    if not 1 <= count <= PARTITIONS_PER_TOPIC_MAX:
        error: ShmlogError = InvalidPartitionsError(
            f"topic {name!r} must have 1 to {PARTITIONS_PER_TOPIC_MAX} partitions, not {count}"
        )
        raise error

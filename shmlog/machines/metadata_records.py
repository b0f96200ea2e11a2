"""The records of the metadata log: everything about a cluster that must survive its processes.

Their fields are JSON types only; control/catalog.py turns them into bytes and back. A record type is never changed,
only superseded by another, so that a newer shmlog reads every older log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IdKind = Literal["producer", "client", "lane"]


@dataclass(frozen=True, slots=True)
class TopicAdded:
    """`partition_ids[n]` is the cluster-wide id of partition n; `config` holds overrides only."""

    name: str
    topic_id: str
    internal: bool
    partition_ids: list[int]
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartitionsAdded:
    """Further partitions, appended to the topic's."""

    topic_id: str
    partition_ids: list[int]


@dataclass(frozen=True, slots=True)
class TopicConfigReplaced:
    """All overrides of the topic from now on."""

    topic_id: str
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class TopicDeletionBegun:
    """From now on nobody can see the topic; its owners and files may still be there."""

    topic_id: str


@dataclass(frozen=True, slots=True)
class TopicDeleted:
    """Owners, regions and directories are gone; the name is free."""

    topic_id: str


@dataclass(frozen=True, slots=True)
class LeaderEpochRaised:
    """Written before an owner with this epoch is started."""

    partition_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class IdsReserved:
    """Ids below `next_id` may have been handed out; nobody gets them again."""

    kind: IdKind
    next_id: int


@dataclass(frozen=True, slots=True)
class DirectoryRegistered:
    """Where the log directory of that id was when a supervisor started with it; a later one may find it elsewhere."""

    directory_id: str
    path: str


@dataclass(frozen=True, slots=True)
class ReplicasAssigned:
    """All replicas of a partition from now on: `replica_ids[n]` is in the directory `directory_ids[n]`.

    Replica ids are small, unique in their partition and never used again. A partition without this record, of an older
    log, has replica 0 in the data directory.
    """

    partition_id: int
    replica_ids: list[int]
    directory_ids: list[str]


@dataclass(frozen=True, slots=True)
class InSyncChanged:
    """The replicas of a partition that the high watermark waits for from now on, `leader` among them.

    All replicas of a partition without this record are. Written before anybody is told.
    """

    partition_id: int
    leader: int
    in_sync: list[int]


@dataclass(frozen=True, slots=True)
class ReplicaReplaced:
    """Replica `by` takes the place of `replica_id` once it is in sync; another ReplicasAssigned ends that."""

    partition_id: int
    replica_id: int
    by: int


@dataclass(frozen=True, slots=True)
class LogAbandoned:
    """A log that is no replica's any more: of a deleted topic in a directory that is not there, or of a replica that
    has moved. It goes when the directory comes back, or nobody has it open."""

    directory_id: str
    log_name: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class LogErased:
    """An abandoned log is gone."""

    directory_id: str
    log_name: str
    topic_id: str


MetadataRecord = (
    TopicAdded
    | PartitionsAdded
    | ReplicasAssigned
    | InSyncChanged
    | ReplicaReplaced
    | TopicConfigReplaced
    | TopicDeletionBegun
    | TopicDeleted
    | LeaderEpochRaised
    | IdsReserved
    | DirectoryRegistered
    | LogAbandoned
    | LogErased
)

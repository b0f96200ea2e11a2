"""What clients ask about topics. PlaceTopic and ImportTopic are of an import into a running cluster: see
supervisor/arrivals.py."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DescribeTopics:
    """None: all topics."""

    request_id: int
    topics: list[str] | None


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Answered with TopicCreated when all owners run. None: num.partitions, default.replication.factor."""

    request_id: int
    name: str
    partitions: int | None
    replication_factor: int | None
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    request_id: int
    name: str


@dataclass(frozen=True, slots=True)
class AlterTopic:
    """Set and unset overrides, append to and subtract from lists, and raise the number of partitions to `partitions` if
    it is given: all or nothing."""

    request_id: int
    name: str
    set: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    partitions: int | None = None
    append: dict[str, str] = field(default_factory=dict)
    subtract: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlaceTopic:
    """Answered with TopicPlaced if such a topic could be created now; that promises nothing. None: the default."""

    request_id: int
    name: str
    partitions: int
    replication_factor: int | None
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class TopicPlaced:
    """Where the log of each partition is to be made: the ids and the paths of log directories. `reserve_bytes` of their
    disks stay free."""

    request_id: int
    topic_id: str
    directory_ids: list[str]
    paths: list[str]
    reserve_bytes: int


@dataclass(frozen=True, slots=True)
class ImportTopic:
    """The logs of all partitions are made, in directories called import_name(topic_id, partition): make them a topic.

    `leader_epochs` are the largest ones of their batches, -1 for none. Answered with TopicCreated when all owners run.
    """

    request_id: int
    topic_id: str
    name: str
    replication_factor: int | None
    config: dict[str, str]
    directory_ids: list[str]
    leader_epochs: list[int]

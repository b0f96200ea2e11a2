"""The records of consumer groups: all state of a group is what these, replayed, say. Kafka's `__consumer_offsets` has
the same ones; control/offsets_topic.py has their bytes.

Each record is complete for its key (group; group and member; group, topic and partition): the last one for a key
counts, and a log that keeps only the last for each key gives the same state in whatever order keys come. A `*Removed`
is the tombstone of its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class TopicIdPartition(NamedTuple):
    """A partition of a topic that cannot be mistaken for one of another topic that had the name. `topic_id`: 32 hex
    digits."""

    topic_id: str
    partition: int


Partitions = frozenset[TopicIdPartition]
NO_PARTITIONS: Partitions = frozenset()


class MemberState(IntEnum):
    """Where a member is on its way to its target. Numbers as in Kafka's records."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    """It has to give something up first."""
    UNRELEASED_PARTITIONS = 2
    """It waits for what others have to give up."""


@dataclass(frozen=True, slots=True)
class OffsetCommitted:
    """A group has read a partition up to, not including, `offset`. `leader_epoch`: of the record before it, or -1.
    `topic_id`: 32 hex digits, or "" where nobody knew it."""

    group: str
    topic: str
    partition: int
    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class OffsetRemoved:
    group: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """The group's epoch: raised by every change of its members, their subscriptions or the topics that match."""

    group: str
    epoch: int


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    group: str


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """What a member said when it joined. `client_host` names the registration of its process."""

    group: str
    member_id: str
    instance_id: str | None
    client_name: str
    client_host: str
    topics: tuple[str, ...]
    pattern: str | None
    rebalance_timeout_ms: int
    assignor: str


@dataclass(frozen=True, slots=True)
class MemberRemoved:
    group: str
    member_id: str


@dataclass(frozen=True, slots=True)
class TargetEpochChanged:
    """The epoch of the group that its members' targets were computed for."""

    group: str
    epoch: int


@dataclass(frozen=True, slots=True)
class TargetEpochRemoved:
    group: str


@dataclass(frozen=True, slots=True)
class TargetChanged:
    """What a member is to have in the end."""

    group: str
    member_id: str
    partitions: Partitions


@dataclass(frozen=True, slots=True)
class TargetRemoved:
    group: str
    member_id: str


@dataclass(frozen=True, slots=True)
class CurrentChanged:
    """What a member has, or may take, now (`assigned`), and what it has been asked to give up and may still have."""

    group: str
    member_id: str
    epoch: int
    previous_epoch: int
    state: MemberState
    assigned: Partitions
    pending_revocation: Partitions


@dataclass(frozen=True, slots=True)
class CurrentRemoved:
    group: str
    member_id: str


GroupRecord = (
    OffsetCommitted
    | OffsetRemoved
    | GroupChanged
    | GroupRemoved
    | MemberChanged
    | MemberRemoved
    | TargetEpochChanged
    | TargetEpochRemoved
    | TargetChanged
    | TargetRemoved
    | CurrentChanged
    | CurrentRemoved
)

"""What clients ask the supervisor about the replicas of a partition."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ElectLeader:
    """Let this replica lead, None: the first one that the partition was made with, or its oldest. Done when it does."""

    request_id: int
    topic: str
    partition: int
    replica_id: int | None


@dataclass(frozen=True, slots=True)
class MoveReplica:
    """Make a copy of this replica in the log directory `log_dir`, which takes its place once it is in sync.

    Done when that has begun: `DescribeTopics` shows the new replica, and when the old one is gone.
    """

    request_id: int
    topic: str
    partition: int
    replica_id: int
    log_dir: str


@dataclass(frozen=True, slots=True)
class MendReplica:
    """A sealed segment of this replica is damaged, and replica `source_replica_id` has what it should hold.

    For the other fields see MendSegment. Done: whoever may write there has the order. The files tell what came of it.
    """

    request_id: int
    topic: str
    partition: int
    replica_id: int
    source_replica_id: int
    base_offset: int
    following: int
    position: int
    first_offset: int

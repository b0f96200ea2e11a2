"""What a worker is told when it is started: everything that it must know, in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FollowerAt:
    """A follower process that runs, or is about to. `region`: the name of its replica region, which it makes."""

    replica_id: int
    region: str
    in_sync: bool


@dataclass(frozen=True, slots=True)
class CoordinatorSpec:
    """What the coordinator of consumer groups must know that an owner hosts. `offsets_retention_ms`: how long offsets
    of groups without members stay."""

    offsets_retention_ms: int
    metadata_bytes_max: int


@dataclass(frozen=True, slots=True)
class OwnerSpec:
    """Everything that a partition's owner must know to start. `log_dir` is absolute; `config` is effective."""

    cluster_id: str
    cluster_name: str
    cid8: str
    runtime_dir: str
    topic: str
    topic_id: str
    partition: int
    partition_id: int
    leader_epoch: int
    log_dir: str
    config: dict[str, str]
    shm_mode: int
    shm_group: int | None
    leftovers: bool
    """Whether rings of earlier owners may be in shared memory: looking for them costs as much as there are regions."""
    followers: list[FollowerAt] = field(default_factory=list)
    """As in FollowersAre, of version 0."""
    replicas: int = 1
    """How many the partition has, whether or not they run; the one that leads is among them."""
    replica_id: int = 0
    """Whose log this is: the replica that leads."""
    has_begun: bool = False
    """Whether the log is known to be there: an owner that finds none says so, and begins none."""
    groups: CoordinatorSpec | None = None
    """Of an owner that hosts the coordinator of consumer groups."""


@dataclass(frozen=True, slots=True)
class FollowerSpec:
    """Everything that a follower must know to start. Both directories are absolute; `config` is effective.

    Its orders are AlterConfig, LeaderMoved, HandOver and Close; ring the doorbell in its replica region after sending
    one. It reports OwnerRecovering, FollowerReady, FollowerTruncated, FollowerWaits, SegmentsLookedAt, FollowerFailed
    and Closed.
    """

    cluster_id: str
    cluster_name: str
    cid8: str
    runtime_dir: str
    topic: str
    topic_id: str
    partition: int
    partition_id: int
    replica_id: int
    log_dir: str
    leader_log_dir: str
    config: dict[str, str]
    shm_mode: int
    shm_group: int | None
    has_begun: bool = False
    """Whether this copy counts as in sync: then one that is gone is not begun anew before it counts no more."""

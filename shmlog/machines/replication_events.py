"""What the replication machine takes in, and what it says is to be done."""

from __future__ import annotations

from dataclasses import dataclass

# --- what the supervisor sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicasWanted:
    """The partition is to have these followers; `in_sync` is what the metadata log says."""

    partition_id: int
    leader: int
    followers: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FollowerReady:
    """The follower said that it follows."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class FollowerFailing:
    """The follower said why it is about to exit."""

    partition_id: int
    replica_id: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class FollowerExited:
    """The kernel said that the follower's process is gone. A failed fork is the same.

    While no leader runs (`has_leader`) it stays in sync: it has all that was acknowledged, and may be asked to lead.
    """

    partition_id: int
    replica_id: int
    has_leader: bool = True


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The leader counts this follower in from now on."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class Lags:
    """The leader has waited for this follower for too long."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class Silent:
    """The follower has shown no sign of life since `since_ns`, though it was asked for one."""

    partition_id: int
    replica_id: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Spoiled:
    """Nothing in the follower's region can be believed, for this reason; the next follower makes it anew."""

    partition_id: int
    replica_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class HandOverWanted:
    """The follower's copy is to become the partition's log: it is to close it and exit."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Another replica leads, with these in sync, which is durable. The one before is to follow."""

    partition_id: int
    leader: int
    in_sync: frozenset[int]


@dataclass(frozen=True, slots=True)
class FollowerAdded:
    """The partition has this replica, too, from now on; it is not in sync."""

    partition_id: int
    leader: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class FollowerDropped:
    """A follower's replica is none any more, durably: it is to end, and its copy goes."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class ReplicasUnwanted:
    """The partition's followers are to end, for good if `delete`."""

    partition_id: int
    delete: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Observation = (
    ReplicasWanted
    | FollowerReady
    | FollowerFailing
    | FollowerExited
    | CaughtUp
    | Lags
    | Silent
    | Spoiled
    | HandOverWanted
    | LeaderChanged
    | FollowerAdded
    | FollowerDropped
    | ReplicasUnwanted
    | Tick
)


OfFollower = FollowerReady | FollowerFailing | FollowerExited | CaughtUp | Lags | Silent | Spoiled | HandOverWanted


# --- what it shall do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartFollower:
    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class CloseFollower:
    partition_id: int
    replica_id: int
    delete: bool


@dataclass(frozen=True, slots=True)
class KillFollower:
    """SIGKILL; nobody acts in its place before FollowerExited was seen."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class OrderHandOver:
    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class HasHandedOver:
    """The follower that was to hand over is gone, whether it got to it or died."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class FollowerIsDropped:
    """Nobody writes the copy of this former replica any more."""

    partition_id: int
    replica_id: int


@dataclass(frozen=True, slots=True)
class TellFollowers:
    """Say to all followers of the partition that run where the leader's log is."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class TellLeader:
    """Give the partition's owner, if there is one, its followers as they are now."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class FollowersGone:
    """None of them is left, and none is wanted."""

    partition_id: int
    delete: bool


ReplicationAction = (
    StartFollower
    | CloseFollower
    | KillFollower
    | OrderHandOver
    | HasHandedOver
    | FollowerIsDropped
    | TellFollowers
    | TellLeader
    | FollowersGone
)

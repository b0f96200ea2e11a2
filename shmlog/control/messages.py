"""Everything that processes say to each other outside the data path: one frozen dataclass per message.

    client  -> supervisor   requests; each has a request_id, and its reply carries the same one
    supervisor -> owner     over the owner's own socket pair; the supervisor rings the partition's bell after sending
    owner   -> supervisor   reports
    supervisor <-> follower over the follower's own socket pair, with the doorbell of its replica region
    supervisor <-> cleaner  logs to be compacted, and what came of it, over the cleaner's own socket pair
    members of groups, and who looks at groups <-> coordinator   over a socket of the coordinator's: group_messages
    supervisor <-> zygote   spawn orders (with the owner's socket) and news of children (with their pidfds)

Field types are limited to what codec.py checks: int, str, bool, lists, dict[str, str], `X | None`, and the descriptions
below. A change of any message changes PROTOCOL.
"""

# ruff: noqa: PLC0414  (`as` tells mypy that the workers' messages are imported from here)
from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.cleaner_messages import (
    CleanedFile as CleanedFile,
    CleanerMessage as CleanerMessage,
    CleanLog as CleanLog,
    LogCleaned as LogCleaned,
    LogNotCleaned as LogNotCleaned,
    SwapRefused as SwapRefused,
    SwapSegments as SwapSegments,
)
from shmlog.control.descriptions import (
    ClientDescription as ClientDescription,
    DamageDescription as DamageDescription,
    DirectoryDescription as DirectoryDescription,
    PartitionDescription as PartitionDescription,
    ReplicaDescription as ReplicaDescription,
    TopicDescription as TopicDescription,
)
from shmlog.control.group_messages import (
    CoordinatorFound as CoordinatorFound,
    FindCoordinator as FindCoordinator,
    GroupMessage as GroupMessage,
    TopicNow as TopicNow,
    TopicsAre as TopicsAre,
)
from shmlog.control.log_messages import (
    ApplyRetention as ApplyRetention,
    DeleteBefore as DeleteBefore,
    DeleteRecords as DeleteRecords,
    FreeDisk as FreeDisk,
    HoldRecords as HoldRecords,
    LogBegins as LogBegins,
    LogSize as LogSize,
    LogSizeOrder as LogSizeOrder,
    RecordsDeleted as RecordsDeleted,
)
from shmlog.control.replica_messages import (
    ElectLeader as ElectLeader,
    MendReplica as MendReplica,
    MoveReplica as MoveReplica,
)
from shmlog.control.topic_messages import (
    AlterTopic as AlterTopic,
    CreateTopic as CreateTopic,
    DeleteTopic as DeleteTopic,
    DescribeTopics as DescribeTopics,
    ImportTopic as ImportTopic,
    PlaceTopic as PlaceTopic,
    TopicPlaced as TopicPlaced,
)
from shmlog.control.worker_messages import (
    AlterConfig as AlterConfig,
    AttachClient as AttachClient,
    AttachLane as AttachLane,
    ClientAttached as ClientAttached,
    Close as Close,
    Closed as Closed,
    DetachClient as DetachClient,
    DetachLane as DetachLane,
    FollowerFailed as FollowerFailed,
    FollowerOrder as FollowerOrder,
    FollowerReady as FollowerReady,
    FollowerReport as FollowerReport,
    FollowerReturns as FollowerReturns,
    FollowersAre as FollowersAre,
    FollowerTruncated as FollowerTruncated,
    FollowerWaits as FollowerWaits,
    HandOver as HandOver,
    LaneAttached as LaneAttached,
    LaneDetached as LaneDetached,
    LaneHeld as LaneHeld,
    LeaderMoved as LeaderMoved,
    LogRefused as LogRefused,
    LogRewritten as LogRewritten,
    MendSegment as MendSegment,
    OwnerFailed as OwnerFailed,
    OwnerOrder as OwnerOrder,
    OwnerReady as OwnerReady,
    OwnerRecovering as OwnerRecovering,
    OwnerReport as OwnerReport,
    OwnerReturns as OwnerReturns,
    ReplicaCaughtUp as ReplicaCaughtUp,
    ReplicaLags as ReplicaLags,
    SegmentsLookedAt as SegmentsLookedAt,
    StepDown as StepDown,
    Trace as Trace,
)
from shmlog.control.worker_specs import (
    CoordinatorSpec as CoordinatorSpec,
    FollowerAt as FollowerAt,
    FollowerSpec as FollowerSpec,
    OwnerSpec as OwnerSpec,
)
from shmlog.control.zygote_messages import (
    Exited as Exited,
    Ping as Ping,
    Pong as Pong,
    Spawned as Spawned,
    SpawnFailed as SpawnFailed,
    SpawnFollower as SpawnFollower,
    SpawnOwner as SpawnOwner,
    ZygoteMessage as ZygoteMessage,
)

PROTOCOL = 10
"""Version of the control protocol; Hello carries it, and both sides must have the same."""


# --- client -> supervisor ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a client. With `client_id` it re-attaches after a restart of the supervisor."""

    request_id: int
    protocol: int
    version: str
    pid: int
    client_id: int | None


@dataclass(frozen=True, slots=True)
class InitProducerId:
    """None, None: a new id with epoch 0. Given: the same id with epoch + 1; the older epoch is fenced from then on."""

    request_id: int
    producer_id: int | None
    epoch: int | None


@dataclass(frozen=True, slots=True)
class OpenLane:
    """A lane to one partition. `lane_bytes`: how much room it has at least; None: what the topic's max.message.bytes
    needs. A lane may have less, as long as no record comes that does not fit.

    The owner compresses what comes through it as the last two say, unless the topic says otherwise.
    """

    request_id: int
    topic: str
    partition: int
    producer_id: int
    producer_epoch: int
    linger_us: int
    lane_bytes: int | None
    compression_type: str = "none"
    compression_level: int = 0


@dataclass(frozen=True, slots=True)
class CheckCompression:
    """Answered with Done if owners can compress so, with what to install if they cannot."""

    request_id: int
    compression_type: str


@dataclass(frozen=True, slots=True)
class CloseLane:
    """Answered when the owner has drained the lane and its region is unlinked."""

    request_id: int
    lane_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """From now on the owners of these partitions ring this client's doorbell."""

    request_id: int
    partition_ids: list[int]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    request_id: int
    partition_ids: list[int]


@dataclass(frozen=True, slots=True)
class TraceTopics:
    """For `lease_ms` from now on, the owners of these topics (None: all) follow one record per `interval_us` each."""

    request_id: int
    topics: list[str] | None
    interval_us: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class DescribeCluster:
    request_id: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Stop the cluster cleanly. Done is sent before it begins."""

    request_id: int


# --- supervisor -> client ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failed:
    """The request was refused: `error` is the name of a class of shmlog.errors."""

    request_id: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Done:
    request_id: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The client now takes the life lock `<runtime_dir>/life/<client_id>` and keeps its socket open while it lives."""

    request_id: int
    cluster_id: str
    cluster_name: str
    cid8: str
    version: str
    client_id: int
    client_region: str
    runtime_dir: str
    data_dir: str


@dataclass(frozen=True, slots=True)
class TopicsDescribed:
    request_id: int
    topics: list[TopicDescription]


@dataclass(frozen=True, slots=True)
class TopicCreated:
    request_id: int
    topic: TopicDescription


@dataclass(frozen=True, slots=True)
class ProducerIdGranted:
    request_id: int
    producer_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class LaneGranted:
    """The owner has attached the lane. Sizes in bytes; `region` is the lane's shared-memory name."""

    request_id: int
    lane_id: int
    region: str
    data_bytes: int
    max_batch_bytes: int
    partition: PartitionDescription


@dataclass(frozen=True, slots=True)
class ClusterDescribed:
    """`started_ms` is wall time; `restarts` counts owners that were replaced since then. `damage`: what nobody has said
    to have seen."""

    request_id: int
    version: str
    cluster_id: str
    cluster_name: str
    pid: int
    zygote_pid: int
    started_ms: int
    data_dir: str
    runtime_dir: str
    shm_budget_bytes: int
    shm_used_bytes: int
    clients: list[ClientDescription]
    restarts: int
    damage: list[DamageDescription]
    directories: list[DirectoryDescription]


Request = (
    Hello
    | DescribeTopics
    | CreateTopic
    | DeleteTopic
    | AlterTopic
    | PlaceTopic
    | ImportTopic
    | DeleteRecords
    | InitProducerId
    | OpenLane
    | CheckCompression
    | CloseLane
    | Subscribe
    | Unsubscribe
    | TraceTopics
    | ElectLeader
    | MoveReplica
    | MendReplica
    | DescribeCluster
    | FindCoordinator
    | Shutdown
)
Reply = (
    Failed
    | Done
    | Welcome
    | TopicsDescribed
    | TopicCreated
    | TopicPlaced
    | LogBegins
    | ProducerIdGranted
    | LaneGranted
    | ClusterDescribed
    | CoordinatorFound
)
Message = (
    Request
    | Reply
    | OwnerOrder
    | OwnerReport
    | FollowerOrder
    | FollowerReport
    | ZygoteMessage
    | CleanerMessage
    | GroupMessage
)

"""What members of consumer groups, and who looks at groups, say to the coordinator of a group, and what it says.

A client asks the supervisor for the coordinator of a group (FindCoordinator), connects to its socket, and asks there.
Each member has a connection of its own, whose end says that the member is gone. AssignmentIs, MemberFenced and
ComputeAssignment come unasked, with request_id 0; the coordinator rings the client's doorbell after sending one.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FindCoordinator:
    """To the supervisor, which makes the internal topic if it is not there yet. Answered with CoordinatorFound."""

    request_id: int
    group: str


@dataclass(frozen=True, slots=True)
class CoordinatorFound:
    """`socket`: path of the coordinator's socket; who listens there may be about to start."""

    request_id: int
    socket: str
    partition: int


@dataclass(frozen=True, slots=True)
class TopicNow:
    """A topic that exists. `topic_id`: 32 hex digits. `partition_ids`: of its partitions, in order."""

    name: str
    topic_id: str
    partition_ids: list[int]


@dataclass(frozen=True, slots=True)
class TopicsAre:
    """From the supervisor to each coordinator, when it starts and whenever topics change: all there are."""

    topics: list[TopicNow]


@dataclass(frozen=True, slots=True)
class GroupPartition:
    """`topic_id`: 32 hex digits. `offset`, `leader_epoch`: what is committed, or None and -1; only in AssignmentIs."""

    topic: str
    topic_id: str
    partition: int
    offset: int | None = None
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class GroupOffset:
    """`topic_id`: of the topic that was read, in 32 hex digits; "" if that is not known."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class JoinGroup:
    """See machines.group.requests.Join. `client_id`: of whose region the member uses slots. Answered with GroupJoined,
    and from then on AssignmentIs comes whenever it changes, the first time at once."""

    request_id: int
    group: str
    member_id: str
    member_epoch: int
    instance_id: str | None
    client_id: int
    client_name: str
    topics: list[str]
    pattern: str | None
    assignor: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    owned: list[GroupPartition]


@dataclass(frozen=True, slots=True)
class GroupJoined:
    request_id: int
    member_epoch: int
    missing: list[str]


@dataclass(frozen=True, slots=True)
class AssignmentIs:
    """All partitions that this member may read from now on. `serial` counts this connection's assignments, from 1."""

    request_id: int
    serial: int
    member_epoch: int
    partitions: list[GroupPartition]


@dataclass(frozen=True, slots=True)
class OwnPartitions:
    """All partitions that this member reads, having followed the assignment `serial`. `final`: up to where it has read
    those that it gave up; committed before others get them. Not answered."""

    request_id: int
    serial: int
    partitions: list[GroupPartition]
    final: list[GroupOffset] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MemberFenced:
    """This member is none any more; the connection ends. `error`: the name of a class of shmlog.errors."""

    request_id: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class AssignorMember:
    member_id: str
    instance_id: str | None
    topics: list[str]
    owned: list[GroupPartition]


@dataclass(frozen=True, slots=True)
class AssignorTopic:
    name: str
    partitions: int


@dataclass(frozen=True, slots=True)
class ComputeAssignment:
    """The member's own assignor is asked; answered with AssignmentComputed."""

    request_id: int
    epoch: int
    members: list[AssignorMember]
    topics: list[AssignorTopic]


@dataclass(frozen=True, slots=True)
class MemberAssignment:
    member_id: str
    partitions: list[GroupPartition]


@dataclass(frozen=True, slots=True)
class AssignmentComputed:
    """`error`: what the assignor raised, then the group keeps what it has. Not answered."""

    request_id: int
    epoch: int
    assignment: list[MemberAssignment]
    error: str = ""


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    """A member closes; `final` is committed first. Answered with Done."""

    request_id: int
    final: list[GroupOffset]


@dataclass(frozen=True, slots=True)
class CommitOffsets:
    """All or none; answered with Done once they are in the coordinator's log as acks=all asks. On a member's connection
    they are that member's; on another one they are nobody's, and only accepted while the group has no members."""

    request_id: int
    group: str
    offsets: list[GroupOffset]


@dataclass(frozen=True, slots=True)
class FetchOffsets:
    """Answered with OffsetsFetched, of all partitions with a committed offset; what members have stored in their cells
    so far is committed first."""

    request_id: int
    group: str


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    topic: str
    partition: int
    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int


@dataclass(frozen=True, slots=True)
class OffsetsFetched:
    request_id: int
    offsets: list[CommittedOffset]


@dataclass(frozen=True, slots=True)
class DescribeGroups:
    """None: all groups of this coordinator. Answered with GroupsDescribed; a group that does not exist is not there."""

    request_id: int
    groups: list[str] | None


@dataclass(frozen=True, slots=True)
class GroupMember:
    """`polled_ms_ago`: since its application last asked for records; -1 where it is not connected."""

    member_id: str
    instance_id: str | None
    client_id: int
    client_name: str
    pid: int
    topics: list[str]
    pattern: str | None
    epoch: int
    state: str
    assigned: list[GroupPartition]
    target: list[GroupPartition]
    polled_ms_ago: int


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """`state`: Empty, Assigning (a target is being computed), Reconciling (members are on their way to it) or Stable,
    as in Kafka."""

    group: str
    state: str
    epoch: int
    assignor: str
    error: str
    members: list[GroupMember]
    offsets: list[CommittedOffset]


@dataclass(frozen=True, slots=True)
class GroupsDescribed:
    request_id: int
    groups: list[GroupDescription]


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Answered with Done."""

    request_id: int
    group: str


@dataclass(frozen=True, slots=True)
class DeleteOffsets:
    """Answered with Done. `validate_only`: nothing is deleted, and what would be refused is."""

    request_id: int
    group: str
    partitions: list[GroupPartition]
    validate_only: bool = False


GroupRequest = (
    JoinGroup
    | OwnPartitions
    | AssignmentComputed
    | LeaveGroup
    | CommitOffsets
    | FetchOffsets
    | DescribeGroups
    | DeleteGroup
    | DeleteOffsets
)
GroupReply = GroupJoined | OffsetsFetched | GroupsDescribed
GroupNews = AssignmentIs | MemberFenced | ComputeAssignment
GroupMessage = GroupRequest | GroupReply | GroupNews

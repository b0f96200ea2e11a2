"""What the machine of consumer groups is asked, and what it answers.

Requests say what somebody wants or what was observed; their step has the records that make it so, and the reply to give
once these are durable. Actions are for members: what they must hear of decisions that others caused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shmlog.machines.group.assignor import Assignment, MemberSubscription
from shmlog.machines.group.records import GroupRecord, Partitions
from shmlog.machines.step import Step
from shmlog.model import TopicPartition


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic that exists. `topic_id`: 32 hex digits."""

    name: str
    topic_id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class Join:
    """Become a member, or say again what one wants: with another subscription, or after the coordinator has changed.

    `member_id` was made up by the member and is never used again once it was removed: a member that is fenced joins
    with another one. `member_epoch`: 0 for a new one, else the last that it heard; `owned` is what it still has then,
    and a member that is known keeps it. Exactly one of `topics` and `pattern` (a regular expression for whole names) is
    given. `assignor`: one of assignors.NAMES, or "custom:NAME" for one that only its members have.
    """

    group: str
    member_id: str
    member_epoch: int
    instance_id: str | None
    client_name: str
    client_host: str
    topics: tuple[str, ...]
    pattern: str | None
    assignor: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    owned: Partitions


@dataclass(frozen=True, slots=True)
class Owns:
    """All that a member may have now: what it says it has, and what assignments that it has not acknowledged gave."""

    group: str
    member_id: str
    owned: Partitions


@dataclass(frozen=True, slots=True)
class Leave:
    """A member closes. One with an instance id stays in the group for its session timeout, as if it had died."""

    group: str
    member_id: str


@dataclass(frozen=True, slots=True)
class Died:
    """A member's process is gone, or its connection: it reads nothing any more."""

    group: str
    member_id: str


@dataclass(frozen=True, slots=True)
class Polled:
    """When a member's application last asked for records, on the clock of `now_ns`. What tick() asks about."""

    group: str
    member_id: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class OffsetToCommit:
    """`topic_id`: of the topic that was read, which may have been made anew since; "" if that is not known."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int
    metadata: str = ""
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """Offsets of a member, all or none. Without `member_id`: of nobody's, for a group that has no members: a consumer
    that assigned partitions itself, or somebody who sets offsets anew."""

    group: str
    member_id: str
    offsets: tuple[OffsetToCommit, ...]
    now_ms: int


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """With its offsets; refused while it has members."""

    group: str


@dataclass(frozen=True, slots=True)
class DeleteOffsets:
    """Refused for a topic that a member is subscribed to. `validate_only`: change nothing where it is not."""

    group: str
    partitions: tuple[TopicPartition, ...]
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class AssignmentComputed:
    """What a member's own assignor made of what it was asked to compute for `epoch`. `error`: what it raised, then
    nothing is assigned."""

    group: str
    member_id: str
    epoch: int
    assignment: Assignment
    error: str = ""


@dataclass(frozen=True, slots=True)
class TopicsAre:
    """All topics that exist, whenever they change. Offsets of topics that are gone go."""

    topics: Mapping[str, TopicFacts]


# --- replies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """`missing`: topics of the subscription that do not exist yet; the member has their partitions once they do."""

    member_id: str
    member_epoch: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """It is so now."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`error` is the name of a class of shmlog.errors."""

    error: str
    message: str


# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """Tell a member all that it may have from now on: it gives up what it has beyond that, then says what it owns."""

    group: str
    member_id: str
    member_epoch: int
    assigned: Partitions


@dataclass(frozen=True, slots=True)
class Fence:
    """Tell a member that it is none any more, and why: `error` is the name of a class of shmlog.errors."""

    group: str
    member_id: str
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Compute:
    """Have a member's own assignor compute the assignment for `epoch`."""

    group: str
    member_id: str
    epoch: int
    members: tuple[MemberSubscription, ...]
    partitions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AskWhenPolled:
    """A member was not heard of for its rebalance timeout: look when it polled last, and say so with Polled."""

    group: str
    member_id: str


GroupReply = Joined | Accepted | Refused
GroupAction = Assign | Fence | Compute | AskWhenPolled
GroupStep = Step[GroupRecord, GroupReply, GroupAction]

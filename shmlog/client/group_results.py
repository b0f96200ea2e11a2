"""What admins are told about consumer groups."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.group_messages import CommittedOffset, GroupDescription, GroupMember, GroupPartition
from shmlog.model import OffsetAndMetadata, TopicPartition


@dataclass(frozen=True, slots=True)
class ConsumerGroupListing:
    """A group by name. `state`: Empty, Assigning, Reconciling or Stable."""

    group_id: str
    state: str
    members: int


@dataclass(frozen=True, slots=True)
class GroupMemberInfo:
    """A member as its coordinator sees it.

    `state` is "stable", "unrevoked_partitions" (it has something to give up) or "unreleased_partitions" (it waits for
    others to give up). `assignment`: what it may read now; `target`: what it will have in the end. `polled_ms_ago`:
    since it last asked for records; None while it is not connected.
    """

    member_id: str
    group_instance_id: str | None
    client_id: int
    client_name: str
    pid: int
    topics: tuple[str, ...]
    pattern: str | None
    epoch: int
    state: str
    assignment: tuple[TopicPartition, ...]
    target: tuple[TopicPartition, ...]
    polled_ms_ago: int | None

    @classmethod
    def of(cls, member: GroupMember) -> GroupMemberInfo:
        """From the control message."""
        return cls(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_name=member.client_name,
            pid=member.pid,
            topics=tuple(member.topics),
            pattern=member.pattern,
            epoch=member.epoch,
            state=member.state,
            assignment=_places(member.assigned),
            target=_places(member.target),
            polled_ms_ago=None if member.polled_ms_ago < 0 else member.polled_ms_ago,
        )


@dataclass(frozen=True, slots=True)
class ConsumerGroupDescription:
    """A group, its members in the order of their ids, and what it has committed.

    `state` is "Empty" without members, "Assigning" while its target assignment is computed, "Reconciling" while members
    are on their way to it, and then "Stable". `epoch` grows with every change of members, subscriptions and topics.
    `error`: why a member's own assignor made no assignment; empty if nothing is wrong. `commit_ms`: when each offset
    was committed, in milliseconds since 1970.
    """

    group_id: str
    state: str
    epoch: int
    assignor: str
    members: tuple[GroupMemberInfo, ...]
    offsets: dict[TopicPartition, OffsetAndMetadata]
    commit_ms: dict[TopicPartition, int]
    error: str = ""

    @property
    def readers(self) -> dict[TopicPartition, GroupMemberInfo]:
        """Who may read each partition now; a partition that nobody may is not there."""
        return {place: member for member in self.members for place in member.assignment}

    @classmethod
    def of(cls, group: GroupDescription) -> ConsumerGroupDescription:
        """From the control message."""
        return cls(
            group_id=group.group,
            state=group.state,
            epoch=group.epoch,
            assignor=group.assignor,
            members=tuple(GroupMemberInfo.of(one) for one in sorted(group.members, key=lambda one: one.member_id)),
            offsets=offsets_of(group.offsets),
            commit_ms={TopicPartition(one.topic, one.partition): one.commit_ms for one in group.offsets},
            error=group.error,
        )


def offsets_of(committed: list[CommittedOffset]) -> dict[TopicPartition, OffsetAndMetadata]:
    """From the control message, in the order of the partitions."""
    found = {
        TopicPartition(one.topic, one.partition): OffsetAndMetadata(one.offset, one.metadata, one.leader_epoch)
        for one in committed
    }
    return dict(sorted(found.items()))


def _places(partitions: list[GroupPartition]) -> tuple[TopicPartition, ...]:
    return tuple(sorted(TopicPartition(one.topic, one.partition) for one in partitions))

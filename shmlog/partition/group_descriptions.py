"""What the machine knows of groups, in the words of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shmlog.clock import monotonic_ns
from shmlog.control.group_messages import (
    AssignorMember,
    AssignorTopic,
    CommittedOffset,
    ComputeAssignment,
    GroupDescription,
    GroupMember,
    GroupPartition,
)
from shmlog.machines.group.description import MemberDescription
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import TopicIdPartition
from shmlog.machines.group.requests import Compute
from shmlog.memory.client_slot import member_token
from shmlog.model import TopicPartition
from shmlog.partition.group_session import GroupSession, Member
from shmlog.partition.group_topics import GroupTopics
from shmlog.partition.member_host import MemberHost


def committed(machine: Groups, group: str) -> list[CommittedOffset]:
    return [
        CommittedOffset(one.topic, one.partition, one.offset, one.leader_epoch, one.metadata, one.commit_ms)
        for one in machine.offsets(group)
    ]


def describe(
    machine: Groups, name: str, topics: GroupTopics, members: Mapping[Member, GroupSession]
) -> GroupDescription | None:
    """None: there is no such group."""
    found = machine.group(name)
    if found is None:
        return None
    return GroupDescription(
        group=found.name,
        state=found.state,
        epoch=found.epoch,
        assignor=found.assignor,
        error=found.error,
        members=[_member(name, one, topics, members) for one in found.members],
        offsets=committed(machine, name),
    )


def _member(
    group: str, one: MemberDescription, topics: GroupTopics, members: Mapping[Member, GroupSession]
) -> GroupMember:
    said = one.said
    session = members.get((group, said.member_id))
    host = MemberHost.parse(said.client_host)
    polled_ns = None
    if session is not None and session.region is not None:
        polled_ns = session.region.last_poll(member_token(group, said.member_id))
    return GroupMember(
        member_id=said.member_id,
        instance_id=said.instance_id,
        client_id=0 if host is None else host.client_id,
        client_name=said.client_name,
        pid=0 if host is None else host.pid,
        topics=list(said.topics),
        pattern=said.pattern,
        epoch=one.current.epoch,
        state=one.current.state.name.lower(),
        assigned=_named(one.current.assigned | one.current.pending_revocation, topics),
        target=_named(one.target, topics),
        polled_ms_ago=-1 if polled_ns is None else max(0, monotonic_ns() - polled_ns) // 1_000_000,
    )


def _named(partitions: Iterable[TopicIdPartition], topics: GroupTopics) -> list[GroupPartition]:
    named = ((topics.named(one), one.topic_id) for one in partitions)
    return sorted(
        (GroupPartition(one.topic, topic_id, one.partition) for one, topic_id in named if one is not None),
        key=lambda one: (one.topic, one.partition),
    )


def compute_order(action: Compute, topics: GroupTopics) -> ComputeAssignment:
    """For the member whose own assignor is asked."""

    def partitions(some: Iterable[TopicPartition]) -> list[GroupPartition]:
        return [GroupPartition(one.topic, topics.topic_id(one.topic) or "", one.partition) for one in sorted(some)]

    members = [
        AssignorMember(one.member_id, one.instance_id, sorted(one.topics), partitions(one.owned))
        for one in action.members
    ]
    counts = [AssignorTopic(name, count) for name, count in sorted(action.partitions.items())]
    return ComputeAssignment(0, action.epoch, members, counts)

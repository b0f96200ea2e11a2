"""Targets: who is to have what in the end.

They are computed for an epoch of the group, at once by an assignor of the coordinator, or by one that only members
have, which one of them is asked to run.
"""

from __future__ import annotations

from shmlog.machines.group.assignor import Assignment, Assignor, MemberSubscription
from shmlog.machines.group.records import Partitions, TargetChanged, TargetEpochChanged, TopicIdPartition
from shmlog.machines.group.requests import TopicFacts
from shmlog.machines.group.state import Draft, Group
from shmlog.machines.group.topics import Topics
from shmlog.model import TopicPartition

CUSTOM_PREFIX = "custom:"
NAMED_MAX = 3


def assignor_of(group: Group) -> str:
    """The one that its members use; "" without members."""
    return next((member.assignor for member in group.members.values()), "")


def subscriptions(group: Group, topics: Topics) -> tuple[MemberSubscription, ...]:
    """Of all members, in the order of their ids, as assignors see them."""
    return tuple(
        MemberSubscription(
            member_id,
            member.instance_id,
            topics.wanted(member.topics, member.pattern),
            topics.named(group.target(member_id)),
        )
        for member_id, member in sorted(group.members.items())
    )


def wanted_topics(group: Group, topics: Topics) -> dict[str, TopicFacts]:
    """The topics that somebody wants and that exist, by name."""
    asked = {(member.topics, member.pattern) for member in group.members.values()}
    names = {name for each in asked for name in topics.wanted(*each)}
    return {name: topics.facts[name] for name in sorted(names)}


def is_target_of(group: Group, topics: Topics) -> bool:
    """Whether the targets, together, are what the members want of the topics that exist."""
    count: dict[str, int] = {}
    for partitions in group.targets.values():
        for partition in partitions:
            count[partition.topic_id] = count.get(partition.topic_id, 0) + 1
    return count == {facts.topic_id: facts.partitions for facts in wanted_topics(group, topics).values()}


def partition_counts(group: Group, topics: Topics) -> dict[str, int]:
    return {name: facts.partitions for name, facts in wanted_topics(group, topics).items()}


def compute(draft: Draft, topics: Topics, assignor: Assignor | None) -> None:
    """The targets for the draft's epoch. None: it has no members."""
    members, counts = subscriptions(draft, topics), partition_counts(draft, topics)
    assignment = {} if assignor is None else assignor(members, counts)
    problem = invalid(assignment, members, counts)
    assert problem is None, f"an assignor of ours: {problem}"
    put_targets(draft, topics, assignment)


def put_targets(draft: Draft, topics: Topics, assignment: Assignment) -> None:
    """Make a valid assignment the target for the draft's epoch."""
    for member_id in sorted(draft.members):
        partitions: Partitions = topics.identified(assignment.get(member_id, ()))
        if draft.targets.get(member_id) != partitions:
            draft.put(TargetChanged(draft.name, member_id, partitions))
    draft.put(TargetEpochChanged(draft.name, draft.epoch or 0))


def invalid(assignment: Assignment, members: tuple[MemberSubscription, ...], counts: dict[str, int]) -> str | None:
    """Why an assignment cannot be a target: each partition goes to exactly one of those who want it. None: it can."""
    wants = {member.member_id: member.topics for member in members}
    given: dict[TopicPartition, str] = {}
    for member_id, partitions in sorted(assignment.items()):
        if member_id not in wants:
            return f"it gives partitions to {member_id}, which is no member"
        for partition in sorted(partitions):
            if partition in given:
                return f"it gives {partition} to {given[partition]} and to {member_id}"
            if not 0 <= partition.partition < counts.get(partition.topic, 0):
                return f"it gives {partition} to {member_id}, and there is no such partition to give"
            if partition.topic not in wants[member_id]:
                return f"it gives {partition} to {member_id}, which is not subscribed to {partition.topic}"
            given[partition] = member_id
    if len(given) == sum(counts.values()):
        return None
    missing = sorted(
        TopicPartition(topic, number)
        for topic, count in counts.items()
        for number in range(count)
        if (topic, number) not in given
    )
    named = ", ".join(str(partition) for partition in missing[:NAMED_MAX])
    return f"it gives {named}{' and others' if len(missing) > NAMED_MAX else ''} to nobody"


def holder_named(group: Group, partition: TopicIdPartition | None) -> str:
    """Who has a partition, for the text of an error."""
    holder = None if partition is None else group.holders.get(partition)
    if holder is None:
        return "nobody has it now"
    member = group.members.get(holder)
    return f"{holder} has it now" if member is None else f"{holder} ({member.client_name}) has it now"

"""A group's own assignor: the function of one of its members, called when the coordinator asks for it."""

from __future__ import annotations

import logging

from shmlog.client.group_options import GroupOptions
from shmlog.control.group_messages import AssignmentComputed, ComputeAssignment, GroupPartition, MemberAssignment
from shmlog.machines.group.assignor import Assignment, Assignor, MemberSubscription
from shmlog.model import TopicPartition

_log = logging.getLogger("shmlog.consumer")


def computed(options: GroupOptions, order: ComputeAssignment) -> AssignmentComputed:
    """What the function makes of it. What it raises is the answer, too: the group then keeps what it has."""
    assert options.function is not None, "who has no assignor of its own is not asked"
    try:
        assignment = _called(options.function, order)
    except Exception as error:  # noqa: BLE001  # of a user's function, and what it returned
        _log.exception("the assignor %s of group %r has failed", options.assignor, options.group)
        return AssignmentComputed(0, order.epoch, [], f"{type(error).__name__}: {error}")
    return AssignmentComputed(0, order.epoch, assignment)


def _called(function: Assignor, order: ComputeAssignment) -> list[MemberAssignment]:
    members = [
        MemberSubscription(
            member.member_id,
            member.instance_id,
            frozenset(member.topics),
            frozenset(TopicPartition(one.topic, one.partition) for one in member.owned),
        )
        for member in order.members
    ]
    found: Assignment = function(members, {topic.name: topic.partitions for topic in order.topics})
    return [
        MemberAssignment(member_id, [GroupPartition(topic, "", number) for topic, number in sorted(partitions)])
        for member_id, partitions in found.items()
    ]

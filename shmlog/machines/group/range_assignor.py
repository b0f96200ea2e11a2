"""Kafka's range assignor: of each topic a run of neighbouring partitions to each of its members, in their order.

Topics with as many partitions and the same members are cut at the same places, so that who joins two streams by key
has both sides. The first members have one partition of each topic more, where it does not come out even: with many
topics of few partitions the last ones have nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shmlog.machines.group.assignor import Assignment, MemberSubscription, in_settled_order, subscribers_by_topic
from shmlog.model import TopicPartition


def assign_ranges(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    found: dict[str, list[TopicPartition]] = {member.member_id: [] for member in members}
    for topic, subscribers in subscribers_by_topic(in_settled_order(members)).items():
        size, longer = divmod(partitions[topic], len(subscribers))
        first = 0
        for place, member in enumerate(subscribers):
            end = first + size + (place < longer)
            found[member.member_id] += [TopicPartition(topic, number) for number in range(first, end)]
            first = end
    return {member_id: frozenset(some) for member_id, some in found.items()}

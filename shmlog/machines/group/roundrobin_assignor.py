"""Kafka's round-robin assignor: all partitions of all topics in order, each to the next member that wants its topic.

Even to one partition where all members want the same; where they do not, nothing makes up for what some cannot have.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from shmlog.machines.group.assignor import Assignment, MemberSubscription, in_settled_order
from shmlog.model import TopicPartition


def assign_in_turn(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    found: dict[str, list[TopicPartition]] = {member.member_id: [] for member in members}
    order = in_settled_order(members)
    places: dict[str, list[int]] = {}  # of the members that want a topic
    for place, member in enumerate(order):
        for topic in member.topics:
            places.setdefault(topic, []).append(place)
    turn = 0
    for topic in sorted(places):
        wanting = places[topic]
        for number in range(partitions[topic]):
            place = wanting[bisect_left(wanting, turn) % len(wanting)]
            found[order[place].member_id].append(TopicPartition(topic, number))
            turn = place + 1
    return {member_id: frozenset(some) for member_id, some in found.items()}

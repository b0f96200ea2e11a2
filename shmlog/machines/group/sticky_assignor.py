"""The sticky assignor: as even as subscriptions allow, and so that as few partitions as possible change their member.

Evenness comes first: no partition, nor a chain of them, could be moved from a member to one that has two less. Of the
assignments that are so even it is one with the fewest moves. `cooperative-sticky` and `uniform` are the same: in our
protocol every move is incremental, whatever the assignor, so there is nothing to tell a cooperative one apart; and
`uniform` is Kafka's name for even and sticky where the server computes it. (Kafka's moves some more than it must: one
more than the others have the first members there, and not those that had one more.)

Members that want the same topics, and share them with nobody else, have a quota each: that is exact and takes no
search. Where subscriptions overlap, what a heuristic finds is improved until it is best (uneven_balance).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from shmlog.machines.group.assignor import Assignment, MemberSubscription, in_settled_order, subscribers_by_topic
from shmlog.machines.group.uneven_balance import balance_uneven
from shmlog.model import TopicPartition


def assign_sticky(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    order = in_settled_order(members)
    kept = _what_each_may_keep(order, partitions)
    for members_alike in _components(order):
        topics = sorted({topic for member in members_alike for topic in member.topics})
        taken = {one for member in members_alike for one in kept[member.member_id]}
        free = [
            one
            for topic in topics
            for number in range(partitions[topic])
            if (one := TopicPartition(topic, number)) not in taken
        ]
        if all(len(member.topics) == len(topics) for member in members_alike):
            _balance_even(members_alike, kept, free)
        else:
            balance_uneven(members_alike, kept, free)
    return {member_id: frozenset(some) for member_id, some in kept.items()}


def _what_each_may_keep(
    order: list[MemberSubscription], partitions: Mapping[str, int]
) -> dict[str, list[TopicPartition]]:
    """What it has of topics that it still wants, in order. What two have, against the rules, the first one keeps."""
    seen: set[TopicPartition] = set()
    kept: dict[str, list[TopicPartition]] = {}
    for member in order:
        mine = [one for one in member.owned if one.topic in member.topics and one.partition < partitions[one.topic]]
        kept[member.member_id] = sorted(one for one in mine if one not in seen)
        seen.update(mine)
    return kept


def _components(order: list[MemberSubscription]) -> Iterable[list[MemberSubscription]]:
    """Members that have topics in common, also by way of others, with each other; those that want something."""
    subscribers = subscribers_by_topic(order)
    place = {member.member_id: number for number, member in enumerate(order)}
    reached: set[str] = set()
    for first in order:
        if first.member_id in reached or not first.topics:
            continue
        reached.add(first.member_id)
        found, ahead, topics = [], deque([first]), set[str]()
        while ahead:
            member = ahead.popleft()
            found.append(member)
            for topic in member.topics - topics:
                topics.add(topic)
                further = [other for other in subscribers[topic] if other.member_id not in reached]
                reached.update(other.member_id for other in further)
                ahead.extend(further)
        yield sorted(found, key=lambda member: place[member.member_id])


def _balance_even(
    members: list[MemberSubscription], kept: dict[str, list[TopicPartition]], free: list[TopicPartition]
) -> None:
    """Among members that want the same. One more than the quota have those that have it already, as far as it goes."""
    ids = [member.member_id for member in members]
    quota, larger = divmod(sum(len(kept[one]) for one in ids) + len(free), len(ids))
    with_more = sorted(ids, key=lambda one: len(kept[one]) <= quota)[:larger]  # stable: the order of members otherwise
    limit = dict.fromkeys(ids, quota) | dict.fromkeys(with_more, quota + 1)
    for one in ids:
        if len(kept[one]) > limit[one]:
            kept[one], given_up = _split(kept[one], limit[one])
            free += given_up
    waiting = deque(one for one in ids if len(kept[one]) < limit[one])
    for partition in sorted(free):  # in turn: so that each gets some of every topic
        one = waiting.popleft()
        kept[one].append(partition)
        if len(kept[one]) < limit[one]:
            waiting.append(one)


def _split(mine: list[TopicPartition], limit: int) -> tuple[list[TopicPartition], list[TopicPartition]]:
    """What a member keeps, and what it gives up: of the topic that it has most of, one after the other."""
    by_topic: dict[str, list[TopicPartition]] = defaultdict(list)
    for one in mine:
        by_topic[one.topic].append(one)
    given_up = []
    for _ in range(len(mine) - limit):
        most = max(by_topic.values(), key=len)
        given_up.append(most.pop())
    return [one for some in by_topic.values() for one in some], given_up

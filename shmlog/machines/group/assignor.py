"""What an assignor is: a pure function from who wants which topics, and who has what, to who is to have what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shmlog.model import TopicPartition


@dataclass(frozen=True, slots=True)
class MemberSubscription:
    """A member as an assignor sees it. `topics`: those that it wants and that exist. `owned`: what it is to have, or
    has, by the assignment before. Static members keep their place by `instance_id` when their member id changes."""

    member_id: str
    instance_id: str | None
    topics: frozenset[str]
    owned: frozenset[TopicPartition]


Assignment = dict[str, frozenset[TopicPartition]]
"""By member id; every member has an entry."""

Assignor = Callable[[Sequence[MemberSubscription], Mapping[str, int]], Assignment]
"""(members in the order of their ids, number of partitions of each topic) -> assignment. Each partition of a topic that
somebody wants goes to exactly one of those who want it. The same input gives the same result."""


def in_settled_order(members: Sequence[MemberSubscription]) -> list[MemberSubscription]:
    """Kafka's order of members where places count: static ones by instance id, then the others by member id. So who
    comes back under another member id finds its place again."""
    return sorted(members, key=_settled_place)


def _settled_place(member: MemberSubscription) -> tuple[bool, str, str]:
    return member.instance_id is None, member.instance_id or "", member.member_id


def subscribers_by_topic(members: Sequence[MemberSubscription]) -> dict[str, list[MemberSubscription]]:
    """Who wants each topic, in the order of `members`; topics in the order of their names."""
    found: dict[str, list[MemberSubscription]] = {}
    for member in members:
        for topic in member.topics:
            found.setdefault(topic, []).append(member)
    return {topic: found[topic] for topic in sorted(found)}

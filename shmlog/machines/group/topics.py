"""The topics that exist, as subscriptions see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from shmlog.machines.group.records import Partitions, TopicIdPartition
from shmlog.machines.group.requests import TopicFacts
from shmlog.model import TopicPartition

INTERNAL_PREFIX = "__"


class Matches(NamedTuple):
    """Names that a pattern matches, and those for which nobody has the time to find out."""

    names: frozenset[str]
    too_slow: tuple[str, ...] = ()


Matcher = Callable[[str, Iterable[str]], Matches]


def match_all(pattern: str, names: Iterable[str]) -> Matches:
    """However long it takes."""
    matches = re.compile(pattern).fullmatch
    return Matches(frozenset(name for name in names if matches(name)))


class Topics:
    """Immutable. A pattern is for whole names, and never for an internal topic, whose name begins with `__`: who wants
    such a one names it, as in Kafka."""

    def __init__(self, facts: Mapping[str, TopicFacts], matcher: Matcher = match_all) -> None:
        self.facts = dict(facts)
        self.ids = {each.topic_id for each in facts.values()}
        self._names = {each.topic_id: each.name for each in facts.values()}
        self._matcher = matcher
        self._matching: dict[str, Matches] = {}

    def wanted(self, topics: Iterable[str], pattern: str | None) -> frozenset[str]:
        """The names of those that exist, of a subscription."""
        if pattern is None:
            return frozenset(topic for topic in topics if topic in self.facts)
        return self._matches(pattern).names

    def too_slow(self, pattern: str | None) -> tuple[str, ...]:
        """Topics for which nobody can tell in time whether the pattern matches; it counts as not matching them."""
        return () if pattern is None else self._matches(pattern).too_slow

    def _matches(self, pattern: str) -> Matches:
        if pattern not in self._matching:
            names = (name for name in self.facts if not name.startswith(INTERNAL_PREFIX))
            self._matching[pattern] = self._matcher(pattern, names)
        return self._matching[pattern]

    def partition(self, topic: str, partition: int) -> TopicIdPartition | None:
        """With its topic's id; None: there is none."""
        facts = self.facts.get(topic)
        if facts is None or not 0 <= partition < facts.partitions:
            return None
        return TopicIdPartition(facts.topic_id, partition)

    def named(self, partitions: Partitions) -> frozenset[TopicPartition]:
        """By names, without those of topics that are gone."""
        return frozenset(TopicPartition(self._names[id_], number) for id_, number in partitions if id_ in self._names)

    def identified(self, partitions: Iterable[TopicPartition]) -> Partitions:
        """By ids; all of them have to exist."""
        return frozenset(TopicIdPartition(self.facts[topic].topic_id, number) for topic, number in partitions)

    def existing(self, partitions: Partitions) -> Partitions:
        """Without those of topics that are gone."""
        if all(partition.topic_id in self.ids for partition in partitions):
            return partitions
        return frozenset(partition for partition in partitions if partition.topic_id in self.ids)


def pattern_error(pattern: str) -> str | None:
    """Why a pattern does not compile; None where it does."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None

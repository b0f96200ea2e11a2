"""Which partitions a consumer's topics have, now and as they grow."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from shmlog.client.question import Question
from shmlog.control.channel import ChannelClosedError
from shmlog.control.messages import DescribeTopics, PartitionDescription, Reply, Request, TopicsDescribed
from shmlog.errors import UnknownTopicOrPartitionError
from shmlog.limits import METADATA_REFRESH_S
from shmlog.model import TopicPartition

ReplyType = TypeVar("ReplyType", bound=Reply)
Partitions = dict[TopicPartition, PartitionDescription]


class Requests(Protocol):
    """What is needed of a Connection."""

    reconnects: int

    def request(self, message: Request, expected: type[ReplyType]) -> ReplyType: ...
    def ask(self, message: Request) -> Question | None: ...


class Subscription:
    """The topics of one consumer; refreshed without ever making it wait, at most every METADATA_REFRESH_S."""

    def __init__(self, requests: Requests, topics: Sequence[str]) -> None:
        self.topics = list(dict.fromkeys(topics))
        self._requests = requests
        self._topic_ids: dict[str, str] = {}
        self._question: Question | None = None
        self._next_refresh = 0.0
        self._reconnects = requests.reconnects

    def partitions(self) -> Partitions:
        """All partitions of the topics. Asks and waits; UnknownTopicOrPartitionError suggests a name that is close."""
        self._next_refresh = time.monotonic() + METADATA_REFRESH_S
        return self._take(self._requests.request(DescribeTopics(0, self.topics), TopicsDescribed))

    def choose(self, wanted: Iterable[TopicPartition]) -> Partitions:
        """Only these partitions, of these topics. Raises UnknownTopicOrPartitionError for one that is not there."""
        there = self.partitions()
        chosen: Partitions = {}
        for partition in wanted:
            if partition not in there:
                count = sum(1 for known in there if known.topic == partition.topic)
                raise UnknownTopicOrPartitionError(
                    f"topic {partition.topic!r} has no partition {partition.partition}: it has {count}, numbered from 0"
                )
            chosen[partition] = there[partition]
        return chosen

    def refresh(self) -> Partitions | None:
        """Call it often: now and then it has news, and the consumer should look after what it has mapped.

        Raises UnknownTopicOrPartitionError when a topic was deleted, or deleted and made again.
        """
        if self._question is not None:
            try:
                answer = self._question.answer(TopicsDescribed)
            except ChannelClosedError:
                self._question = None
                return None
            except UnknownTopicOrPartitionError:
                self._question = None
                raise
            if answer is None:
                return None
            self._question = None
            return self._take(answer)
        now = time.monotonic()
        if now >= self._next_refresh or self._reconnects != self._requests.reconnects:
            self._next_refresh = now + METADATA_REFRESH_S
            self._question = self._requests.ask(DescribeTopics(0, self.topics))
            self._reconnects = self._requests.reconnects
        return None

    def _take(self, described: TopicsDescribed) -> Partitions:
        found: Partitions = {}
        for topic in described.topics:
            if self._topic_ids.setdefault(topic.name, topic.topic_id) != topic.topic_id:
                raise UnknownTopicOrPartitionError(
                    f"topic {topic.name!r} was deleted and another of that name created: open a new consumer for it"
                )
            for partition in topic.partitions:
                found[TopicPartition(topic.name, partition.partition)] = partition
        return found

"""What a member of a group knows of topics: where its partitions are, also while there is no supervisor."""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode
from contextlib import suppress

from shmlog.client.connection import Connection
from shmlog.client.group_options import Topics
from shmlog.client.question import Question
from shmlog.control.channel import ChannelClosedError
from shmlog.control.group_messages import GroupPartition
from shmlog.control.messages import DescribeTopics, PartitionDescription, TopicDescription, TopicsDescribed
from shmlog.errors import PollTimeoutError, UnknownTopicOrPartitionError
from shmlog.limits import LOCATION_ANSWER_S, METADATA_REFRESH_S


class GroupTopics:
    """Asks the supervisor once for everything that the member is subscribed to, and for the rest when it is needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, TopicDescription] = {}
        self._counts: dict[str, int] = {}
        self._has_looked = False
        self._question: Question | None = None
        self._owed: Question | None = None
        self._next_refresh_s = 0.0

    def look(self, topics: Topics) -> None:
        """Learn what there is of these now. Waits for the supervisor."""
        described = self._connection.request(DescribeTopics(0, None), TopicsDescribed).topics
        for topic in described:
            if not self._has_looked:
                self._counts[_hex(topic.topic_id)] = len(topic.partitions)
            if topics.pattern is not None or topic.name in topics.names:  # the coordinator tells what a pattern matches
                self._known[topic.name] = topic
        self._has_looked = True

    def is_new(self, partition: GroupPartition) -> bool:
        """Whether it was not there when this consumer began: nothing of it was read by anybody before."""
        return partition.partition >= self._counts.get(partition.topic_id, 0)

    def find(self, partition: GroupPartition) -> PartitionDescription | None:
        """Where it is; None: nobody can tell now, or it is gone."""
        return self._find(partition) or (self._find(partition) if self._ask(partition.topic) else None)

    def _find(self, partition: GroupPartition) -> PartitionDescription | None:
        topic = self._known.get(partition.topic)
        if topic is None or _hex(topic.topic_id) != partition.topic_id:
            return None
        return next((one for one in topic.partitions if one.partition == partition.partition), None)

    def _ask(self, topic: str) -> bool:
        """Waits a moment for the answer, but for one question only: while a supervisor owes it (it is stopped, say),
        other partitions have to be read."""
        if self._is_owed():
            return False
        question = self._connection.ask(DescribeTopics(0, [topic]))
        if question is None:
            return False
        with suppress(ChannelClosedError, UnknownTopicOrPartitionError):
            try:
                self._take(question.wait(TopicsDescribed, LOCATION_ANSWER_S))
            except PollTimeoutError:
                self._owed = self._connection.ask(DescribeTopics(0, [topic]))
                return False
            return True
        return False

    def _is_owed(self) -> bool:
        if self._owed is None:
            return False
        with suppress(ChannelClosedError, UnknownTopicOrPartitionError):
            answer = self._owed.answer(TopicsDescribed)
            if answer is None:
                return True
            self._take(answer)
        self._owed = None
        return False

    def refresh(self) -> bool:
        """Call it often. True now and then: look after what is mapped."""
        now = time.monotonic()
        if self._question is not None:
            self._hear()
        elif now >= self._next_refresh_s and self._known:
            self._next_refresh_s = now + METADATA_REFRESH_S
            self._question = self._connection.ask(DescribeTopics(0, sorted(self._known)))
            return True
        return False

    def _hear(self) -> None:
        assert self._question is not None
        try:
            answer = self._question.answer(TopicsDescribed)
        except ChannelClosedError:
            self._question = None
        except UnknownTopicOrPartitionError:  # one of them is gone: each is asked for when it is needed
            self._question = None
            self._known.clear()
        else:
            if answer is not None:
                self._question = None
                self._take(answer)

    def _take(self, described: TopicsDescribed) -> None:
        self._known.update({topic.name: topic for topic in described.topics})


def _hex(topic_id: str) -> str:
    """A topic's id as groups have it."""
    return urlsafe_b64decode(topic_id + "==").hex()

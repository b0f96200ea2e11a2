"""What a coordinator knows of topics: names, ids, partitions, and where their logs end."""

from __future__ import annotations

from collections.abc import Mapping

from shmlog.control.messages import TopicNow, TopicsAre
from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.machines.group.records import TopicIdPartition
from shmlog.machines.group.requests import TopicFacts
from shmlog.memory.control_page import ControlPage
from shmlog.model import TopicPartition


class GroupTopics:
    """As the supervisor said last. Control pages are mapped when somebody asks for an end."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self.are_known = False
        """The supervisor has said something."""
        self._by_name: dict[str, TopicNow] = {}
        self._by_id: dict[str, TopicNow] = {}
        self._partitions: dict[int, TopicPartition] = {}
        self._pages: dict[int, ControlPage] = {}

    def take(self, message: TopicsAre) -> None:
        self.are_known = True
        self._by_name = {topic.name: topic for topic in message.topics}
        self._by_id = {topic.topic_id: topic for topic in message.topics}
        self._partitions = {
            partition_id: TopicPartition(topic.name, number)
            for topic in message.topics
            for number, partition_id in enumerate(topic.partition_ids)
        }
        for partition_id in self._pages.keys() - self._partitions.keys():
            self._pages.pop(partition_id).close()

    def facts(self) -> Mapping[str, TopicFacts]:
        return {one.name: TopicFacts(one.name, one.topic_id, len(one.partition_ids)) for one in self._by_name.values()}

    def name(self, topic_id: str) -> str | None:
        """None: there is no such topic any more."""
        found = self._by_id.get(topic_id)
        return None if found is None else found.name

    def topic_id(self, name: str) -> str | None:
        found = self._by_name.get(name)
        return None if found is None else found.topic_id

    def partition(self, partition_id: int) -> TopicPartition | None:
        return self._partitions.get(partition_id)

    def partition_id(self, one: TopicIdPartition) -> int:
        """-1: there is no such partition any more."""
        found = self._by_id.get(one.topic_id)
        return found.partition_ids[one.partition] if found and one.partition < len(found.partition_ids) else -1

    def named(self, one: TopicIdPartition) -> TopicPartition | None:
        name = self.name(one.topic_id)
        return None if name is None else TopicPartition(name, one.partition)

    def log_end_offset(self, topic: str, partition: int) -> int | None:
        """None where nobody can tell now."""
        found = self._by_name.get(topic)
        if found is None or not 0 <= partition < len(found.partition_ids):
            return None
        partition_id = found.partition_ids[partition]
        try:
            page = self._pages.get(partition_id) or ControlPage.open(self._tag, partition_id)
        except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
            return None
        self._pages[partition_id] = page
        return page.log_end_offset

    def close(self) -> None:
        for page in self._pages.values():
            page.close()
        self._pages.clear()

"""The native admin: topics, by asking the supervisor, and consumer groups."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from shmlog import arguments, settings
from shmlog.client.connection import Connection
from shmlog.client.group_admin import NativeGroupAdmin
from shmlog.client.results import ClusterInfo, ImportInfo, TopicInfo
from shmlog.client.topic_configs import ConfigChange, ConfigEntry, alter_request
from shmlog.control.messages import (
    AlterTopic,
    ClusterDescribed,
    CreateTopic,
    DeleteRecords,
    DeleteTopic,
    DescribeCluster,
    DescribeTopics,
    Done,
    ElectLeader,
    LogBegins,
    MoveReplica,
    TopicCreated,
    TopicDescription,
    TopicsDescribed,
    TraceTopics,
)
from shmlog.limits import TRACE_INTERVAL_US_MAX, TRACE_INTERVAL_US_MIN, TRACE_LEASE_MS_MAX
from shmlog.model import TopicPartition


class NativeAdmin(NativeGroupAdmin):
    """Implements api.Admin. Settings are checked here, so that a wrong one costs no round trip."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_topic(
        self,
        name: str,
        partitions: int | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, object] | None = None,
    ) -> TopicInfo:
        request = CreateTopic(
            request_id=0,
            name=arguments.text(name, "name"),
            partitions=None if partitions is None else arguments.integer(partitions, "partitions", -arguments.LONG_MAX),
            replication_factor=None
            if replication_factor is None
            else arguments.integer(replication_factor, "replication_factor", -arguments.LONG_MAX),
            config=_overrides(config, "config"),
        )
        return TopicInfo.of(self._connection.request(request, TopicCreated).topic)

    def import_topic(
        self,
        path: str,
        *,
        topic: str | None = None,
        replication_factor: int | None = None,
        config: Mapping[str, object] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ImportInfo:
        from shmlog.client.topic_import import import_topic  # archives are not for every process

        return import_topic(
            self._connection,
            arguments.text(path, "path"),
            topic=None if topic is None else arguments.text(topic, "topic"),
            replication_factor=None
            if replication_factor is None
            else arguments.integer(replication_factor, "replication_factor", -arguments.LONG_MAX),
            config=_overrides(config, "config"),
            progress=progress,
        )

    def delete_topic(self, name: str) -> None:
        self._connection.request(DeleteTopic(0, arguments.text(name, "name")), Done)

    def list_topics(self, *, internal: bool = False) -> list[str]:
        return sorted(topic.name for topic in self._described(None) if internal or not topic.internal)

    def describe_topic(self, name: str) -> TopicInfo:
        (topic,) = self._described([arguments.text(name, "name")])
        return TopicInfo.of(topic)

    def describe_topics(self, names: Iterable[str] | None = None) -> list[TopicInfo]:
        if names is not None:
            return [TopicInfo.of(topic) for topic in self._described(arguments.texts(names, "names"))]
        return [TopicInfo.of(topic) for topic in self._described(None) if not topic.internal]

    def alter_topic(
        self,
        name: str,
        set: Mapping[str, object] | None = None,  # noqa: A002  # as in api.Admin
        unset: Iterable[str] = (),
    ) -> TopicInfo:
        topic = arguments.text(name, "name")
        changes = [ConfigChange("set", setting, value) for setting, value in _overrides(set, "set").items()]
        changes += [ConfigChange("delete", setting) for setting in arguments.texts(unset, "unset")]
        return self.alter_configs(topic, changes)

    def alter_configs(self, topic: str, changes: Iterable[ConfigChange]) -> TopicInfo:
        return self._altered(alter_request(arguments.text(topic, "topic"), changes))

    def describe_configs(self, topic: str) -> dict[str, ConfigEntry]:
        return self.describe_topic(topic).configs

    def create_partitions(self, name: str, total: int) -> TopicInfo:
        count = arguments.integer(total, "total", -arguments.LONG_MAX)
        return self._altered(AlterTopic(0, arguments.text(name, "name"), partitions=count))

    def delete_records(self, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        wanted = arguments.mapping(before, "before", "a mapping of TopicPartitions to offsets")
        checked = {
            arguments.partition(partition): arguments.integer(offset, "an offset in before", -1)
            for partition, offset in wanted.items()
        }
        return {
            partition: self._connection.request(DeleteRecords(0, *partition, offset), LogBegins).log_start_offset
            for partition, offset in checked.items()
        }

    def elect_leader(self, topic: str, partition: int, replica_id: int | None = None) -> None:
        number = None if replica_id is None else arguments.integer(replica_id, "replica_id", 0)
        self._connection.request(
            ElectLeader(0, arguments.text(topic, "topic"), arguments.integer(partition, "partition"), number), Done
        )

    def move_replica(self, topic: str, partition: int, replica_id: int, log_dir: str) -> None:
        request = MoveReplica(
            request_id=0,
            topic=arguments.text(topic, "topic"),
            partition=arguments.integer(partition, "partition"),
            replica_id=arguments.integer(replica_id, "replica_id", 0),
            log_dir=os.path.abspath(arguments.text(log_dir, "log_dir")),
        )
        self._connection.request(request, Done)

    def trace(self, topics: Iterable[str] | None = None, *, interval_us: int = 1000, lease_ms: int = 5000) -> None:
        request = TraceTopics(
            request_id=0,
            topics=None if topics is None else arguments.texts(topics, "topics"),
            interval_us=arguments.integer(interval_us, "interval_us", TRACE_INTERVAL_US_MIN, TRACE_INTERVAL_US_MAX),
            lease_ms=arguments.integer(lease_ms, "lease_ms", 1, TRACE_LEASE_MS_MAX),
        )
        self._connection.request(request, Done)

    def describe_cluster(self) -> ClusterInfo:
        return ClusterInfo.of(self._connection.request(DescribeCluster(0), ClusterDescribed))

    def _described(self, names: list[str] | None) -> list[TopicDescription]:
        return self._connection.request(DescribeTopics(0, names), TopicsDescribed).topics

    def _altered(self, request: AlterTopic) -> TopicInfo:
        (topic,) = self._connection.request(request, TopicsDescribed).topics
        return TopicInfo.of(topic)


def _overrides(given: Mapping[str, object] | None, name: str) -> dict[str, str]:
    checked = {} if given is None else arguments.mapping(given, name, "a mapping of settings to values, or None")
    arguments.texts(list(checked), f"the settings in {name}")
    return settings.overrides("topic", checked)

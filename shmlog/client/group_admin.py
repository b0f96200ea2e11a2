"""The native admin of consumer groups: finds out which coordinators there are, and asks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TypeVar

from shmlog import arguments
from shmlog.client.connection import Connection
from shmlog.client.coordinator_link import CoordinatorLink
from shmlog.client.group_results import ConsumerGroupDescription, ConsumerGroupListing, offsets_of
from shmlog.control.group_messages import (
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    DescribeGroups,
    FetchOffsets,
    GroupDescription,
    GroupOffset,
    GroupPartition,
    GroupReply,
    GroupRequest,
    GroupsDescribed,
    OffsetsFetched,
)
from shmlog.control.messages import DescribeTopics, Done, TopicsDescribed
from shmlog.control.offsets_topic import partition_of
from shmlog.errors import UnknownGroupError, UnknownTopicOrPartitionError
from shmlog.model import OFFSETS_TOPIC, OffsetAndMetadata, TopicPartition
from shmlog.setting import INT_MAX
from shmlog.settings import did_you_mean

ReplyType = TypeVar("ReplyType", bound=GroupReply | Done)


class NativeGroupAdmin:
    """Implements group_admin_api.GroupAdmin. A connection to a coordinator lives as long as a call."""

    _connection: Connection

    def list_consumer_groups(self) -> list[ConsumerGroupListing]:
        return [ConsumerGroupListing(one.group, one.state, len(one.members)) for one in self._all_groups()]

    def describe_consumer_groups(self, group_ids: Iterable[str] | None = None) -> list[ConsumerGroupDescription]:
        if group_ids is None:
            return [ConsumerGroupDescription.of(one) for one in self._all_groups()]
        return [self._group(group_id) for group_id in arguments.texts(group_ids, "group_ids")]

    def list_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        group = arguments.text(group_id, "group_id")
        wanted = None if partitions is None else set(arguments.partitions(partitions))
        self._require_coordinator(group)
        found = offsets_of(self._ask(group, FetchOffsets(0, group), OffsetsFetched).offsets)
        if not found:
            self._group(group)  # one that does not exist is an error
        return {place: offset for place, offset in found.items() if wanted is None or place in wanted}

    def alter_consumer_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, int | OffsetAndMetadata]
    ) -> None:
        group = arguments.text(group_id, "group_id")
        given = arguments.mapping(offsets, "offsets", "a mapping of TopicPartitions to offsets")
        wanted = [_offset(arguments.partition(partition), offset) for partition, offset in given.items()]
        self._ask(group, CommitOffsets(0, group, wanted), Done)

    def delete_consumer_groups(self, group_ids: Iterable[str]) -> None:
        for group in arguments.texts(group_ids, "group_ids"):
            self._require_coordinator(group)
            self._ask(group, DeleteGroup(0, group), Done)

    def delete_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition], *, validate_only: bool = False
    ) -> None:
        group = arguments.text(group_id, "group_id")
        wanted = [GroupPartition(one.topic, "", one.partition) for one in arguments.partitions(partitions)]
        self._require_coordinator(group)
        self._ask(group, DeleteOffsets(0, group, wanted, validate_only), Done)

    # --- coordinators -------------------------------------------------------------------------------------------------

    def _ask(self, group: str, message: GroupRequest, expected: type[ReplyType]) -> ReplyType:
        with closing(CoordinatorLink(self._connection, group)) as link:
            return link.request(message, expected)

    def _group(self, group: str) -> ConsumerGroupDescription:
        self._require_coordinator(group)
        for one in self._ask(group, DescribeGroups(0, [group]), GroupsDescribed).groups:
            return ConsumerGroupDescription.of(one)
        raise self._unknown(group)

    def _require_coordinator(self, group: str) -> None:
        """Looking at groups makes no topic for them."""
        if not self._coordinator_count():
            raise self._unknown(group)

    def _coordinator_count(self) -> int:
        try:
            (topic,) = self._connection.request(DescribeTopics(0, [OFFSETS_TOPIC]), TopicsDescribed).topics
        except UnknownTopicOrPartitionError:
            return 0
        return len(topic.partitions)

    def _all_groups(self) -> list[GroupDescription]:
        found = [
            one
            for name in _one_name_each(self._coordinator_count())
            for one in self._ask(name, DescribeGroups(0, None), GroupsDescribed).groups
        ]
        return sorted(found, key=lambda one: one.group)

    def _unknown(self, group: str) -> UnknownGroupError:
        known = [one.group for one in self._all_groups()]
        hint = did_you_mean(group, known) or ("; `shmlog group list` shows those that there are" if known else "")
        return UnknownGroupError(f"no consumer group {group!r}{hint}")


def _one_name_each(coordinators: int) -> list[str]:
    """For each coordinator the name of a group that it would have: who wants a coordinator asks for a group's."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < coordinators:
        names.setdefault(partition_of(f"g{number}", coordinators), f"g{number}")
        number += 1
    return [names[partition] for partition in range(coordinators)]


def _offset(partition: TopicPartition, offset: object) -> GroupOffset:
    if not isinstance(offset, OffsetAndMetadata):
        return GroupOffset(*partition, arguments.integer(offset, "an offset in offsets", 0))
    return GroupOffset(
        *partition,
        arguments.integer(offset.offset, "an offset", 0),
        arguments.integer(offset.leader_epoch, "a leader epoch", -1, INT_MAX),
        arguments.text(offset.metadata, "the metadata of an offset"),
    )

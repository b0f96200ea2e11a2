"""What a user's program talks to about consumer groups; a part of admin_api."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from shmlog.client.group_results import ConsumerGroupDescription, ConsumerGroupListing
from shmlog.model import OffsetAndMetadata, TopicPartition


class GroupAdmin(Protocol):
    """Consumer groups, by asking their coordinators.

    Every call waits for a coordinator that is being replaced, and raises CoordinatorNotAvailableError if none answers
    within half a minute.
    """

    def list_consumer_groups(self) -> list[ConsumerGroupListing]:
        """All groups that have members or committed offsets, by name."""

    def describe_consumer_groups(self, group_ids: Iterable[str] | None = None) -> list[ConsumerGroupDescription]:
        """These groups, in this order, or all, by name. Raises UnknownGroupError, with a suggestion if one is close."""

    def list_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """What the group has committed, what its members have stored in their cells so far included; of `partitions`,
        or of all. A partition without a committed offset is not there. Raises UnknownGroupError."""

    def alter_consumer_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, int | OffsetAndMetadata]
    ) -> None:
        """Have the group go on at these offsets: all of them, or none. A group that does not exist is made.

        Raises NonEmptyGroupError while the group has members, and InvalidRequestError for an offset beyond the end of
        the log, UnknownTopicOrPartitionError for a partition that does not exist.
        """

    def delete_consumer_groups(self, group_ids: Iterable[str]) -> None:
        """Delete groups with what they have committed, one after the other.

        Raises UnknownGroupError, and NonEmptyGroupError for one that has members; groups before it are gone then.
        """

    def delete_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition], *, validate_only: bool = False
    ) -> None:
        """Forget what the group has committed of these partitions; with `validate_only` forget nothing, and raise what
        would be raised.

        Raises UnknownGroupError, and GroupSubscribedToTopicError for a topic that a member reads.
        """

"""Coordinators of consumer groups: where they are, the topic that they live in, and what they must know of topics.

Members talk to a coordinator without us. We make its topic when the first group is asked for, and tell it of topics.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence

from shmlog.control.messages import (
    AlterTopic,
    CoordinatorFound,
    CreateTopic,
    DeleteTopic,
    FindCoordinator,
    ImportTopic,
    OpenLane,
    OwnerReady,
    PlaceTopic,
    Reply,
    TopicNow,
    TopicsAre,
)
from shmlog.control.offsets_topic import partition_of
from shmlog.errors import InvalidGroupIdError, InvalidTopicError
from shmlog.machines.metadata import Topic
from shmlog.machines.metadata_records import (
    MetadataRecord,
    PartitionsAdded,
    TopicAdded,
    TopicDeleted,
    TopicDeletionBegun,
)
from shmlog.model import OFFSETS_TOPIC
from shmlog.setting import LONG_MAX
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.clients import Clients
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.topics import Topics
from shmlog.supervisor.worker_specs import hosts_coordinator

_CHANGES = (TopicAdded, PartitionsAdded, TopicDeletionBegun, TopicDeleted)


class Coordinators(OwnerWatcher):
    """Answers FindCoordinator, and feeds the owners that host a coordinator."""

    def __init__(
        self, identity: ClusterIdentity, catalog: Catalog, owners: Owners, topics: Topics, clients: Clients
    ) -> None:
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._topics = topics
        self._awaiting: list[tuple[FindCoordinator, Answer]] = []
        owners.watchers.append(self)
        catalog.on_commit.append(self._committed)
        clients.coordinators_run = self.all_run

    def all_run(self) -> bool:
        """Also where there are none, because there is no group."""
        return all(self._owners.running(one) is not None for one in self._partition_ids())

    def are_among(self, partition_ids: Iterable[int]) -> bool:
        return not set(partition_ids).isdisjoint(self._partition_ids())

    def _partition_ids(self) -> list[int]:
        return [one.partition_id for one in self._catalog.machine.partitions() if hosts_coordinator(one)]

    # --- requests -----------------------------------------------------------------------------------------------------

    def find(self, wanted: FindCoordinator, answer: Answer) -> None:
        """Where the coordinator of a group listens, or will in a moment; the first time its topic is made."""
        check_group_name(wanted.group)
        count = self._partition_count()
        if count and not self._awaiting:
            answer.give(self._found(wanted, answer, count))
            return
        self._awaiting.append((wanted, answer))
        if len(self._awaiting) == 1:
            self._create()

    def _found(self, wanted: FindCoordinator, answer: Answer, count: int) -> CoordinatorFound:
        partition = partition_of(wanted.group, count)
        socket = self._identity.runtime.coordinator_socket(partition)
        return CoordinatorFound(answer.request_id, socket, partition)

    def _partition_count(self) -> int:
        for topic in self._catalog.machine.topics():
            if topic.name == OFFSETS_TOPIC:
                return len(topic.partition_ids)
        return 0

    def _create(self) -> None:
        config = self._identity.config
        wanted = CreateTopic(
            request_id=0,
            name=OFFSETS_TOPIC,
            partitions=config.offsets_topic_num_partitions,
            replication_factor=self._replicas(),
            config={
                "cleanup.policy": "compact",
                "message.timestamp.after.max.ms": str(LONG_MAX),  # the clock may be set back
                "segment.bytes": str(config.offsets_topic_segment_bytes),
                "min.cleanable.dirty.ratio": "0.5",
            },
        )
        try:
            self._topics.create(wanted, Answer(0, self._created), internal=True)
        except BaseException:
            self._awaiting.clear()  # the one who asked gets the error; nobody else waits yet
            raise

    def _replicas(self) -> int:
        config = self._identity.config
        there = len(self._identity.directories.for_new_replicas())
        return max(config.default_replication_factor, min(config.offsets_topic_replication_factor, there))

    def _created(self, reply: Reply) -> None:
        awaiting, self._awaiting = self._awaiting, []
        count = self._partition_count()
        for wanted, answer in awaiting:
            if count:
                answer.give(self._found(wanted, answer, count))
            else:
                answer.fail_as(getattr(reply, "error", "CoordinatorNotAvailableError"), getattr(reply, "message", ""))

    # --- topics -------------------------------------------------------------------------------------------------------

    def owner_opened(self, ready: OwnerReady) -> None:
        """Also one that only closes: what members have stored is committed at the end."""
        partition = self._catalog.machine.partition_by_id(ready.partition_id)
        if partition is not None and hosts_coordinator(partition):
            self._tell([ready.partition_id])

    def _committed(self, records: Sequence[MetadataRecord]) -> None:
        if any(isinstance(record, _CHANGES) for record in records):
            self._tell(self._partition_ids())

    def _tell(self, partition_ids: list[int]) -> None:
        opened = (self._owners.opened(one) for one in partition_ids)
        owners = [owner for owner in opened if owner is not None and owner.ready is not None]
        if owners:
            topics = [_now(topic) for topic in self._catalog.machine.topics()]
            for owner in owners:
                self._owners.send(owner, TopicsAre(topics))


def _now(topic: Topic) -> TopicNow:
    return TopicNow(topic.name, urlsafe_b64decode(topic.topic_id + "==").hex(), list(topic.partition_ids))


def check_group_name(group: str) -> None:
    """Raise InvalidGroupIdError for what no group can be called."""
    if not group:
        raise InvalidGroupIdError("group_id is empty: a consumer group needs a name, a consumer without one needs none")


def check_not_coordinators(
    request: CreateTopic | DeleteTopic | AlterTopic | PlaceTopic | ImportTopic | OpenLane,
) -> None:
    """Raise InvalidTopicError for what clients may not do to the coordinators' own topic."""
    name = request.topic if isinstance(request, OpenLane) else request.name
    is_harmless = isinstance(request, AlterTopic) and request.partitions is None
    if name == OFFSETS_TOPIC and not is_harmless:
        raise InvalidTopicError(
            f"{OFFSETS_TOPIC} is the cluster's own: it is made with the first consumer group, only coordinators write"
            " to it, its partitions stay as many as they are; `shmlog group` shows and changes what groups committed"
        )

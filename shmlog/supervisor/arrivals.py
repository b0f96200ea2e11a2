"""Topics that are imported while the cluster runs.

An owner's log goes on from what it finds when it starts. So the logs are made first, by the client, beside the others
and under names that no reader takes for a partition's. Then the topic is made as any other, in one commit, and before
its owners start its logs get their names. Whoever is killed before the commit leaves logs of a topic that nobody knows,
which the next start removes; after it the next start goes on with the names.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence

from shmlog.control.messages import ImportTopic, PlaceTopic, TopicPlaced
from shmlog.errors import InvalidRequestError, ShmlogError, StorageError
from shmlog.log.checkpoint import HIGH_WATERMARK, read_topic_id
from shmlog.log.storage import OsStorage, Storage
from shmlog.machines.log_names import import_name, parse_import_name
from shmlog.machines.metadata import CatalogStep, Topic
from shmlog.machines.metadata_records import InSyncChanged, LeaderEpochRaised, MetadataRecord, ReplicasAssigned
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.meta_properties import random_uuid
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.trash import Trash

log = logging.getLogger(__name__)

LEADER_EPOCH_MAX = 2**30
"""Of an imported log: room for as many owners again."""


class Arrivals:
    """Gives imported logs their names, and removes those of topics that never came to be."""

    def __init__(
        self, identity: ClusterIdentity, catalog: Catalog, trash: Trash, storage: Storage | None = None
    ) -> None:
        self._identity = identity
        self._catalog = catalog
        self._trash = trash
        self._storage = storage if storage is not None else OsStorage()

    def place(self, wanted: PlaceTopic, step: CatalogStep) -> TopicPlaced:
        """Where the logs of a topic that `step` would make are to be prepared."""
        leaders = [record.directory_ids[0] for record in step.records if isinstance(record, ReplicasAssigned)]
        directories = self._identity.directories
        paths = [directories.path(one) for one in leaders]
        return TopicPlaced(wanted.request_id, random_uuid(), leaders, paths, self._identity.config.disk_reserve_bytes)

    def check(self, wanted: ImportTopic) -> None:
        """Raise InvalidRequestError if the logs are not there, complete, ours, and of that topic; StorageError if a
        directory that they are in has gone."""
        if len(wanted.directory_ids) != len(wanted.leader_epochs):
            raise InvalidRequestError(
                f"{len(wanted.directory_ids)} directories and {len(wanted.leader_epochs)} leader epochs are not of the"
                " same partitions"
            )
        if any(topic.topic_id == wanted.topic_id for topic in self._known()):
            raise InvalidRequestError(f"topic id {wanted.topic_id} is that of a topic: import it under another one")
        for epoch in wanted.leader_epochs:
            if not -1 <= epoch <= LEADER_EPOCH_MAX:
                raise InvalidRequestError(f"leader epoch {epoch} is not -1 to {LEADER_EPOCH_MAX}")
        usable = self._identity.directories.for_new_replicas()
        for number, directory_id in enumerate(wanted.directory_ids):
            if directory_id not in usable:
                raise StorageError(f"the log directory with id {directory_id} takes no new partitions: import it again")
            self._check_log(self._prepared(wanted.topic_id, number, directory_id), wanted.topic_id)

    def records(self, wanted: ImportTopic, step: CatalogStep) -> tuple[MetadataRecord, ...]:
        """What makes the topic: `step`, led from where the logs are."""
        assigned = [record for record in step.records if isinstance(record, ReplicasAssigned)]
        others = [record for record in step.records if not isinstance(record, ReplicasAssigned)]
        led = [_led_from(one, where) for one, where in zip(assigned, wanted.directory_ids, strict=True)]
        return (*others, *led, *facts_of_import(led, wanted.leader_epochs))

    def settle(self, directory_id: str) -> None:
        """Logs that are in this log directory get their names, if their topic is known; else they go."""
        path = self._identity.directories.path(directory_id)
        topics = {topic.topic_id: topic for topic in self._known() if not topic.is_hidden}
        names = sorted(name for name in self._storage.listdir(path) if parse_import_name(name) is not None)
        for name in names:
            found = parse_import_name(name)
            assert found is not None
            topic_id, number = found
            try:
                if topic_id in topics:
                    self._put_in_place(topics[topic_id], number, directory_id)
                else:
                    self._trash.throw_away(os.path.join(path, name), topic_id)
                    log.info("%s, of an import that was not finished, is removed", os.path.join(path, name))
            except (OSError, ShmlogError) as error:
                log.error("%s stays as it is until the next start: %s", os.path.join(path, name), error)
        if names:
            self._storage.fsync_dir(path)

    def put_in_place(self, topic: Topic) -> None:
        """All logs of a topic that was just made get their names, durably. Raises OSError, StorageError."""
        paths = set[str]()
        for number, partition_id in enumerate(topic.partition_ids):
            partition = self._catalog.machine.partition_by_id(partition_id)
            assert partition is not None
            directory_id = partition.replicas[0]
            self._put_in_place(topic, number, directory_id)
            paths.add(self._identity.directories.path(directory_id))
        for path in sorted(paths):
            self._storage.fsync_dir(path)

    def _put_in_place(self, topic: Topic, number: int, directory_id: str) -> None:
        partition = self._catalog.machine.partition_by_id(topic.partition_ids[number])
        assert partition is not None
        prepared = self._prepared(topic.topic_id, number, directory_id)
        if partition.replicas.get(0) != directory_id:
            raise StorageError(f"partition {topic.name}-{number} has another directory by now")
        directory = self._identity.directories.log_directory(partition, 0)
        if os.path.lexists(directory):
            raise StorageError(f"{directory} is there already: move one of the two away")
        self._storage.rename(prepared, directory)

    def _check_log(self, directory: str, topic_id: str) -> None:
        remedy = "import it again"
        try:
            status = os.lstat(directory)
            is_complete = os.path.exists(os.path.join(directory, HIGH_WATERMARK))  # written last
            is_of_topic = read_topic_id(self._storage, directory) == topic_id
        except OSError as error:
            raise InvalidRequestError(f"{directory}: {error.strerror}; {remedy}") from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise InvalidRequestError(
                f"{directory} was not made by the user that the cluster runs as: let that one import the topic"
            )
        if not is_complete or not is_of_topic:
            raise InvalidRequestError(f"{directory} is not a whole log of topic id {topic_id}: {remedy}")

    def _prepared(self, topic_id: str, number: int, directory_id: str) -> str:
        return os.path.join(self._identity.directories.path(directory_id), import_name(topic_id, number))

    def _known(self) -> list[Topic]:
        machine = self._catalog.machine
        return [*machine.topics(), *machine.deletions()]


def facts_of_import(assigned: Sequence[ReplicasAssigned], leader_epochs: Sequence[int]) -> list[MetadataRecord]:
    """What the metadata log has to say besides of partitions whose first replicas have logs: their owners begin above
    the leader epochs of these, and other replicas have nothing yet."""
    epochs = [
        LeaderEpochRaised(one.partition_id, epoch)
        for one, epoch in zip(assigned, leader_epochs, strict=True)
        if epoch >= 0
    ]
    return [*epochs, *(InSyncChanged(one.partition_id, 0, [0]) for one in assigned if len(one.replica_ids) > 1)]


def _led_from(assigned: ReplicasAssigned, directory_id: str) -> ReplicasAssigned:
    """The same with the first replica there: the one that was to be there changes places with it, if there is one."""
    others = list(assigned.directory_ids)
    others.remove(directory_id if directory_id in others else others[0])
    return ReplicasAssigned(assigned.partition_id, assigned.replica_ids, [directory_id, *others])

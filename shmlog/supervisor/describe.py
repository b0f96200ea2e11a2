"""Topics and partitions as clients see them."""

from __future__ import annotations

import os

from shmlog.control.messages import DirectoryDescription, PartitionDescription, TopicDescription
from shmlog.machines.metadata import Partition, Topic
from shmlog.machines.placement import DirectoryUse
from shmlog.memory import names
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners


class Descriptions:
    """Puts together what the catalog and the owners know."""

    def __init__(self, identity: ClusterIdentity, catalog: Catalog, owners: Owners) -> None:
        self._identity = identity
        self._catalog = catalog
        self._owners = owners

    def topic(self, topic: Topic) -> TopicDescription:
        partitions = (self._catalog.machine.partition_by_id(partition_id) for partition_id in topic.partition_ids)
        return TopicDescription(
            name=topic.name,
            topic_id=topic.topic_id,
            internal=topic.internal,
            config=topic.config,
            effective=self._catalog.machine.effective_config(topic),
            partitions=[self.partition(partition) for partition in partitions if partition is not None],
            warning=self._warning(topic),
        )

    def partition(self, partition: Partition) -> PartitionDescription:
        return PartitionDescription(
            partition=partition.partition,
            partition_id=partition.partition_id,
            leader_epoch=max(partition.leader_epoch, 0),
            state=self._owners.machine.phase(partition.partition_id).value,
            pid=self._owners.pid(partition.partition_id),
            ctl=names.control_page(self._identity.cid8, partition.partition_id),
            bell=names.bell(self._identity.cid8, partition.partition_id),
            log_dir=self._identity.directories.log_directory(partition),
            directory_id=partition.replicas[partition.leader],
            error=self._owners.machine.error(partition.partition_id),
        )

    def _warning(self, topic: Topic) -> str:
        """Says which of its partitions would lose two replicas with one disk."""
        partitions = (self._catalog.machine.partition_by_id(partition_id) for partition_id in topic.partition_ids)
        shared = sum(1 for one in partitions if one is not None and len(set(one.replicas.values())) < len(one.replicas))
        if not shared:
            return ""
        return (
            f"{shared} partitions of topic {topic.name!r} have two replicas or more in one log directory, which are"
            " lost together if its disk is: add directories to log.dirs before you create such topics"
        )


def describe_directories(identity: ClusterIdentity, catalog: Catalog) -> list[DirectoryDescription]:
    """The log directories; the data directory is among them if logs are or go there."""
    use, described = catalog.machine.directory_use(), list[DirectoryDescription]()
    for one in identity.directories.all():
        replicas = use.get(one.directory_id, DirectoryUse()).replicas
        if replicas or one.takes_new:
            free_bytes, error = (None, one.error) if one.error else _look_at(one.path)
            described.append(
                DirectoryDescription(one.path, one.directory_id, replicas, free_bytes, error, one.takes_new)
            )
    return described


def _look_at(path: str) -> tuple[int | None, str]:
    """What its disk has for us, or why that cannot be told."""
    try:
        status = os.statvfs(path)
    except OSError as error:
        return None, f"cannot be looked at ({error.strerror})"
    return status.f_bavail * status.f_frsize, ""

"""Topics and partitions as clients see them."""

from __future__ import annotations

from shmlog.control.messages import PartitionDescription, TopicDescription
from shmlog.machines.metadata import Partition, Topic
from shmlog.memory import names
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners, log_directory


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
            log_dir=log_directory(self._identity, partition),
        )

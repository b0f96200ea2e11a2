"""Topics and partitions as clients see them."""

from __future__ import annotations

import os
from collections.abc import Callable

from shmlog.control.messages import DirectoryDescription, PartitionDescription, ReplicaDescription, TopicDescription
from shmlog.machines.metadata import Partition, Topic
from shmlog.machines.placement import DirectoryUse
from shmlog.machines.replication import FollowerPhase
from shmlog.memory import layout, names
from shmlog.supervisor.failover import Failover
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners


class Descriptions:
    """Puts together what the catalog and the owners know."""

    def __init__(
        self, identity: ClusterIdentity, catalog: Catalog, owners: Owners, followers: Followers, failover: Failover
    ) -> None:
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._followers = followers
        self._failover = failover

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
            cluster=self._catalog.machine.topic_defaults,
        )

    def partition(self, partition: Partition) -> PartitionDescription:
        nobody = self._failover.why_offline(partition.partition_id)
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
            error="; ".join(filter(None, (self._owners.machine.error(partition.partition_id), nobody))),
            replicas=[self._replica(partition, replica_id) for replica_id in sorted(partition.replicas)],
        )

    def _replica(self, partition: Partition, replica_id: int) -> ReplicaDescription:
        partition_id, leads = partition.partition_id, replica_id == partition.leader
        process = self._followers.process(partition_id, replica_id)
        follower = self._followers.machine.followers(partition_id).get(replica_id)
        region = None if process is None else process.region
        if leads:
            state, error = self._owners.machine.phase(partition_id).value, self._owners.machine.error(partition_id)
            pid = self._owners.pid(partition_id)
        else:
            state = (FollowerPhase.DOWN if follower is None else follower.phase).value
            error = (follower.error if follower is not None else "") or (process.waits_for if process else "")
            pid = process.pid if process is not None else 0
        return ReplicaDescription(
            replica_id=replica_id,
            leads=leads,
            in_sync=replica_id in partition.in_sync,
            state=state,
            pid=pid,
            written_offset=-1 if region is None else region.mapping.load(layout.REPLICA_WRITTEN_OFFSET),
            log_dir=self._identity.directories.log_directory(partition, replica_id),
            directory_id=partition.replicas[replica_id],
            error=error,
        )

    def _warning(self, topic: Topic) -> str:
        """What is not as it should be with its replicas."""
        return "; ".join(filter(None, (self._shared_disks(topic), self._too_many_wanted(topic))))

    def _too_many_wanted(self, topic: Topic) -> str:
        """Says that more replicas are to be in sync than there are."""
        partition = self._catalog.machine.partition_by_id(topic.partition_ids[0])
        wanted = int(self._catalog.machine.effective_config(topic)["min.insync.replicas"])
        if partition is None or wanted <= len(partition.replicas):
            return ""
        count = len(partition.replicas)
        waits = ", and while one of them is not in sync nothing is acknowledged to acks=all" if count > 1 else ""
        return (
            f"min.insync.replicas of topic {topic.name!r} is {wanted} and its partitions have a replication factor of"
            f" {count}: it counts as {count}{waits}"
        )

    def _shared_disks(self, topic: Topic) -> str:
        """Says which of its partitions would lose two replicas with one disk."""
        partitions = (self._catalog.machine.partition_by_id(partition_id) for partition_id in topic.partition_ids)
        shared = sum(1 for one in partitions if one is not None and len(set(one.replicas.values())) < len(one.replicas))
        if not shared:
            return ""
        return (
            f"replicas of one partition of topic {topic.name!r} share a log directory ({shared} of"
            f" {len(topic.partition_ids)} partitions) and are lost together if its disk is: add directories to log.dirs"
            " before you create such topics"
        )


def describe_directories(
    identity: ClusterIdentity, catalog: Catalog, refusal: Callable[[str], str]
) -> list[DirectoryDescription]:
    """The log directories; the data directory is among them if logs are or go there. `refusal`: by id, why logs in one
    take no records."""
    reserve_bytes = identity.config.disk_reserve_bytes
    use, described = catalog.machine.directory_use(), list[DirectoryDescription]()
    for one in identity.directories.all():
        replicas = use.get(one.directory_id, DirectoryUse()).replicas
        if replicas or one.takes_new:
            problem = identity.directories.problem(one)
            free_bytes, error = (None, problem) if problem else _look_at(one.path)
            described.append(
                DirectoryDescription(
                    one.path,
                    one.directory_id,
                    replicas,
                    free_bytes,
                    error,
                    one.takes_new,
                    reserve_bytes,
                    refusal(one.directory_id),
                )
            )
    return described


def _look_at(path: str) -> tuple[int | None, str]:
    """What its disk has for us, or why that cannot be told."""
    try:
        status = os.statvfs(path)
    except OSError as error:
        return None, f"cannot be looked at ({error.strerror})"
    return status.f_bavail * status.f_frsize, ""


def keys_move(topic: Topic, before: int) -> str:
    """The warning for a topic that had `before` partitions."""
    return (
        f"topic {topic.name!r} has {len(topic.partition_ids)} partitions now, after {before}: new records of a key may"
        " go to another partition than its older ones; they are not in order with those, and compaction keeps both"
    )

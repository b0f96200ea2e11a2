"""What workers are told when they are ordered: everything that an owner or a follower must know to start."""

from __future__ import annotations

from shmlog.control.messages import CoordinatorSpec, FollowerAt, FollowerSpec, OwnerSpec
from shmlog.machines.metadata import Partition
from shmlog.model import OFFSETS_TOPIC
from shmlog.supervisor.identity import ClusterIdentity


def owner_spec(
    identity: ClusterIdentity,
    partition: Partition,
    config: dict[str, str],
    *,
    leader_epoch: int,
    leftovers: bool,
    followers: list[FollowerAt],
    has_begun: bool,
) -> OwnerSpec:
    """For an owner of `partition`; `config` is the topic's, effective, and the rest as in OwnerSpec."""
    return OwnerSpec(
        cluster_id=identity.cluster_id,
        cluster_name=identity.name,
        cid8=identity.cid8,
        runtime_dir=identity.runtime.directory,
        topic=partition.topic.name,
        topic_id=partition.topic.topic_id,
        partition=partition.partition,
        partition_id=partition.partition_id,
        leader_epoch=leader_epoch,
        log_dir=identity.directories.log_directory(partition),
        config=config,
        shm_mode=identity.config.shm_mode,
        shm_group=identity.shm_group,
        leftovers=leftovers,
        followers=followers,
        replicas=len(partition.replicas),
        replica_id=partition.leader,
        has_begun=has_begun and len(partition.replicas) > 1,
        groups=_coordinator_spec(identity, partition),
    )


def _coordinator_spec(identity: ClusterIdentity, partition: Partition) -> CoordinatorSpec | None:
    if not hosts_coordinator(partition):
        return None
    config = identity.config
    return CoordinatorSpec(config.offsets_retention_minutes * 60_000, config.offset_metadata_max_bytes)


def hosts_coordinator(partition: Partition) -> bool:
    """Whether its owner keeps consumer groups."""
    return partition.topic.internal and partition.topic.name == OFFSETS_TOPIC


def follower_spec(
    identity: ClusterIdentity, partition: Partition, config: dict[str, str], replica_id: int, *, has_begun: bool
) -> FollowerSpec:
    """For the follower whose copy of `partition` is that replica; `config` as for an owner."""
    return FollowerSpec(
        cluster_id=identity.cluster_id,
        cluster_name=identity.name,
        cid8=identity.cid8,
        runtime_dir=identity.runtime.directory,
        topic=partition.topic.name,
        topic_id=partition.topic.topic_id,
        partition=partition.partition,
        partition_id=partition.partition_id,
        replica_id=replica_id,
        log_dir=identity.directories.log_directory(partition, replica_id),
        leader_log_dir=identity.directories.log_directory(partition),
        config=config,
        shm_mode=identity.config.shm_mode,
        shm_group=identity.shm_group,
        has_begun=has_begun,
    )

"""How a replica moves to another log directory: a new one is made there, and takes its place once it is in sync.

What comes out are records of the metadata log, so that a supervisor that starts in between goes on with it. The number
of a replica is never used again, so that nobody takes the new copy for the old one.
"""

from __future__ import annotations

from shmlog.errors import InvalidRequestError
from shmlog.machines.metadata import Partition
from shmlog.machines.metadata_records import InSyncChanged, LogAbandoned, ReplicaReplaced, ReplicasAssigned

BeginRecords = tuple[ReplicasAssigned, InSyncChanged, ReplicaReplaced]
EndRecords = tuple[ReplicasAssigned, InSyncChanged, LogAbandoned]


def begin_move(partition: Partition, replica_id: int, directory_id: str) -> BeginRecords:
    """The partition gets one replica more, in that directory, out of sync. Raises InvalidRequestError."""
    name = f"{partition.topic.name}-{partition.partition}"
    if replica_id not in partition.replicas:
        raise InvalidRequestError(f"{name} has no replica {replica_id}, but {sorted(partition.replicas)}")
    if replica_id in partition.replaced or replica_id in partition.replaced.values():
        raise InvalidRequestError(f"replica {replica_id} of {name} is being moved: wait until that is done")
    if partition.replicas[replica_id] == directory_id:
        raise InvalidRequestError(f"replica {replica_id} of {name} is in that log directory")
    new = partition.next_replica_id
    return (
        _assigned(partition, {**partition.replicas, new: directory_id}),
        InSyncChanged(partition.partition_id, partition.leader, sorted(partition.in_sync)),
        ReplicaReplaced(partition.partition_id, replica_id, new),
    )


def end_move(partition: Partition, replica_id: int) -> EndRecords:
    """The replica is none any more; it does not lead, and what takes its place is in sync."""
    assert replica_id != partition.leader, "a leader is not taken away"
    assert partition.replaced[replica_id] in partition.in_sync, "its successor has everything"
    replicas = {one: directory_id for one, directory_id in partition.replicas.items() if one != replica_id}
    return (
        _assigned(partition, replicas),
        InSyncChanged(partition.partition_id, partition.leader, sorted(partition.in_sync - {replica_id})),
        LogAbandoned(partition.replicas[replica_id], partition.log_names[replica_id], partition.topic.topic_id),
    )


def _assigned(partition: Partition, replicas: dict[int, str]) -> ReplicasAssigned:
    return ReplicasAssigned(partition.partition_id, list(replicas), list(replicas.values()))

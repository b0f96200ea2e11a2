"""What clients have found damaged in a replica's log goes to whoever may write there: its owner, or its follower."""

from __future__ import annotations

from shmlog.control.messages import MendReplica, MendSegment
from shmlog.errors import InvalidRequestError, LeaderNotAvailableError
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners


class Mends:
    """Passes orders on. What is written is up to the worker, who looks at everything again (log/mending)."""

    def __init__(self, identity: ClusterIdentity, catalog: Catalog, owners: Owners, followers: Followers) -> None:
        self._identity = identity
        self._catalog = catalog
        self._owners = owners
        self._followers = followers

    def order(self, request: MendReplica) -> None:
        """Raises UnknownTopicOrPartitionError, InvalidRequestError for a replica that is none, LeaderNotAvailableError
        while there is no process of that replica."""
        partition = self._catalog.machine.partition(request.topic, request.partition)
        name = f"{request.topic}-{request.partition}"
        for replica_id in (request.replica_id, request.source_replica_id):
            if replica_id not in partition.replicas:
                raise InvalidRequestError(f"{name} has no replica {replica_id}, but {sorted(partition.replicas)}")
        order = MendSegment(
            request.base_offset,
            request.following,
            request.position,
            request.first_offset,
            self._identity.directories.log_directory(partition, request.source_replica_id),
        )
        if request.replica_id == partition.leader:
            owner = self._owners.running(partition.partition_id)
            if owner is not None:
                self._owners.send(owner, order)
                return
        else:
            follower = self._followers.process(partition.partition_id, request.replica_id)
            if follower is not None and follower.region is not None:
                follower.send(order)
                return
        raise LeaderNotAvailableError(
            f"replica {request.replica_id} of {name} does not run now, and nobody else may write there: try again when"
            " `shmlog topic describe` shows it running"
        )

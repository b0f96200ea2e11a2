"""Which owners ring which clients: those of the partitions that a client reads, or has a lane to."""

from __future__ import annotations

from shmlog.control.messages import AttachClient, DetachClient, OwnerReady
from shmlog.errors import UnknownTopicOrPartitionError
from shmlog.supervisor.clients import Client, Clients
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owner, Owners


class Introductions(OwnerWatcher):
    """Tells owners of clients, and again when a successor knows nobody."""

    def __init__(self, catalog: Catalog, owners: Owners, clients: Clients) -> None:
        self._catalog = catalog
        self._owners = owners
        self._clients = clients
        owners.watchers.append(self)

    def subscribe(self, client: Client, partition_ids: list[int]) -> None:
        """From now on the owners of these partitions ring this client's doorbell."""
        for partition_id in partition_ids:
            if self._catalog.machine.partition_by_id(partition_id) is None:
                raise UnknownTopicOrPartitionError(f"there is no partition with id {partition_id}")
        for partition_id in partition_ids:
            client.subscriptions.add(partition_id)
            owner = self._owners.running(partition_id)
            if owner is not None:
                self.introduce(owner, client.client_id)

    def unsubscribe(self, client: Client, partition_ids: list[int]) -> None:
        for partition_id in partition_ids:
            client.subscriptions.discard(partition_id)
            self.part(client, partition_id)

    def introduce(self, owner: Owner, client_id: int) -> None:
        """Tell an owner of a client, unless it knows it, or the client is gone."""
        client = self._clients.get(client_id)
        if client is not None and not client.gone and client_id not in owner.clients:
            owner.clients.add(client_id)
            self._owners.send(owner, AttachClient(client_id, client.region))

    def part(self, client: Client, partition_id: int) -> None:
        """The owner need not ring this client any more, unless there is still a reason."""
        owner = self._owners.running(partition_id)
        if owner is None or client.client_id not in owner.clients:
            return
        if not (client.attached or client.gone):  # it has yet to tell us what it reads
            return
        if partition_id not in client.subscriptions and partition_id not in client.lanes.values():
            owner.clients.discard(client.client_id)
            self._owners.send(owner, DetachClient(client.client_id))

    def leave(self, client: Client) -> None:
        """The client is gone: it reads nothing any more. Owners of its lanes hear of it when these are drained."""
        client.subscriptions.clear()
        for owner in self._owners.all_running():
            self.part(client, owner.partition_id)

    def owner_ready(self, ready: OwnerReady) -> None:
        owner = self._owners.running(ready.partition_id)
        assert owner is not None
        for client_id in list(owner.clients):  # of an earlier supervisor's time
            known = self._clients.get(client_id)
            if known is None or known.gone:
                owner.clients.discard(client_id)
                self._owners.send(owner, DetachClient(client_id))
        for client in self._clients.all():
            if ready.partition_id in client.subscriptions:
                self.introduce(owner, client.client_id)

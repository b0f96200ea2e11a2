"""The clients whose doorbells an owner rings when there is news."""

from __future__ import annotations

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.memory.client_region import ClientRegion
from shmlog.native.publish import Publisher


class ClientBells:
    """The attached client regions, by client id."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._clients: dict[int, ClientRegion] = {}

    def ids(self) -> list[int]:
        """Whom this owner rings."""
        return list(self._clients)

    def attach(self, client_id: int, region: str) -> None:
        """Ring this client from now on. One that died meanwhile, or spoiled its own region, is nobody to wake."""
        if client_id in self._clients:
            return
        try:
            client = ClientRegion.open(region)
        except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
            return
        self._clients[client_id] = client
        self._publisher.attach_client(client_id, client.mapping)

    def detach(self, client_id: int) -> None:
        client = self._clients.pop(client_id, None)
        if client is not None:
            self._publisher.detach_client(client_id)
            client.close()

"""Client processes: who is registered, and how we learn that one has left or died."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from shmlog.control import life
from shmlog.errors import CorruptRecordError, ForeignVersionError, InvalidRequestError
from shmlog.memory import names
from shmlog.memory.client_region import ClientRegion
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop, Watch
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.regions import Regions

log = logging.getLogger(__name__)

LOOK_AT_LIFE_S = 1.0
"""How often we look at the life lock of a client that has no socket here."""


COMMITS_GRACE_S = 5.0
"""So long the region of a member of a group stays that died: a coordinator that died with it has a successor by then,
which looks at what the member committed last. It is counted from when all coordinators run."""


@dataclass(slots=True)
class Client:
    """A registered process. `attached`: it has a control socket; after a restart of ours it first has not."""

    client_id: int
    pid: int
    region: str
    attached: bool
    pidfd: int | None = None
    pid_watch: Watch | None = None
    lanes: dict[int, int] = field(default_factory=dict)
    """Partition id of each of its lanes."""
    subscriptions: set[int] = field(default_factory=set)
    gone: bool = False


class Clients:
    """Registered clients by id. A client ends by closing its socket, by dying, or by losing its life lock."""

    def __init__(self, loop: Loop, identity: ClusterIdentity, catalog: Catalog, regions: Regions) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._regions = regions
        self._clients: dict[int, Client] = {}
        self.on_gone: Callable[[Client], None] = self.forget
        """Called once for each client that is gone, to let go of its lanes; it calls forget() in the end."""
        self.coordinators_run: Callable[[], bool] = lambda: True
        """Whether there is nobody missing who looks at what members of groups have committed."""

    def all(self) -> list[Client]:
        return [client for client in self._clients.values() if not client.gone]

    def get(self, client_id: int) -> Client | None:
        """The client, also when it is gone and its lanes are being drained."""
        return self._clients.get(client_id)

    def register(self, pid: int, pidfd: int | None) -> Client:
        """A new client; takes over `pidfd`."""
        client_id = self._catalog.next_id("client")
        try:
            region = self._regions.make_client(client_id)
        except BaseException:
            if pidfd is not None:
                os.close(pidfd)
            raise
        client = Client(client_id, pid, region, attached=True)
        self._add(client, pidfd)
        return client

    def reattach(self, client_id: int, pid: int, pidfd: int | None) -> Client:
        """A client that an earlier supervisor registered; takes over `pidfd`. InvalidRequestError for a stranger."""
        client = self._clients.get(client_id)
        if client is None or client.attached or client.gone or client.pid != pid:
            if pidfd is not None:
                os.close(pidfd)
            raise InvalidRequestError(f"client {client_id} is not known here: register anew")
        self._stop_watching(client)
        client.attached, client.pid = True, pid
        self._add(client, pidfd)
        return client

    def adopt(self, client_id: int) -> Client | None:
        """After a restart: a client whose region was found. None if it is dead, then its traces are removed."""
        region = names.client(self._identity.cid8, client_id)
        path = self._identity.runtime.life(client_id)
        pid = life.holder(path)
        client = Client(client_id, pid or 0, region, attached=False)
        self._clients[client_id] = client
        self._regions.adopt_client(region)
        if pid is None:
            self.gone(client)
            return None
        pidfd = None
        if pid:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
            if life.holder(path) != pid and pidfd is not None:  # it died, and the number may be another's
                os.close(pidfd)
                pidfd = None
        self._add(client, pidfd)
        self._look_at_life(client)
        return client

    def gone(self, client: Client) -> None:
        """It left or died; a second call does nothing."""
        if client.gone:
            return
        client.gone = True
        self._stop_watching(client)
        self.on_gone(client)

    def forget(self, client: Client) -> None:
        """Nothing of it is in use any more: unlink its region and life file."""
        if self._clients.pop(client.client_id, None) is not None:
            with contextlib.suppress(OSError):  # first: killed between the two, our successor finds it by its region
                os.unlink(self._identity.runtime.life(client.client_id))
            if _has_commits(client.region):
                self._unlink_read(client.region)
            else:
                self._regions.unlink(client.region)

    def _unlink_read(self, region: str) -> None:
        """When the commits in it were seen: coordinators look first of all at what members stored that are gone."""
        began = self.coordinators_run()

        def over() -> None:
            if began and self.coordinators_run():
                self._regions.unlink(region)
            else:
                self._unlink_read(region)

        self._loop.call_in(COMMITS_GRACE_S, over)

    def _add(self, client: Client, pidfd: int | None) -> None:
        self._clients[client.client_id] = client
        client.pidfd = pidfd
        if pidfd is not None:
            client.pid_watch = self._loop.watch(pidfd, lambda: self.gone(client))

    def _stop_watching(self, client: Client) -> None:
        if client.pid_watch is not None:
            self._loop.forget(client.pid_watch)
        if client.pidfd is not None:
            os.close(client.pidfd)
        client.pid_watch = client.pidfd = None

    def _look_at_life(self, client: Client) -> None:
        """One that has not come back yet. A process that lives may have left, or be in another pid namespace: its lock
        tells."""
        if client.gone or client.attached:
            return
        if life.holder(self._identity.runtime.life(client.client_id)) is None:
            self.gone(client)
        else:
            self._loop.call_in(LOOK_AT_LIFE_S, lambda: self._look_at_life(client))


def _has_commits(name: str) -> bool:
    try:
        region = ClientRegion.open(name, writable=False)
    except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
        return False
    try:
        return region.has_commits
    finally:
        region.close()

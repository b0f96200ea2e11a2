"""Somebody removed the cluster's names while it runs: its sockets, its locks, or its shared memory.

logind does so at the logout of a user (RemoveIPC=), and so do cleaners of /dev/shm. Processes keep what they have
mapped, but nobody can find it any more: no client can come, no successor of an owner could go on in its ring. There is
no way to give the names back. So the cluster is closed, with all that was accepted, and has to be started again.
"""

from __future__ import annotations

from shmlog.memory import names, region
from shmlog.supervisor.home import Home
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.sessions import Listener

LOOK_EVERY_S = 2.0


class RemovalWatch:
    """look() is called every LOOK_EVERY_S."""

    def __init__(self, identity: ClusterIdentity, home: Home, owners: Owners, listener: Listener) -> None:
        self._identity = identity
        self._home = home
        self._owners = owners
        self._listener = listener
        self._missed: set[str] = set()

    def look(self) -> str | None:
        """What happened and what to do, or None. What is missing has to be so twice: a name may come and go."""
        missing = self._missing()
        gone, self._missed = sorted(missing & self._missed), missing
        if not gone:
            return None
        others = f" and {len(gone) - 1} other names" if len(gone) > 1 else ""
        identity = self._identity
        return (
            f"{gone[0]}{others} of cluster {identity.name!r} were removed while it was running, so that nobody finds it"
            f" any more: it closes, after it has written what was accepted to {identity.data_dir}. Start it again with"
            f" `shmlog up --name {identity.name}`, and keep cleaners away from /dev/shm: logind removes what belongs to"
            " a user who logs out, unless logind.conf says RemoveIPC=no, the user is a system user, or lingers"
        )

    def _missing(self) -> set[str]:
        runtime = self._identity.runtime
        here = {region.SHM_DIRECTORY + name for name, _ in region.list_regions(self._identity.cid8)}
        needed = set()
        for owner in self._owners.all_running():
            for name in (names.control_page, names.bell):
                needed.add(region.SHM_DIRECTORY + name(self._identity.cid8, owner.partition_id))
        missing = needed - here
        if not self._home.runtime_lock.is_linked:
            missing.add(runtime.supervisor_lock)
        if not self._listener.is_linked:
            missing.add(runtime.control_socket)
        return missing

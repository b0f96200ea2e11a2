"""Somebody removed the cluster's names while it runs: its sockets, its locks, or its shared memory.

logind does so at the logout of a user (RemoveIPC=), and so do cleaners of /dev/shm. Processes keep what they have
mapped, but nobody can find it any more: no client can come, no successor of an owner could go on in its ring. There is
no way to give the names back. So the cluster is closed, with all that was accepted, and has to be started again.

An owner that dies before it is closed takes along what was in memory alone, and its successor makes regions of the same
names. So regions are told apart by device and inode, and the supervisor keeps each owner's control page mapped: it says
which offsets are gone.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass

from shmlog.control.messages import OwnerReady
from shmlog.errors import ShmlogError
from shmlog.memory import names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.supervisor.home import Home
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.sessions import Listener

LOOK_EVERY_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """The regions of an owner that has opened its partition; `page` stays mapped whatever becomes of its name."""

    page: ControlPage | None
    identities: dict[str, tuple[int, int] | None]


class RemovalWatch(OwnerWatcher):
    """look() is called every LOOK_EVERY_S."""

    def __init__(self, identity: ClusterIdentity, home: Home, owners: Owners, listener: Listener) -> None:
        self._identity = identity
        self._home = home
        self._owners = owners
        self._listener = listener
        self._missed: set[str] = set()
        self._known: dict[int, _Known] = {}
        self._made_anew: set[str] = set()
        owners.watchers.append(self)

    def owner_opened(self, ready: OwnerReady) -> None:
        """Says what is lost if this owner had to begin without the memory of the one before."""
        tag, partition_id = self._identity.cid8, ready.partition_id
        control = names.control_page(tag, partition_id)
        identities = {name: region.identity(name) for name in (control, names.bell(tag, partition_id))}
        before = self._known.pop(partition_id, None)
        if before is not None and before.page is not None:
            if before.identities[control] != identities[control]:
                self._look_back(before.page, control, ready)
            before.page.close()
        page = None
        with suppress(OSError, ShmlogError):  # removed already: look() sees that
            page = ControlPage.open(tag, partition_id)
        self._known[partition_id] = _Known(page, identities)

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        known = self._known.pop(partition_id, None)
        if known is not None and known.page is not None:
            known.page.close()

    def _look_back(self, page: ControlPage, name: str, ready: OwnerReady) -> None:
        if page.state not in (OwnerState.REPLACED, OwnerState.CLOSED):  # no owner has put another in its place
            self._made_anew.add(region.SHM_DIRECTORY + name)
        if page.log_end_offset > ready.log_end_offset:
            log.error(
                "partition %d has lost offsets %d to %d: they were in shared memory only, which was removed (%s) before"
                " they were written; what was acknowledged with acks=1 or acks=all was written and is there",
                ready.partition_id,
                ready.log_end_offset,
                page.log_end_offset - 1,
                name,
            )

    def look(self) -> str | None:
        """What happened and what to do, or None. What is missing has to be so twice: a name may come and go."""
        missing = self._missing()
        gone, self._missed = sorted(missing & self._missed | self._made_anew), missing
        if not gone:
            return None
        others = f" and {len(gone) - 1} other names" if len(gone) > 1 else ""
        identity = self._identity
        return (
            f"{gone[0]}{others} of cluster {identity.name!r} were removed while it was running, so that nobody finds it"
            f" any more: it closes, after it has written what was accepted to {identity.data_dir}. Start it again with"
            f" `{self._home.restart_command(identity.name)}`, and keep cleaners away from /dev/shm: logind removes what"
            " belongs to a user who logs out, unless logind.conf says RemoveIPC=no, the user is a system user, or"
            " lingers"
        )

    def _missing(self) -> set[str]:
        runtime = self._identity.runtime
        missing = {
            region.SHM_DIRECTORY + name
            for owner in self._owners.all_running()
            if owner.partition_id in self._known
            for name, identity in self._known[owner.partition_id].identities.items()
            if identity is None or region.identity(name) != identity
        }
        if not self._home.runtime_lock.is_linked:
            missing.add(runtime.supervisor_lock)
        if not self._listener.is_linked:
            missing.add(runtime.control_socket)
        return missing

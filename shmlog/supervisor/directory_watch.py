"""Log directories that go while the cluster runs: unmounted, moved, removed, or another one in their place.

A process that has files of such a directory open writes on, where nobody finds it; one that starts would begin an empty
log in the mount point. So nobody starts there, and who runs is killed: another replica leads, or the partition waits,
with the reason, until the directory is back.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from shmlog.errors import ForeignVersionError
from shmlog.machines.metadata import Partition
from shmlog.machines.replication import FollowerPhase, Spoiled
from shmlog.supervisor.directories import MEND, LogDirectories, LogDirectory
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.meta_properties import META_PROPERTIES, directory_id_of
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owner, Owners


class DirectoryLook:
    """Says of a directory that was there when the cluster started why it cannot be used now; "" if it can."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}  # by id: its meta.properties, which is never changed

    def __call__(self, directory: LogDirectory) -> str:
        try:
            status = os.stat(os.path.join(directory.path, META_PROPERTIES))
            identity = status.st_dev, status.st_ino
            if self._known.get(directory.directory_id) == identity:
                return ""
            found = directory_id_of(directory.path)
        except FileNotFoundError:
            return f"has no {META_PROPERTIES} any more: {MEND}"
        except OSError as error:
            return f"cannot be read any more ({error.strerror}): {MEND}"
        except ForeignVersionError as error:
            return f"is not what it was: {error}"
        if found != directory.directory_id:
            return f"is another one now (directory.id {found}): {MEND}"
        self._known[directory.directory_id] = identity
        return ""


class DirectoryWatch:
    """Kills whoever writes a log whose directory is gone. look() is called every few seconds.

    `look_for_missing` goes on with those that were missing at the start and are back.
    """

    def __init__(
        self,
        catalog: Catalog,
        directories: LogDirectories,
        owners: Owners,
        followers: Followers,
        look_for_missing: Callable[[], object] = lambda: None,
    ) -> None:
        self._catalog = catalog
        self._directories = directories
        self._owners = owners
        self._followers = followers
        self._look_for_missing = look_for_missing
        followers.on_waiting = self._look_at_owner_of

    def look(self) -> None:
        self._look_for_missing()
        for owner in self._owners.all_running():
            self._look_at(owner)
        for process in self._followers.all_ready():
            partition_id, replica_id = process.key
            partition = self._catalog.machine.partition_by_id(partition_id)
            follower = self._followers.machine.followers(partition_id).get(replica_id)
            if partition is None or follower is None or follower.phase is not FollowerPhase.FOLLOWING:
                continue
            reason = self._what_is_wrong(partition, replica_id)
            if reason:
                self._followers.observe(Spoiled(partition_id, replica_id, reason))

    def _look_at_owner_of(self, partition_id: int) -> None:
        """A follower cannot go on, for its leader's files perhaps: it must not leave the in-sync set for that."""
        owner = self._owners.running(partition_id)
        if owner is not None:
            self._look_at(owner)

    def _look_at(self, owner: Owner) -> None:
        partition = self._catalog.machine.partition_by_id(owner.partition_id)
        reason = "" if partition is None else self._what_is_wrong(partition, partition.leader)
        if reason:
            self._owners.lose(owner, reason)

    def _what_is_wrong(self, partition: Partition, replica_id: int) -> str:
        """Why nobody finds what is written there; "" if it can be found. A disk that merely fails says so itself."""
        log_dir = self._directories.log_directory(partition, replica_id)
        try:
            os.stat(log_dir)
        except (FileNotFoundError, NotADirectoryError):
            if partition.topic.is_hidden:
                return ""
            gone = f"{log_dir} is gone: somebody has removed it, or its disk is not mounted any more"
            return self._directories.missing(partition, replica_id) or gone
        except OSError:
            return ""
        return ""

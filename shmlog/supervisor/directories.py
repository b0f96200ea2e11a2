"""The log directories of a cluster: which partition's log is where.

Replicas are assigned to directories by id. Ids become paths here, so that a disk may be mounted elsewhere the next
time. A directory that is not there takes along only the partitions whose log is in it: they are offline and say so,
until it is found again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from shmlog.errors import StorageError
from shmlog.machines.metadata import Partition

MEND = "mend or mount its disk: then it goes on by itself"


@dataclass(frozen=True, slots=True)
class LogDirectory:
    """One directory. `error` is why it cannot be used and what to do, as the end of a sentence; empty while it can be.

    `takes_new`: new replicas may go there. The data directory takes none if log.dirs does not name it.
    """

    directory_id: str
    path: str
    error: str = ""
    takes_new: bool = True


class LogDirectories:
    """All directories that are known: as they were at the start, but for those that came back since.

    `look` says of one that was there at the start why it cannot be used now; "" if it can.
    """

    def __init__(self, directories: Iterable[LogDirectory], look: Callable[[LogDirectory], str] = lambda _: "") -> None:
        self._directories = {one.directory_id: one for one in directories}
        self._look = look

    def came_back(self, one: LogDirectory) -> None:
        """It was missing, and is there now, perhaps at another path."""
        self._directories[one.directory_id] = one

    def all(self) -> list[LogDirectory]:
        """Also those that are not there."""
        return list(self._directories.values())

    def problem(self, one: LogDirectory) -> str:
        """Why it cannot be used now and what to do, as the end of a sentence; empty while it can be."""
        return one.error or self._look(one)

    def problem_at(self, path: str) -> str:
        """As problem(), of the directory that was at `path` when the cluster started."""
        return next((self.problem(one) for one in self.all() if one.path == path), "")

    def present(self) -> Set[str]:
        """Ids of those that can be used."""
        return {one.directory_id for one in self.all() if not one.error}

    def present_paths(self) -> list[str]:
        """Where those are that can be used."""
        return [one.path for one in self.all() if not one.error]

    def for_new_replicas(self) -> list[str]:
        """Ids of those that new replicas may go to. Raises StorageError if there are none."""
        found = [one.directory_id for one in self.all() if one.takes_new and not self.problem(one)]
        if not found:
            raise StorageError(
                "; ".join(
                    f"the log directory {one.path} {problem}" for one in self.all() if (problem := self.problem(one))
                )
            )
        return found

    def path(self, directory_id: str) -> str:
        """Where a directory is, or was last."""
        return self._directories[directory_id].path

    def log_directory(self, partition: Partition, replica_id: int | None = None) -> str:
        """Where the log of a replica is, absolute; None: that of the leader. Whether it can be used or not."""
        chosen = partition.leader if replica_id is None else replica_id
        return os.path.join(self.path(partition.replicas[chosen]), partition.log_names[chosen])

    def missing(self, partition: Partition, replica_id: int | None = None) -> str:
        """Why a replica (None: the leader) cannot run here and what to do; empty if its log can be reached."""
        chosen = partition.leader if replica_id is None else replica_id
        found = self._directories[partition.replicas[chosen]]
        problem = self.problem(found)
        if not problem:
            return ""
        return f"its log is in {found.path} (directory.id {found.directory_id}), which {problem}"

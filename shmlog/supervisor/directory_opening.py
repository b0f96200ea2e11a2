"""From the paths that a cluster is started with to its log directories: made, locked, and told apart by id.

What must be a mistake is refused: a directory of another cluster, one that is in use, listed twice, or inside another.
What is out of reach is not: a cluster with many disks starts without one of them. So is a directory without
meta.properties where replicas are known to be: that is what the mount point of a disk looks like that is not mounted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from shmlog.control import data_directory
from shmlog.control.life import LifeLock
from shmlog.errors import InvalidConfigError, StartError
from shmlog.limits import LOG_DIRECTORIES_MAX
from shmlog.machines.metadata import MetadataMachine
from shmlog.supervisor.directories import MEND, LogDirectories, LogDirectory
from shmlog.supervisor.home import Home
from shmlog.supervisor.meta_properties import META_PROPERTIES, identify_log_directory

KIND = "log directory"
AGAIN = "start the cluster again"
UNKNOWN = "a place that was not noted"


class _OutOfReachError(Exception):
    """A directory is not there now; its text is what to say of it."""


@dataclass(frozen=True, slots=True)
class OpenDirectories:
    """Held until release(). `found` has the paths of those that are there by id, without the data directory."""

    directories: LogDirectories
    found: dict[str, str]
    _locks: list[LifeLock]

    def hold(self, lock: LifeLock) -> None:
        """Of one that has come back: released with the others."""
        self._locks.append(lock)

    def release(self) -> None:
        """Let go of all of them."""
        for lock in self._locks:
            lock.release(remove=False)


def check_listed(data_dir: str, listed: Sequence[str]) -> None:
    """Raise InvalidConfigError for directories that are one, or one inside another; all paths are absolute."""
    if len(listed) > LOG_DIRECTORIES_MAX:
        raise InvalidConfigError(
            f"log.dirs names {len(listed)} directories, the limit is {LOG_DIRECTORIES_MAX}: one for each disk is enough"
        )
    seen: dict[str, str] = {}
    for path in listed:
        real = os.path.realpath(path)
        same = seen.get(real) or next((other for other in seen.values() if _are_one(path, other)), None)
        if same is not None:
            also = "" if same == path else f" (as {same}, too)"
            raise InvalidConfigError(f"log.dirs names the directory {path} twice{also}: name each once")
        seen[real] = path
    for inner, path in seen.items():
        for outer, other in {**seen, os.path.realpath(data_dir): data_dir}.items():
            if inner != outer and os.path.commonpath([inner, outer]) in (inner, outer):
                what = f"the data directory {other}" if other == data_dir else other
                raise InvalidConfigError(
                    f"of the log directory {path} and {what} one is inside the other, and would be taken for one of its"
                    " partitions: choose directories beside each other"
                )


def open_directories(
    home: Home,
    name: str,
    listed: Sequence[str],
    machine: MetadataMachine,
    group: int | None,
    look: Callable[[LogDirectory], str] = lambda _: "",
) -> OpenDirectories:
    """All directories of the cluster called `name`: the data directory, those that are `listed` (see check_listed;
    none: logs go to the data directory), and those that the catalog knows to have replicas. `look` as in
    LogDirectories.

    Raises StartError, DataDirectoryInUseError or ForeignVersionError for what must be a mistake.
    """
    opening = _Opening(home, name, machine, group, look)
    try:
        return opening.open(listed)
    except BaseException:
        opening.release()
        raise


class _Opening:
    """What open_directories has so far."""

    def __init__(
        self,
        home: Home,
        name: str,
        machine: MetadataMachine,
        group: int | None,
        look: Callable[[LogDirectory], str],
    ) -> None:
        self._home, self._name, self._group, self._look = home, name, group, look
        self._known = machine.directories()
        self._with_replicas = machine.directory_use().keys()
        self._there = {home.directory_id: LogDirectory(home.directory_id, home.data_dir, takes_new=False)}
        self._missing: dict[str, LogDirectory] = {}
        self._locks: list[LifeLock] = []

    def open(self, listed: Sequence[str]) -> OpenDirectories:
        paths = listed or [self._home.data_dir]
        # those that are there first: what was moved is found before it is missed where it was
        for path in sorted(paths, key=lambda path: not _has_properties(path)):
            if _are_one(path, self._home.data_dir):
                self._add(LogDirectory(self._home.directory_id, self._home.data_dir))
                continue
            was_here = [one for one, last in self._known.items() if last == path and one not in self._there]
            try:
                self._add(LogDirectory(self._identify(path, was_here), path))
            except _OutOfReachError as error:
                for one in [one for one in was_here if one in self._with_replicas] or was_here[-1:]:
                    self._missing[one] = LogDirectory(one, path, str(error))
        for one in self._with_replicas - self._there.keys() - self._missing.keys():
            self._missing[one] = self._not_found(one)
        there = sorted(self._there.values(), key=lambda one: paths.index(one.path) if one.path in paths else -1)
        found = {one.directory_id: one.path for one in there if one.path != self._home.data_dir}
        return OpenDirectories(LogDirectories([*there, *self._missing.values()], self._look), found, self._locks)

    def release(self) -> None:
        for lock in self._locks:
            lock.release(remove=False)

    def _add(self, directory: LogDirectory) -> None:
        before = self._there.get(directory.directory_id)
        if before is not None and before.path != directory.path:
            raise StartError(
                f"{before.path} and {directory.path} have the same directory.id {before.directory_id}: one of them is"
                " a copy of the other; take the copy out of log.dirs"
            )
        self._there[directory.directory_id] = directory

    def _identify(self, path: str, was_here: Iterable[str]) -> str:
        """The id of the directory at `path`, which is locked then. `was_here`: ids of those that were there before."""
        if self._with_replicas & set(was_here) and not _has_properties(path):
            raise _OutOfReachError(f"{_what_is_wrong(path)}: {MEND}")
        try:
            data_directory.make(path, KIND)
            lock = data_directory.lock(path, KIND)
        except StartError as error:
            if was_here and isinstance(error.__cause__, OSError):
                raise _OutOfReachError(f"cannot be used ({error.__cause__.strerror}): {MEND}") from error
            raise
        self._locks.append(lock)
        lock.write(f"{os.getpid()}\n{self._name}\n")
        try:
            os.listdir(path)
            return identify_log_directory(path, self._home.cluster_id, self._group)
        except OSError as error:
            if was_here:
                raise _OutOfReachError(f"cannot be used ({error.strerror}): {MEND}") from error
            raise StartError(f"cannot use the {KIND} {path}: {error.strerror}; choose another {KIND}") from error

    def _not_found(self, directory_id: str) -> LogDirectory:
        """One that has replicas and is at none of the paths."""
        path = self._known.get(directory_id, UNKNOWN)
        now = next((one.directory_id for one in self._there.values() if one.path == path), None)
        if now is not None:
            error = f"is another one now (directory.id {now}): mount its disk and {AGAIN}"
        else:
            error = f"is not in log.dirs any more: name it there and {AGAIN}"
        return LogDirectory(directory_id, path, error, takes_new=False)


def _has_properties(path: str) -> bool:
    return os.path.exists(os.path.join(path, META_PROPERTIES))


def _what_is_wrong(path: str) -> str:
    try:
        os.listdir(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"has no {META_PROPERTIES}"


def _are_one(path: str, other: str) -> bool:
    """Whether both are the same directory; False for what is not there."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)

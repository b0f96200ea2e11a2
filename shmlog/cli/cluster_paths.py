"""Where a cluster's files are, whether it runs or not, without asking anybody but the file system and the kernel."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, replace

from shmlog.control import life, paths
from shmlog.control.last_start import read_last_start
from shmlog.errors import ShmlogError

LOG_FILE = "supervisor.log"
NOT_YOURS_REMEDY = (
    "choose another with $SHMLOG_RUNTIME_DIR, or unset it; shm.group and shm.mode of its cluster can let a group in"
)


class OutOfReachError(ShmlogError):
    """The cluster belongs to another user, or runs where this process cannot signal it."""

    name = "OUT_OF_REACH"


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """A cluster by name: its runtime directory, who holds its lock, its data directory, and the log directories that it
    was given, of one that runs.

    `pid` is the supervisor's, None if none runs, 0 if it runs in another pid namespace.
    """

    name: str
    runtime: paths.RuntimePaths
    pid: int | None
    data_dir: str
    log_dirs: tuple[str, ...] = ()

    @property
    def log_file(self) -> str:
        """What a detached supervisor writes to."""
        return os.path.join(self.data_dir, LOG_FILE)


def expect_cluster(name: str | None, *, data_dir: str | None = None, configured: str | None = None) -> ClusterPlace:
    """Where the cluster would be by the documented order of defaults, without a look whether it runs."""
    chosen = paths.cluster_name(name)
    return ClusterPlace(chosen, paths.runtime_paths(chosen), None, paths.data_directory(chosen, data_dir, configured))


def find_cluster(name: str | None, *, data_dir: str | None = None, configured: str | None = None) -> ClusterPlace:
    """As expect_cluster(), and whether it runs; the data directory of a running one is what it says.

    Raises OutOfReachError if its runtime directory is closed to us.
    """
    place = expect_cluster(name, data_dir=data_dir, configured=configured)
    lock = place.runtime.supervisor_lock
    try:
        pid = life.holder(lock)
    except PermissionError:
        directory = place.runtime.directory
        raise OutOfReachError(
            f"the runtime directory {directory} {whose(directory)} and is closed to you: {NOT_YOURS_REMEDY}"
        ) from None
    last = read_last_start(lock) if pid is not None else None
    if last is None:
        return replace(place, pid=pid)
    return replace(place, pid=pid, data_dir=last.data_dir, log_dirs=last.log_dirs)


def user_name(uid: int) -> str:
    """The user's name, or the number if the password database has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def whose(directory: str) -> str:
    """ "belongs to user bob": the owner of `directory`, or of the first above it that may be looked at."""
    while True:
        try:
            return f"belongs to user {user_name(os.stat(directory).st_uid)}"
        except (PermissionError, FileNotFoundError):
            directory = os.path.dirname(directory)

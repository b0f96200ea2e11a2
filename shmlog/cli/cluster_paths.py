"""Where a cluster's files are, whether it runs or not, without asking anybody but the file system and the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shmlog.control import life, paths

LOG_FILE = "supervisor.log"


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """A cluster by name: its runtime directory, who holds its lock, and its data directory.

    `pid` is the supervisor's, None if none runs, 0 if it runs in another pid namespace.
    """

    name: str
    runtime: paths.RuntimePaths
    pid: int | None
    data_dir: str

    @property
    def log_file(self) -> str:
        """What a detached supervisor writes to."""
        return os.path.join(self.data_dir, LOG_FILE)


def find_cluster(name: str | None, *, data_dir: str | None = None, configured: str | None = None) -> ClusterPlace:
    """Locate a cluster by the documented order of defaults; the data directory of a running one is what it says."""
    chosen = paths.cluster_name(name)
    runtime = paths.runtime_paths(chosen)
    pid = life.holder(runtime.supervisor_lock)
    said = _data_dir_in_lock(runtime.supervisor_lock) if pid is not None else None
    return ClusterPlace(chosen, runtime, pid, said or paths.data_directory(chosen, data_dir, configured))


def _data_dir_in_lock(lock_file: str) -> str | None:
    """The second line of the supervisor's lock file."""
    try:
        with open(lock_file, encoding="utf-8", errors="replace") as lines:
            content = lines.read().splitlines()
    except OSError:
        return None
    return content[1] if len(content) > 1 and content[1] else None

"""What every part of the supervisor must know of the cluster, fixed for its life."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.control.paths import RuntimePaths
from shmlog.settings import ClusterConfig
from shmlog.supervisor.directories import LogDirectories


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """`cid8` stands for the cluster in names of shared memory; `shm_group` is a gid, None for the user alone."""

    name: str
    cluster_id: str
    cid8: str
    runtime: RuntimePaths
    data_dir: str
    config: ClusterConfig
    shm_group: int | None
    started_ms: int
    directories: LogDirectories

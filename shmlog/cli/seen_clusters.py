"""The clusters of this host and the shared memory of each, of every user, as far as this one may look.

A runtime directory names its cluster; a directory of another user stays closed, but its supervisor shows in /proc.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shmlog.cli.memory import list_all
from shmlog.control import life, paths
from shmlog.control.last_start import read_last_start
from shmlog.memory import names, region

SUPERVISOR_MODULE = "shmlog.workers.supervisor"
RUNTIME_BASES = "/dev/shm/shmlog-*"  # noqa: S108  (every user's default; nothing is made there)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A supervisor process in /proc; `base` is what its runtime directory lies in, None where that may not be seen.
    `is_standby`: it was started as one, and may have taken over since."""

    name: str
    uid: int
    pid: int
    base: str | None
    is_standby: bool = False


@dataclass(frozen=True, slots=True)
class SeenCluster:
    """A cluster whose runtime directory is there, whether it lives or not.

    `pid` is its supervisor's: None if it is gone, 0 if it runs in another pid namespace. `owners`: pids of owners
    that live. `tag` is None if its data directory may not be read. `log_dirs` is what it was given.
    """

    name: str
    uid: int
    pid: int | None
    owners: tuple[int, ...]
    tag: str | None
    directory: str
    data_dir: str | None
    log_dirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegionSet:
    """All regions of one tag. `pids` are processes that have some of them mapped, of those that we may look into."""

    tag: str
    uid: int
    count: int
    bytes: int
    pids: tuple[int, ...]


def look_for_clusters(base: str) -> tuple[list[SeenCluster], list[Supervisor]]:
    """The clusters in `base`, in the users' default directories and where a supervisor in /proc has its own; and the
    supervisors whose directories we may not enter. A standby of a cluster that lives is no cluster of its own.
    """
    supervisors = list(_supervisors())
    bases = {base, *glob.glob(RUNTIME_BASES), *(s.base for s in supervisors if s.base is not None)}
    seen = [cluster for directory in sorted(bases) for cluster in _clusters_in(directory)]
    known = {cluster.pid for cluster in seen}
    alive = {(cluster.name, cluster.uid) for cluster in seen if cluster.pid is not None}
    others = [supervisor for supervisor in supervisors if supervisor.pid not in known]
    return seen, [other for other in others if not (other.is_standby and (other.name, other.uid) in alive)]


def look_for_regions() -> list[RegionSet]:
    """The regions of this host by tag."""
    pids = _pids_by_tag()
    found: dict[str, RegionSet] = {}
    for one in list_all():
        with contextlib.suppress(FileNotFoundError):
            uid = os.stat(region.SHM_DIRECTORY + one.name).st_uid
            before = found.get(one.tag, RegionSet(one.tag, uid, 0, 0, tuple(sorted(pids.get(one.tag, ())))))
            found[one.tag] = RegionSet(one.tag, before.uid, before.count + 1, before.bytes + one.bytes, before.pids)
    return list(found.values())


def _clusters_in(base: str) -> Iterator[SeenCluster]:
    try:
        entries = sorted(os.listdir(base))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for name in entries:
        runtime = paths.RuntimePaths(os.path.join(base, name))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            uid = os.stat(runtime.directory, follow_symlinks=False).st_uid
            owners = (life.holder(os.path.join(runtime.owners, entry)) for entry in os.listdir(runtime.owners))
            alive = tuple(sorted(pid for pid in owners if pid is not None))
            last = read_last_start(runtime.supervisor_lock)
            data_dir, log_dirs = (None, ()) if last is None else (last.data_dir, last.log_dirs)
            cluster_id = _cluster_id(data_dir)
            tag = names.cluster_tag(cluster_id, runtime.directory) if cluster_id is not None else None
            pid = life.holder(runtime.supervisor_lock)
            yield SeenCluster(name, uid, pid, alive, tag, runtime.directory, data_dir, log_dirs)


def _cluster_id(data_dir: str | None) -> str | None:
    if data_dir is None:
        return None
    with contextlib.suppress(OSError):
        for line in (Path(data_dir) / "meta.properties").read_text(encoding="utf-8").splitlines():
            if line.startswith("cluster.id="):
                return line.partition("=")[2].strip()
    return None


def _supervisors() -> Iterator[Supervisor]:
    """Anybody may read a process's command line; its environment only its user and root."""
    import psutil

    for process in psutil.process_iter(["cmdline", "uids"]):
        arguments = process.info["cmdline"] or []
        if SUPERVISOR_MODULE not in arguments or process.info["uids"] is None:
            continue
        environment: dict[str, str] = {}
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
        name = _argument(arguments, "--name") or environment.get("SHMLOG_CLUSTER") or paths.DEFAULT_CLUSTER
        base = _argument(arguments, "--runtime-dir") or environment.get("SHMLOG_RUNTIME_DIR")
        is_standby = "--standby" in arguments
        uid = process.info["uids"].real
        yield Supervisor(name, uid, process.pid, os.path.abspath(base) if base else None, is_standby)


def _argument(arguments: list[str], option: str) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def _pids_by_tag() -> dict[str, set[int]]:
    """Which processes have regions of a tag mapped; those of other users are left out unless root looks."""
    found: dict[str, set[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/maps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _, is_ours, name = line.partition(region.SHM_DIRECTORY + names.PREFIX)
                if is_ours:
                    found.setdefault(name.split(".", 1)[0], set()).add(int(entry))
    return found

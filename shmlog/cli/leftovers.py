"""Whose the shared memory on this host is, and what of it nobody needs: the last check of `shmlog doctor`.

Nothing is called a leftover while a process that uses it may live, and only its own user is told to remove it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from shmlog.cli.cluster_paths import ClusterPlace, user_name
from shmlog.cli.host_checks import Finding
from shmlog.cli.output import count_of, human_bytes
from shmlog.cli.seen_clusters import (
    RegionSet,
    SeenCluster,
    Supervisor,
    look_for_clusters,
    look_for_regions,
)
from shmlog.control.last_start import up_command
from shmlog.memory import names, region

ROOT: Final = 0


def check_leftovers(place: ClusterPlace) -> Iterator[Finding]:
    """Every cluster that is seen with its regions, dead or alive, and the regions of none."""
    regions = look_for_regions()  # first: a cluster that starts meanwhile has none of them
    seen, closed = look_for_clusters(os.path.dirname(place.runtime.directory))
    return judge(regions, seen, closed, os.getuid())


def judge(regions: list[RegionSet], seen: list[SeenCluster], closed: list[Supervisor], uid: int) -> Iterator[Finding]:
    """What to say to user `uid`."""
    by_tag = {found.tag: found for found in regions}
    is_clean = True
    for cluster in seen:
        finding = _cluster(cluster, by_tag.pop(cluster.tag, None) if cluster.tag is not None else None, uid)
        is_clean = is_clean and finding.verdict == "ok"
        yield finding
    for supervisor in closed:
        yield Finding(f"cluster {supervisor.name!r}", "ok", _alive(supervisor.uid, supervisor.pid, uid))
    for found in by_tag.values():
        finding = _nameless(found, [s for s in closed if s.uid == found.uid], uid)
        is_clean = is_clean and finding.verdict == "ok"
        yield finding
    if is_clean:
        yield Finding("leftovers", "ok", "none")


def _cluster(cluster: SeenCluster, regions: RegionSet | None, uid: int) -> Finding:
    subject = f"cluster {cluster.name!r}"
    size = f", {_size(regions)}" if regions is not None else ""
    if cluster.pid is not None:
        return Finding(subject, "ok", _alive(cluster.uid, cluster.pid, uid) + size)
    whose = f"belongs to user {user_name(cluster.uid)}, " if cluster.uid != uid else ""
    who = f", as user {user_name(cluster.uid)}" if cluster.uid != uid else ""
    up = f"`{up_command(cluster.name, cluster.data_dir, cluster.log_dirs)}`{who}"
    if cluster.owners:
        found = f"{whose}its supervisor is gone, but owners of partitions are alive ({_pids(cluster.owners)}){size}"
        return Finding(subject, "warn", found, f"{up} takes it over")
    found = f"{whose}not running, but it left {cluster.directory}{size}"
    return Finding("leftovers", "warn", f"{subject}: {found}", f"{up} recovers it and tidies up")


def _nameless(regions: RegionSet, closed: list[Supervisor], uid: int) -> Finding:
    """Regions whose cluster's directories are gone or closed to us."""
    files = f"{region.SHM_DIRECTORY}{names.PREFIX}{regions.tag}.*"
    what = f"{_size(regions)} ({files})"
    if regions.pids:
        return Finding("shared memory", "ok", f"{what}, in use by {_pids(regions.pids)}")
    user = user_name(regions.uid)
    if uid not in (regions.uid, ROOT):
        if closed:
            clusters = ", ".join(f"{s.name!r} (pid {s.pid})" for s in closed)
            return Finding(
                "shared memory", "ok", f"{what}, belongs to user {user}, whose clusters are alive: {clusters}"
            )
        found = f"{what}, belongs to user {user}; whether a process uses it, only that user and root can see"
        return Finding("shared memory", "warn", found, f"ask {user} to run `shmlog doctor`, or run it as root")
    found = f"{what}{f' of user {user}' if regions.uid != uid else ''}: no process that can be seen here uses it"
    remedy = (
        "start its cluster again with the same data directory, which tidies up; if that is gone, and no container"
        f" shares {region.SHM_DIRECTORY}: rm {files}"
    )
    return Finding("leftovers", "warn", found, remedy)


def _alive(owner: int, pid: int, uid: int) -> str:
    whose = f"belongs to user {user_name(owner)}, " if owner != uid else ""
    return f"{whose}alive ({f'pid {pid}' if pid else 'in another pid namespace'})"


def _size(regions: RegionSet) -> str:
    return f"{count_of(regions.count, 'region')}, {human_bytes(regions.bytes)}"


def _pids(pids: Iterable[int]) -> str:
    return ", ".join(f"pid {pid}" if pid else "in another pid namespace" for pid in pids)

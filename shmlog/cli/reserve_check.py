"""What `shmlog doctor` says of disk.reserve.bytes: whether a running cluster keeps room on its disks, and has it."""

from __future__ import annotations

from collections.abc import Iterator

from shmlog.cli.cluster_paths import ClusterPlace
from shmlog.cli.host_checks import Finding
from shmlog.cli.output import human_bytes
from shmlog.errors import ShmlogError

ANSWER_S = 2.0


def check_disk_reserve(place: ClusterPlace) -> Iterator[Finding]:
    """Each log directory of the cluster, if it runs and has a reserve."""
    import shmlog

    try:
        with shmlog.connect(place.name, timeout=ANSWER_S) as cluster:
            directories = cluster.describe().directories
    except (ShmlogError, OSError):  # it does not run, or is not for us; other checks tell
        return
    for one in directories:
        if not one.reserve_bytes or one.free_bytes is None:
            continue
        found = f"{one.path}, {human_bytes(one.free_bytes)} free, {human_bytes(one.reserve_bytes)} are to stay free"
        if one.refusal:
            remedy = "its partitions take no records: free space, or lower retention.ms or retention.bytes of topics"
            yield Finding("disk reserve", "fail", found, remedy)
        elif one.free_bytes < one.reserve_bytes:
            yield Finding("disk reserve", "warn", found, "old segments go early: free space, or lower retention.ms")
        else:
            yield Finding("disk reserve", "ok", found)

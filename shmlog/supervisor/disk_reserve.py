"""disk.reserve.bytes: a look at the disks every few seconds, and orders to who has logs on one that is nearly full.

First old segments go early, of topics whose retention would delete them anyway; if that is not enough, nobody there
takes records until there is room. Reading goes on. What an owner or a follower was told holds for a while only
(limits.HOLD_LEASE_S), so nobody waits for a supervisor that is gone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from shmlog.control.messages import FreeDisk, HoldRecords
from shmlog.log.listing import look
from shmlog.log.segment_facts import sealed_info
from shmlog.log.storage import OsStorage
from shmlog.machines.disk_reserve import OldSegment, decide_reserve
from shmlog.machines.metadata import Partition, Topic
from shmlog.memory.control_page import DISK_REFUSED
from shmlog.settings import TopicConfig
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Disk:
    """One file system with log directories, at one look."""

    free_bytes: int
    directories: list[LogDirectory] = field(default_factory=list)


class DiskReserve:
    """Of one cluster. look() is called every few seconds; refusal() says what it has found."""

    def __init__(
        self,
        catalog: Catalog,
        directories: LogDirectories,
        owners: Owners,
        followers: Followers,
        reserve_bytes: int,
    ) -> None:
        self._catalog = catalog
        self._directories = directories
        self._owners = owners
        self._followers = followers
        self._reserve_bytes = reserve_bytes
        self._storage = OsStorage()
        self._refusals: dict[str, str] = {}  # by directory id
        self._is_short: set[str] = set()  # ids of directories whose disk had less than the reserve at the last look

    def refusal(self, directory_id: str) -> str:
        """Why logs in this directory take no records now; "" while they do."""
        return self._refusals.get(directory_id, "")

    def look(self) -> None:
        """Compare what is free with the reserve, and give the orders that follow."""
        if self._reserve_bytes:
            for disk in self._disks():
                self._look_at(disk)

    def _disks(self) -> list[_Disk]:
        found: dict[int, _Disk] = {}
        for directory in self._directories.all():
            if self._directories.problem(directory):
                continue
            try:
                device, status = os.stat(directory.path).st_dev, os.statvfs(directory.path)
            except OSError:  # it goes just now, which directory_watch sees
                continue
            disk = found.setdefault(device, _Disk(status.f_bavail * status.f_frsize))
            disk.directories.append(directory)
        return list(found.values())

    def _look_at(self, disk: _Disk) -> None:
        ids = {one.directory_id for one in disk.directories}
        if disk.free_bytes >= self._reserve_bytes:
            self._go_on(disk, ids)
            return
        there = self._replicas_in(ids)
        topics = {partition.topic.topic_id: partition.topic for partition, _ in there}
        may_go = {topic_id for topic_id, topic in topics.items() if self._may_go_early(topic)}
        logs = {
            partition.partition_id: self._old_segments(partition, replicas)
            for partition, replicas in there
            if partition.topic.topic_id in may_go
        }
        decision = decide_reserve(disk.free_bytes, self._reserve_bytes, logs)
        self._say_once(disk, ids, decision.refuses)
        reason = _reason(disk, self._reserve_bytes) if decision.refuses else ""
        for one in ids:
            self._refusals[one] = reason
        for partition, replicas in there:
            self._order(partition, replicas, FreeDisk(decision.delete_below.get(partition.partition_id, 0)))
            if reason:
                self._order(partition, replicas, HoldRecords(reason))

    def _go_on(self, disk: _Disk, ids: set[str]) -> None:
        if not self._is_short & ids:
            return
        log.info("%s: %d bytes are free again", _paths(disk), disk.free_bytes)
        self._is_short -= ids
        for one in ids:
            self._refusals.pop(one, None)
        for partition, replicas in self._replicas_in(ids):
            self._order(partition, replicas, HoldRecords(""))

    def _say_once(self, disk: _Disk, ids: set[str], refuses: bool) -> None:
        if not ids <= self._is_short:
            self._is_short |= ids
            log.warning(
                "%s: %d bytes are free, less than disk.reserve.bytes (%d): old segments go early",
                _paths(disk),
                disk.free_bytes,
                self._reserve_bytes,
            )
        if refuses and not any(self.refusal(one) for one in ids):
            log.error("%s", _reason(disk, self._reserve_bytes))

    # --- who is on a disk -------------------------------------------------------------------------------------------

    def _replicas_in(self, ids: set[str]) -> list[tuple[Partition, list[int]]]:
        """Partitions with the replicas that they have in these directories."""
        found = []
        for partition in self._catalog.machine.partitions():
            replicas = [one for one, directory_id in partition.replicas.items() if directory_id in ids]
            if replicas and not partition.topic.is_hidden:
                found.append((partition, replicas))
        return found

    def _may_go_early(self, topic: Topic) -> bool:
        config = TopicConfig.from_mapping(self._catalog.machine.effective_config(topic))
        return config.deletes_some_day

    def _old_segments(self, partition: Partition, replicas: list[int]) -> Iterator[OldSegment]:
        """From the files of one of them; the others have the same."""
        directory = self._directories.log_directory(partition, replicas[0])
        try:
            bases = look(self._storage, directory).base_offsets
            for base_offset, following in pairwise(bases):
                info = sealed_info(self._storage, directory, base_offset)
                newest_ms = info.max_timestamp_ms if info.max_timestamp_ms >= 0 else info.created_ms
                yield OldSegment(following, info.size_bytes * len(replicas), newest_ms)
        except OSError:  # they are being deleted, or the directory is gone: nothing to be had here now
            return

    def _order(self, partition: Partition, replicas: list[int], order: FreeDisk | HoldRecords) -> None:
        """To the processes of these replicas. Only the owner decides what goes, so it is told wherever its log is."""
        owner = self._owners.running(partition.partition_id)
        deletes = isinstance(order, FreeDisk) and order.delete_below > 0
        if owner is not None and (partition.leader in replicas or deletes):
            self._owners.send(owner, order)
        for replica_id in replicas:
            process = self._followers.process(partition.partition_id, replica_id)
            if process is not None and process.region is not None and replica_id != partition.leader:
                process.send(order)


def _paths(disk: _Disk) -> str:
    return ", ".join(one.path for one in disk.directories)


def _reason(disk: _Disk, reserve_bytes: int) -> str:
    return (
        f"{DISK_REFUSED}{_paths(disk)} has {disk.free_bytes} bytes free, less than disk.reserve.bytes"
        f" ({reserve_bytes}), and no old segments that may go: nothing is lost, writing goes on by itself once there is"
        " room: free space, or lower retention.ms or retention.bytes"
    )

"""Retention, every log.retention.check.interval.ms: each owner applies its own, and what a topic has over all of its
partitions is compared with its retention.topic.bytes when they have said how much that is."""

from __future__ import annotations

from shmlog.clock import wall_ms
from shmlog.control.messages import ApplyRetention, LogSize
from shmlog.machines.topic_cap import level_bytes
from shmlog.settings import TopicConfig
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerReport, OwnerWatcher
from shmlog.supervisor.owners import Owners


class Retention(OwnerWatcher):
    """One round after another; who has not answered by the end of one does not count in it."""

    def __init__(self, catalog: Catalog, owners: Owners) -> None:
        self._catalog = catalog
        self._owners = owners
        self._asked: dict[str, set[int]] = {}  # partitions that have not said their size yet, by topic id
        self._sizes: dict[str, dict[int, int]] = {}  # in bytes, by topic id and partition id
        owners.watchers.append(self)

    def apply(self) -> None:
        """Begin a round."""
        self._asked.clear()
        self._sizes.clear()
        now_ms = wall_ms()
        for owner in self._owners.all_running():
            partition = self._catalog.machine.partition_by_id(owner.partition_id)
            if partition is not None:
                self._asked.setdefault(partition.topic.topic_id, set()).add(owner.partition_id)
                self._owners.send(owner, ApplyRetention(now_ms))

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        if isinstance(report, LogSize):
            self._note_size(partition_id, report.size_bytes)

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        self._forget(partition_id)

    def owner_failed(self, partition_id: int, error: str, message: str) -> None:
        self._forget(partition_id)

    def _forget(self, partition_id: int) -> None:
        """It will not answer in this round."""
        for topic_id, asked in self._asked.items():
            if partition_id in asked:
                asked.discard(partition_id)
                self._cut_when_all_have_answered(topic_id)
                return

    def _note_size(self, partition_id: int, size_bytes: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is None:
            return
        topic_id = partition.topic.topic_id
        asked = self._asked.get(topic_id, set())
        if partition_id in asked:  # else in answer to the round before
            asked.discard(partition_id)
            self._sizes.setdefault(topic_id, {})[partition_id] = size_bytes
            self._cut_when_all_have_answered(topic_id)

    def _cut_when_all_have_answered(self, topic_id: str) -> None:
        sizes = self._sizes.get(topic_id)
        if self._asked[topic_id] or not sizes:
            return
        partition = self._catalog.machine.partition_by_id(next(iter(sizes)))
        if partition is None:
            return
        config = TopicConfig.from_mapping(self._catalog.machine.effective_config(partition.topic))
        cap_bytes = config.topic_cap_bytes
        level = None if cap_bytes < 0 else level_bytes(sizes.values(), cap_bytes)
        if level is not None:
            for partition_id, size_bytes in sizes.items():
                owner = self._owners.running(partition_id)
                if owner is not None and size_bytes > level:
                    self._owners.send(owner, ApplyRetention(wall_ms(), level))

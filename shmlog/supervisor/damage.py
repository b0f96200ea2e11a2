"""Damage that recoveries found: what nobody has said to have seen is told to whoever asks, and with every start."""

from __future__ import annotations

import logging
import os

from shmlog.control.messages import DamageDescription, OwnerReady
from shmlog.log import damage
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners

log = logging.getLogger(__name__)


class DamageWatch(OwnerWatcher):
    """Knows which log directories have notes of damage, so that nobody has to look into all of them."""

    def __init__(self, identity: ClusterIdentity, catalog: Catalog, owners: Owners) -> None:
        self._identity = identity
        self._catalog = catalog
        self._directories: dict[str, tuple[str, int]] = {}
        for path in identity.directories.present_paths():
            self.look_into(path)
        self._told: set[str] = set()
        owners.watchers.append(self)

    def look_into(self, log_dir: str) -> None:
        """Find the notes in a log directory."""
        self._directories |= {directory: (topic, number) for topic, number, directory, _ in damage.find(log_dir)}

    def owner_ready(self, ready: OwnerReady) -> None:
        if ready.damaged:
            self.segments_looked_at(ready.partition_id)

    def segments_looked_at(self, partition_id: int) -> None:
        partition = self._catalog.machine.partition_by_id(partition_id)
        if partition is not None and damage.read(directory := self._identity.directories.log_directory(partition)):
            self._directories[directory] = (partition.topic.name, partition.partition)
            self.tell()

    def tell(self) -> None:
        """Say in the log what was not said yet."""
        for found in self.describe():
            if found.message not in self._told:
                self._told.add(found.message)
                log.error("%s", found.message)

    def describe(self) -> list[DamageDescription]:
        """What is unseen now, in order; it is read from the directories, where people remove it."""
        return [
            DamageDescription(
                topic=topic,
                partition=partition,
                first_offset=one.first_offset,
                end_offset=one.end_offset,
                dropped_bytes=one.dropped_bytes,
                kept=[os.path.join(directory, name) for name in one.kept],
                message=damage.sentence(topic, partition, directory, one),
            )
            for (topic, partition), directory in sorted((place, path) for path, place in self._directories.items())
            for one in damage.read(directory)
        ]

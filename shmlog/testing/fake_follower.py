"""A follower that copies nothing: its replica region says what a test wants it to say."""

from __future__ import annotations

import contextlib

from shmlog.errors import CorruptRecordError
from shmlog.memory import layout
from shmlog.memory.bell import open_bell
from shmlog.memory.replica_region import ReplicaRegion


class FakeFollower:
    """Makes the replica region of a partition's follower, in the place of one that was there."""

    def __init__(self, tag: str, replica_id: int, *, partition_id: int = 1) -> None:
        self._tag = tag
        self._partition_id = partition_id
        self.region = ReplicaRegion.create(tag, partition_id, replica_id, mode=0o600)

    def follow(self, leader_epoch: int, offset: int = 0, *, synced: int = 0) -> None:
        """Begin with this leader, with so much of its log."""
        self.region.follow(leader_epoch, offset, synced)
        self._ring()

    def has(self, offset: int) -> None:
        """Have the log up to here in the file, and ring the leader."""
        self.region.store_written(offset)
        self._ring()

    def has_synced(self, offset: int) -> None:
        """Have it on the disk, and ring the leader."""
        self.region.store_synced(offset)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(FileNotFoundError, CorruptRecordError):  # not made yet, or only half
            bell = open_bell(self._tag, self._partition_id)
            bell.ring()
            bell.close()

    def sleep(self) -> None:
        """Ask to be rung."""
        self.region.mapping.write(layout.BELL_SLEEPING, (1).to_bytes(4, "little"))

    @property
    def rings(self) -> int:
        """How often it was rung."""
        return int.from_bytes(self.region.mapping.read(layout.BELL_DOORBELL, 4), "little")

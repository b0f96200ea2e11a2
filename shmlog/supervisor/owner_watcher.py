"""What parts of the supervisor hear of owners: they override what they want to know."""

from __future__ import annotations

from shmlog.control.messages import (
    ClientAttached,
    LaneAttached,
    LaneDetached,
    LogSize,
    OwnerReady,
    RecordsDeleted,
    ReplicaCaughtUp,
    ReplicaLags,
)

OwnerReport = LaneAttached | LaneDetached | ClientAttached | ReplicaCaughtUp | ReplicaLags | LogSize | RecordsDeleted


class OwnerWatcher:
    """Who wants to know what becomes of owners overrides what it wants to know."""

    def owner_opened(self, ready: OwnerReady) -> None:
        """An owner has its partition, if only to close it."""

    def owner_ready(self, ready: OwnerReady) -> None:
        """An owner runs and takes orders."""

    def owner_failed(self, partition_id: int, error: str, message: str) -> None:
        """An owner said why it is about to exit, or START_ATTEMPTS_MAX in a row died without a word."""

    def owner_reported(self, partition_id: int, report: OwnerReport) -> None:
        """An owner answered an order, or said something of a follower."""

    def segments_looked_at(self, partition_id: int) -> None:
        """An owner found something in its older segments; if that is damage, there is a note of it in its directory."""

    def log_failed(self, partition_id: int) -> None:
        """No owner gets on with the leader's log."""

    def log_refused(self, partition_id: int, message: str) -> None:
        """The leader's disk has had no room for a while; the owner lives and waits for some."""

    def owner_vacant(self, partition_id: int) -> None:
        """The owner that was to make room for another leader is gone."""

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        """A partition has no owner any more and wants none. `clean`: nothing of it is in shared memory only."""

"""Whether enough replicas of a partition are in sync, by Kafka's rule for min.insync.replicas.

A partition cannot have more replicas in sync than it has, so a larger min.insync.replicas means all of them. While
fewer are, the high watermark stands still, so that whatever was acknowledged to acks=all, or shown to a consumer, is in
that many logs (Kafka: KIP-966). Those count that are in sync by what is durable: of one that the leader alone counts
nobody would know after its death.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InSyncCount:
    """How many replicas are in sync, the leader among them, and how many are needed."""

    in_sync: int
    needed: int

    @classmethod
    def of(cls, replicas: int, in_sync: int, min_insync_replicas: int) -> InSyncCount:
        """Of a partition with `replicas` replicas, where the setting says `min_insync_replicas`."""
        return cls(in_sync, min(min_insync_replicas, replicas))

    @property
    def is_short(self) -> bool:
        """Kafka: UnderMinIsr."""
        return self.in_sync < self.needed

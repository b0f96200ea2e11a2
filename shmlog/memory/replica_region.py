"""The replica region: one per follower, in which it shows its leader how far its copy of the log goes.

The follower makes it, anew each time it starts, and writes it alone; its leader maps it to ring the doorbell when there
is more to copy, and to read the two offsets, which the high watermark waits for (native/log_end).
"""

from __future__ import annotations

import os

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.memory import layout, names, region
from shmlog.memory.layout import ReplicaState
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping

CLOCK_SLACK_NS = 1_000_000_000  # a heart may beat after somebody has looked at the clock


class ReplicaRegion:
    """A mapped replica region. The follower has it from create(), everybody else from open().

    The offsets are about the log of the leader with `leader_epoch`: what was copied from an earlier one may have to be
    cut, so a leader believes them only once the epoch is its own. All zeros say nothing that is wrong of any log.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.doorbell: Doorbell | None = Doorbell(mapping) if mapping.writable else None

    @classmethod
    def create(
        cls, tag: str, partition_id: int, replica_id: int, *, mode: int, group: int | None = None
    ) -> ReplicaRegion:
        """Make and map the region of a follower that starts, in the place of its predecessor's; state STARTING.

        Raises ShmBudgetExceededError.
        """
        name = names.replica(tag, partition_id, replica_id)
        region.unlink(name)
        region.create(name, layout.REPLICA_SIZE, mode=mode, group=group)
        mapping = region.open_region(name, writable=True)
        mapping.store(layout.REPLICA_PID, os.getpid())
        layout.RegionHeader(layout.KIND_REPLICA, bytes(16), partition_id, layout.boot_id()).store(mapping)
        return cls(mapping)

    @classmethod
    def open(cls, name: str, partition_id: int, *, writable: bool = False) -> ReplicaRegion:
        """Map it, `writable` to ring it. Raises FileNotFoundError, ForeignVersionError or CorruptRecordError."""
        mapping = region.open_region(name, writable=writable)
        header = layout.RegionHeader.load(mapping, layout.KIND_REPLICA, name)
        if header.number != partition_id or mapping.size_bytes != layout.REPLICA_SIZE:
            raise CorruptRecordError(f"region {name} is of partition {header.number} and {mapping.size_bytes} bytes")
        return cls(mapping)

    # --- what the follower writes -------------------------------------------------------------------------------------

    def follow(self, leader_epoch: int, written_offset: int, synced_offset: int) -> None:
        """From now on the offsets are about the log of the leader with this epoch: its batches are all there up to
        `written_offset`, whatever differed has been cut."""
        self.mapping.store(layout.REPLICA_WRITTEN_OFFSET, written_offset)
        self.mapping.store(layout.REPLICA_SYNCED_OFFSET, synced_offset)
        # SYNC POINT replica-epoch: pairs with replica-progress. Who sees the epoch sees no offset from before it.
        self.mapping.store(layout.REPLICA_EPOCH, leader_epoch)

    def store_written(self, offset: int) -> None:
        """All batches below `offset` are in the follower's file. Ring the leader's bell after it."""
        # SYNC POINT replica-written: after the bytes. A leader that counts it shows the records to consumers.
        self.mapping.store(layout.REPLICA_WRITTEN_OFFSET, offset)

    def store_synced(self, offset: int) -> None:
        """All batches below `offset` are on the follower's disk. Ring the leader's bell after it."""
        self.mapping.store(layout.REPLICA_SYNCED_OFFSET, offset)

    def store_state(self, state: ReplicaState) -> None:
        self.mapping.store(layout.REPLICA_STATE, state)

    def beat(self, now_ns: int) -> None:
        """The follower has looked around now, on the monotonic clock."""
        self.mapping.store(layout.REPLICA_HEARTBEAT_NS, now_ns)

    # --- what everybody reads -----------------------------------------------------------------------------------------

    def fault(self, pid: int, now_ns: int) -> str:
        """Why nothing in it can be believed, in a sentence; "" if it may be. `pid` is its follower's."""
        try:
            layout.RegionHeader.load(self.mapping, layout.KIND_REPLICA, "its replica region")
        except (CorruptRecordError, ForeignVersionError) as error:
            return str(error)
        state, heartbeat_ns = self.mapping.load(layout.REPLICA_STATE), self.heartbeat_ns
        if self.pid != pid:
            return f"its replica region says that it is process {self.pid}"
        if state not in set(ReplicaState):
            return f"its replica region says that it is in state {state}, which there is not"
        if heartbeat_ns > now_ns + CLOCK_SLACK_NS:
            return f"the heartbeat in its replica region is {(heartbeat_ns - now_ns) / 1e9:.0f} s ahead of the clock"
        return ""

    @property
    def state(self) -> ReplicaState:
        return ReplicaState(self.mapping.load(layout.REPLICA_STATE))

    @property
    def leader_epoch(self) -> int:
        return self.mapping.load(layout.REPLICA_EPOCH)

    @property
    def pid(self) -> int:
        return self.mapping.load(layout.REPLICA_PID)

    @property
    def heartbeat_ns(self) -> int:
        """When the follower last looked around, on the monotonic clock."""
        return self.mapping.load(layout.REPLICA_HEARTBEAT_NS)

    @property
    def written_offset(self) -> int:
        """Records below this are in the follower's file."""
        return self.mapping.load(layout.REPLICA_WRITTEN_OFFSET)

    @property
    def synced_offset(self) -> int:
        """Records below this are on the follower's disk."""
        return self.mapping.load(layout.REPLICA_SYNCED_OFFSET)

    def close(self) -> None:
        self.mapping.close()

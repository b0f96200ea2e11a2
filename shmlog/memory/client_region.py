"""The client region: one per client process, with its doorbell and a slot for each partition that it reads."""

from __future__ import annotations

import struct
from time import monotonic_ns

from shmlog.errors import ShmBudgetExceededError
from shmlog.memory import layout, region
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.native.trace import SampleWriter

_SLOT = struct.Struct("<QQ")


def create_client_region(name: str, *, client_id: int, mode: int, group: int | None = None) -> None:
    """Make a client region of layout.CLIENT_SIZE bytes."""
    region.create(name, layout.CLIENT_SIZE, mode=mode, group=group)
    mapping = region.open_region(name, writable=True)
    layout.RegionHeader(layout.KIND_CLIENT, bytes(16), client_id, layout.boot_id()).store(mapping)
    mapping.close()


class Slot:
    """A consumer's cursor on one partition, for others to see how far it is. The consumer's process writes it."""

    __slots__ = ("_at", "_mapping", "_partition_id", "_trace")

    def __init__(self, mapping: Mapping, at: int, partition_id: int, trace: SampleWriter) -> None:
        self._mapping = mapping
        self._at = at
        self._partition_id = partition_id
        self._trace = trace

    def store_position(self, offset: int) -> None:
        """Publish the next offset that the consumer will read."""
        self._mapping.store(self._at + 8, offset)

    def note_read(self, stride: int, first: int, end: int) -> None:
        """The consumer got the records from `first` up to, not including, `end`: note when, if a traced one is there.

        A sample of a client is (partition id, first offset, end, nanoseconds of the monotonic clock).
        """
        if (end - 1) // stride * stride >= first:
            self._trace.put(self._partition_id, first, end, monotonic_ns())

    def release(self) -> None:
        """Give the slot back."""
        self._mapping.store(self._at, 0)


class ClientRegion:
    """A client region, mapped: its own process writes slots, owners ring `doorbell`, others read positions()."""

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.doorbell: Doorbell | None = Doorbell(mapping) if mapping.writable else None
        self._trace: SampleWriter | None = None

    @classmethod
    def open(cls, name: str, *, writable: bool = True) -> ClientRegion:
        mapping = region.open_region(name, writable=writable)
        layout.RegionHeader.load(mapping, layout.KIND_CLIENT, name)
        return cls(mapping)

    def claim_slot(self, partition_id: int) -> Slot:
        """A free slot for `partition_id`; the client's own process only."""
        for number in range(layout.CLIENT_SLOT_COUNT):
            at = layout.CLIENT_SLOTS + number * layout.CLIENT_SLOT_BYTES
            if self.mapping.load(at) == 0:
                self.mapping.store(at + 8, 0)
                self.mapping.store(at, partition_id + 1)
                if self._trace is None:
                    self._trace = SampleWriter(self.mapping, layout.CLIENT_TRACE)
                return Slot(self.mapping, at, partition_id, self._trace)
        raise ShmBudgetExceededError(
            f"this client already reads {layout.CLIENT_SLOT_COUNT} partitions; connect a second time for more"
        )

    def positions(self) -> list[tuple[int, int]]:
        """(partition id, next offset) of every partition that this client reads."""
        table = self.mapping.read(layout.CLIENT_SLOTS, layout.CLIENT_SLOT_COUNT * layout.CLIENT_SLOT_BYTES)
        found = []
        for at in range(0, len(table), layout.CLIENT_SLOT_BYTES):
            partition_plus_one, offset = _SLOT.unpack_from(table, at)
            if partition_plus_one:
                found.append((partition_plus_one - 1, offset))
        return found

    def close(self) -> None:
        self.mapping.close()

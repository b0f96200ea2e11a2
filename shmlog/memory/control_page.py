"""The ctl region of a partition: everything its owner lets others see, and a successor needs."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass

from shmlog.errors import CorruptRecordError
from shmlog.memory import layout, names, region
from shmlog.memory.lane import LaneTerms
from shmlog.memory.layout import OwnerState
from shmlog.native.mapping import Mapping

_TEXT_LENGTH = struct.Struct("<H")
_LANE_ID = struct.Struct("<Q")
_TERMS = struct.Struct("<QqqQQii")  # LaneTerms, in the order of its fields
_SLOT = struct.Struct(f"<Q48s{layout.CTL_LANE_SLOT_BYTES - _LANE_ID.size - _TERMS.size}x")
assert _SLOT.size == layout.CTL_LANE_SLOT_BYTES

DISK_REFUSED = "the disk of "
"""How the error text of an owner begins that takes no records for want of room on its disk."""


@dataclass(frozen=True, slots=True)
class LaneSlot:
    """One used slot of the lane table."""

    slot: int
    lane_id: int
    terms: LaneTerms


class ControlPage:
    """A mapped ctl region. Readers open it read-only; the owner has the only writable mapping."""

    def __init__(self, mapping: Mapping, header: layout.RegionHeader) -> None:
        self.mapping = mapping
        self.header = header

    @classmethod
    def create(cls, tag: str, partition_id: int, topic_uuid: bytes, *, mode: int, group: int | None) -> ControlPage:
        """Make and map a new ctl region (owner only); its state is STARTING, everything else zero."""
        name = names.control_page(tag, partition_id)
        region.create(name, layout.CTL_SIZE, mode=mode, group=group)
        mapping = region.open_region(name, writable=True)
        header = layout.RegionHeader(layout.KIND_CTL, topic_uuid, partition_id, layout.boot_id())
        header.store(mapping)
        return cls(mapping, header)

    @classmethod
    def open(cls, tag: str, partition_id: int, *, writable: bool = False) -> ControlPage:
        """Map an existing ctl region. FileNotFoundError, ForeignVersionError or CorruptRecordError."""
        name = names.control_page(tag, partition_id)
        mapping = region.open_region(name, writable=writable)
        header = layout.RegionHeader.load(mapping, layout.KIND_CTL, name)
        if header.number != partition_id or mapping.size_bytes != layout.CTL_SIZE:
            raise CorruptRecordError(f"region {name} is of partition {header.number} and {mapping.size_bytes} bytes")
        return cls(mapping, header)

    @property
    def state(self) -> OwnerState:
        return OwnerState(self.mapping.load(layout.CTL_STATE))

    @property
    def leader_epoch(self) -> int:
        return self.mapping.load(layout.CTL_EPOCH)

    @property
    def disk_refusal(self) -> str:
        """The owner's error text if a disk without room is what it says; else ""."""
        return self.error_text if self.error_text.startswith(DISK_REFUSED) else ""

    @property
    def leader_replica(self) -> int:
        """Whose log the page speaks of: a replica id, or layout.NO_REPLICA while one takes over from another."""
        return self.mapping.load(layout.CTL_LEADER_REPLICA)

    @property
    def pid(self) -> int:
        return self.mapping.load(layout.CTL_PID)

    @property
    def generation(self) -> int:
        """Which ring is current; 0 until the first is ready."""
        return self.mapping.load(layout.CTL_RING_GENERATION)

    @property
    def ring_bytes(self) -> int:
        return self.mapping.load(layout.CTL_RING_CAPACITY)

    @property
    def index_entries(self) -> int:
        return self.mapping.load(layout.CTL_INDEX_ENTRIES)

    @property
    def max_batch_bytes(self) -> int:
        return self.mapping.load(layout.CTL_MAX_BATCH)

    @property
    def high_watermark(self) -> int:
        """The offset after the last record that consumers may see."""
        return self.mapping.load(layout.CTL_HW_OFFSET)

    @property
    def log_end_offset(self) -> int:
        """The offset that the next record will get."""
        return self.mapping.load(layout.CTL_TAIL_OFFSET)

    @property
    def written_offset(self) -> int:
        """Records below this are in the segment file, safe from the death of any process."""
        return self.mapping.load(layout.CTL_WRITTEN_OFFSET)

    @property
    def synced_offset(self) -> int:
        """Records below this are on the disk, safe from power loss."""
        return self.mapping.load(layout.CTL_SYNCED_OFFSET)

    @property
    def log_start_offset(self) -> int:
        return self.mapping.load(layout.CTL_LOG_START_OFFSET)

    @property
    def trace_stride(self) -> int:
        """Records with offsets that are multiples of it are traced; 0: none."""
        return self.mapping.load(layout.CTL_TRACE_STRIDE)

    @property
    def heartbeat_ns(self) -> int:
        """When the owner last looked around, on the monotonic clock."""
        return self.mapping.load(layout.CTL_HEARTBEAT_NS)

    @property
    def in_sync(self) -> int:
        """How many replicas are in sync, by what its owner knows to be durable; 0: it has not said so."""
        return self.mapping.load(layout.CTL_IN_SYNC)

    @property
    def in_sync_needed(self) -> int:
        """How many min.insync.replicas asks for; with fewer in sync the high watermark stands still."""
        return self.mapping.load(layout.CTL_IN_SYNC_NEEDED)

    def store_in_sync(self, in_sync: int, needed: int) -> None:
        """Owner only. A reader may see the one number before the other."""
        self.mapping.store(layout.CTL_IN_SYNC, in_sync)
        self.mapping.store(layout.CTL_IN_SYNC_NEEDED, needed)

    @property
    def error_text(self) -> str:
        """Why the partition does not run, or what its disk refuses; empty when all is well."""
        raw = self.mapping.read(layout.CTL_ERROR_TEXT, layout.CTL_ERROR_TEXT_BYTES)
        (length,) = _TEXT_LENGTH.unpack_from(raw)
        return raw[2 : 2 + min(length, len(raw) - 2)].decode(errors="replace")

    def store_error_text(self, text: str) -> None:
        """Owner only."""
        encoded = text.encode()[: layout.CTL_ERROR_TEXT_BYTES - 2]
        self.mapping.write(layout.CTL_ERROR_TEXT, _TEXT_LENGTH.pack(len(encoded)) + encoded)

    def counters(self) -> dict[str, int]:
        """What the owner has counted since the region was made, by name (layout.COUNTERS)."""
        return {name: self.mapping.load(layout.CTL_COUNTERS + 8 * k) for k, name in enumerate(layout.COUNTERS)}

    def lanes(self) -> list[LaneSlot]:
        """The lane table: every lane that is attached, and what it was granted for."""
        table = self.mapping.read(layout.CTL_LANES, layout.CTL_LANE_SLOTS * layout.CTL_LANE_SLOT_BYTES)
        return [
            LaneSlot(slot, lane_id, LaneTerms(*_TERMS.unpack(terms)))
            for slot, (lane_id, terms) in enumerate(_SLOT.iter_unpack(table))
            if lane_id
        ]

    def store_terms(self, slot: int, terms: LaneTerms) -> None:
        """Owner only, while the slot is free: the lane's id, which attaching stores last, makes it a used one."""
        at = layout.CTL_LANES + slot * layout.CTL_LANE_SLOT_BYTES + _LANE_ID.size
        self.mapping.write(at, _TERMS.pack(*astuple(terms)))

    def free_slot(self, slot: int) -> None:
        """Owner only: the lane in it is not attached any more."""
        self.mapping.store(layout.CTL_LANES + slot * layout.CTL_LANE_SLOT_BYTES, 0)

    def close(self) -> None:
        self.mapping.close()

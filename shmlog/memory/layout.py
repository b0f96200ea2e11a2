"""Where everything lies in shared memory. `native/layout.h` holds the same numbers for the core; a test compares them.

All cells are little-endian and naturally aligned, u64 unless noted; each group with one writer has its own 128 bytes.

    ctl (one per partition; the owner writes)          lane (one per producer and partition)
    0x0000 header: magic .. crc                        0x0000 header
    0x0100 ring: generation, capacity, entries, ..     0x0100 open word         producer CAS, owner closes
    0x0180 owner: state, epoch, pid, heartbeat         0x0180 head              owner
    0x0200 intent                                      0x0200 state, error      owner
    0x0280 tail (offset, pos)                          0x0280 free, linger      producer
    0x0300 written (offset, pos)                       0x1000 data, mapped twice back to back
    0x0380 synced (offset, pos)
    0x0400 high watermark (offset, pos), tracing       client (one per client process)
    0x0480 log start                                   0x0000 header
    0x0500 last stable (offset, pos)                   0x0100 doorbell, 0x0180 sleeping
    0x0580 segment: turn, 2 x (base offset, base pos), 0x1000 slots of 64 bytes
           whether a sync failed, the one that runs,   (client_slot.py; commit cells since 1.4)
           whose files these are (since 1.2)           0x11000 samples of 64 bytes: when was read
    0x0600 reserved: lease, share groups
    0x0680 in sync: how many replicas, how many are
           needed (since 1.3)
    0x0800 counters                                    bell (one per partition): as the client's doorbell
    0x0C00 error text                                  idx (one per partition): entries of 64 bytes
    0x1000 lane table: 1024 x (lane id, its terms)     ring (one per partition): batches, mapped twice
    0x11000 two images of the producer state           replica (one per follower; since 1.1)
    0x53000 samples of 64 bytes: where time went        0x0000 header
                                                        0x0100 doorbell, 0x0180 sleeping
                                                        0x0200 state, epoch, pid, heartbeat
                                                        0x0280 written offset
                                                        0x0300 synced offset

Version 1 is frozen: a cell keeps its place and its meaning as long as LAYOUT_MAJOR stays. LAYOUT_MINOR grows with what
is added in reserved space, where zero means that nobody wrote it, so versions of one major read each other's regions.
What an older version must not overlook sets a bit of its own among the incompatible features: whoever does not know it
(KNOWN_FEATURES) refuses the region.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.native.mapping import Mapping

LAYOUT_MAJOR = 1
LAYOUT_MINOR = 4
KNOWN_FEATURES = 0

CTL_RING_GENERATION = 0x100
CTL_RING_CAPACITY = 0x108
CTL_INDEX_ENTRIES = 0x110
CTL_MAX_BATCH = 0x118
CTL_BASE_OFFSET = 0x120
CTL_BASE_POS = 0x128
CTL_STATE = 0x180
CTL_EPOCH = 0x188
CTL_PID = 0x190
CTL_START_TIME = 0x198
CTL_HEARTBEAT_NS = 0x1A0
CTL_INTENT_POS = 0x200
CTL_TAIL_OFFSET = 0x280
CTL_TAIL_POS = 0x288
CTL_WRITTEN_OFFSET = 0x300
CTL_WRITTEN_POS = 0x308
CTL_SYNCED_OFFSET = 0x380
CTL_SYNCED_POS = 0x388
CTL_HW_OFFSET = 0x400
CTL_HW_POS = 0x408
CTL_TRACE_STRIDE = 0x410
CTL_TRACE_UNTIL_NS = 0x418
CTL_TRACE_INTERVAL_NS = 0x420
CTL_LOG_START_OFFSET = 0x480
CTL_LSO_OFFSET = 0x500
CTL_LSO_POS = 0x508
CTL_SEGMENT_TURN = 0x580
CTL_SEGMENT_SLOTS = 0x588
CTL_SYNC_FAILED = 0x5A8
CTL_SYNC_RUNNING = 0x5B0
CTL_LEADER_REPLICA = 0x5B8
CTL_LEASE = 0x600
CTL_IN_SYNC = 0x680
CTL_IN_SYNC_NEEDED = 0x688
CTL_SHARE_GROUPS = 0x780
CTL_COUNTERS = 0x800
CTL_ERROR_TEXT = 0xC00
CTL_ERROR_TEXT_BYTES = 512
CTL_LANES = 0x1000
CTL_LANE_SLOTS = 1024
CTL_LANE_SLOT_BYTES = 64
CTL_IMAGES = 0x11000
CTL_IMAGE_BYTES = 0x21000
CTL_IMAGE_PRODUCERS = 1024
CTL_TRACE = 0x53000
CTL_SIZE = 0x55000

COUNTERS = (
    "batches",
    "records",
    "bytes",
    "groups",
    "writes",
    "syncs",
    "wakes",
    "sleeps",
    "rejected",
    "duplicates",
    "rolls",
    "write_errors",
    "rewrites",
)
COUNTER_COUNT = 16

IDX_ENTRY_BYTES = 64
IDX_SEQ = 0
IDX_POS_END = 8
IDX_BASE_OFFSET = 16
IDX_LENGTH = 24
IDX_COUNT = 28
IDX_LANE = 32
IDX_LANE_GENERATION = 36
IDX_LANE_POS_END = 40
IDX_LANE_POS = 48
IDX_APPEND_NS = 56

BELL_SIZE = 0x1000
BELL_DOORBELL = 0x100
BELL_SLEEPING = 0x180

TRACE_ENTRIES = 128
TRACE_ENTRY_BYTES = 64
TRACE_SEQ = 0
TRACE_WORDS = 8

CLIENT_SLOTS = 0x1000
CLIENT_SLOT_COUNT = 1024
CLIENT_SLOT_BYTES = 64
CLIENT_TRACE = 0x11000
CLIENT_SIZE = 0x13000

SLOT_PARTITION = 0
SLOT_POSITION = 8
SLOT_TOKEN = 16
SLOT_COMMITS = 24
SLOT_PAIRS = 32
SLOT_PAIR_BYTES = 16
SLOT_MEMBER = (1 << 64) - 1
"""In place of a partition: the slot is about a member of a group, its position the time of its last poll."""

REPLICA_STATE = 0x200
REPLICA_EPOCH = 0x208
REPLICA_PID = 0x210
REPLICA_HEARTBEAT_NS = 0x218
REPLICA_WRITTEN_OFFSET = 0x280
REPLICA_SYNCED_OFFSET = 0x300
REPLICA_SIZE = 0x1000

LANE_OPEN = 0x100
LANE_HEAD = 0x180
LANE_STATE = 0x200
LANE_ERROR = 0x208
LANE_FREE = 0x280
LANE_LINGER_US = 0x288
LANE_DATA = 0x1000

FRAME_BYTES = 64
FRAME_LENGTH = 0
FRAME_COUNT = 4
FRAME_BASE_TIMESTAMP = 8
FRAME_MAX_TIMESTAMP = 16
FRAME_BASE_SEQUENCE = 32
FRAME_KIND = 36
FRAME_ATTRIBUTES = 38
FRAME_STATUS = 40
FRAME_ERROR = 44
FRAME_BASE_OFFSET = 48
FRAME_APPEND_MS = 56
FRAME_BEGUN_NS = 56
FRAME_STATUS_PENDING = 0
FRAME_STATUS_APPENDED = 1
FRAME_STATUS_DUPLICATE = 2
FRAME_STATUS_REJECTED = 3


class OwnerState(IntEnum):
    """What the owner of a partition is doing; the `state` cell of its ctl region."""

    STARTING = 0
    RECOVERING = 1
    RUN = 2
    CLOSING = 3
    CLOSED = 4
    OFFLINE = 5
    REPLACED = 6
    DELETED = 7


NO_REPLICA = (1 << 64) - 1
"""In the ctl region's leader replica: a takeover has begun and not ended, so positions in segments are nobody's."""


class SyncFailed(IntEnum):
    """Whether a sync of the log failed and was not made good yet; a cell of the ctl region."""

    NO = 0
    NOTED = 1
    """The directory says it, too; when it does not any more, somebody gave up what was lost."""
    NOT_NOTED = 2
    """The disk did not even take the note."""


class SyncRunning(IntEnum):
    """Which sync of the log has begun and has neither returned nor failed; a cell of the ctl region."""

    NO = 0
    RECORDS = 1
    """Of the logs of segments, and of the indexes of those that are not active any more."""
    CLOSE = 2
    """The last one, which vouches for the active segment's indexes, too."""


class ReplicaState(IntEnum):
    """What a follower is doing; the `state` cell of its replica region."""

    STARTING = 0
    FOLLOWING = 1
    CLOSED = 2
    OFFLINE = 3
    """It cannot go on. The supervisor has been told why."""


class LaneState(IntEnum):
    OPEN = 0
    CLOSING = 1
    CLOSED = 2
    STOPPED = 3
    QUARANTINED = 4


_HEADER = struct.Struct("<8s I I I I Q Q 16s 16s Q Q")  # .. layout hash, header's own id; crc32 follows
_HEADER_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _HEADER_CRC.size


@cache
def layout_hash() -> int:
    """A number that changes when any offset or size of this module changes."""
    names = sorted(name for name in globals() if name.isupper() and isinstance(globals()[name], int))
    text = ",".join(f"{name}={globals()[name]}" for name in names)
    return zlib.crc32(text.encode()) | (len(names) << 32)


@cache
def boot_id() -> bytes:
    """16 bytes that change at every boot of this machine."""
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))


@dataclass(frozen=True, slots=True)
class RegionHeader:
    """The first bytes of every region: what it is, of which version, whose, and from which boot.

    `kind` is eight characters; `owner_uuid` the topic's id or zeros; `number` the partition, lane or client id.
    """

    kind: bytes
    owner_uuid: bytes
    number: int
    boot_id: bytes

    def store(self, mapping: Mapping) -> None:
        """Write the header; its magic last, so that a half-made region never looks whole."""
        body = _HEADER.pack(
            self.kind,
            LAYOUT_MAJOR,
            LAYOUT_MINOR,
            HEADER_BYTES,
            0,
            0,
            0,
            self.owner_uuid,
            self.boot_id,
            layout_hash(),
            self.number,
        )
        mapping.write(8, body[8:] + _HEADER_CRC.pack(zlib.crc32(body)))
        mapping.store(0, int.from_bytes(self.kind, "little"))

    @classmethod
    def load(cls, mapping: Mapping, kind: bytes, name: str) -> RegionHeader:
        """Read and validate the header of a region that must be of `kind`.

        Raises ForeignVersionError for a region of another major version, with a feature that this one does not know,
        or of another build of the same version; CorruptRecordError for anything else that is wrong.
        """
        if mapping.size_bytes < HEADER_BYTES:
            raise CorruptRecordError(f"region {name} has only {mapping.size_bytes} bytes")
        body = mapping.read(0, _HEADER.size)
        found, major, minor, _, _, incompatible, _, uuid, boot, layout, number = _HEADER.unpack(body)
        if found != kind:
            raise CorruptRecordError(f"region {name} is not a {kind.decode()} region: it begins with {found!r}")
        if major != LAYOUT_MAJOR or incompatible & ~KNOWN_FEATURES:
            raise ForeignVersionError(
                f"region {name} has layout {major}.{minor} (feature bits {incompatible:#x}), this shmlog reads"
                f" {LAYOUT_MAJOR}.x (feature bits {KNOWN_FEATURES:#x}):"
                " run the same shmlog version in the daemon and in its clients"
            )
        (crc,) = _HEADER_CRC.unpack(mapping.read(_HEADER.size, _HEADER_CRC.size))
        if crc != zlib.crc32(body):
            raise CorruptRecordError(f"the header of region {name} is damaged (checksum {crc:#010x})")
        if minor == LAYOUT_MINOR and layout != layout_hash():
            raise ForeignVersionError(
                f"region {name} has layout {major}.{minor} with hash {layout:#x}, this shmlog has"
                f" {LAYOUT_MAJOR}.{LAYOUT_MINOR} with hash {layout_hash():#x}: run the same build on both sides"
            )
        return cls(kind, uuid, number, boot)


KIND_CTL = b"SHMLGCTL"
KIND_BELL = b"SHMLGBEL"
KIND_LANE = b"SHMLGLAN"
KIND_CLIENT = b"SHMLGCLI"
KIND_REPLICA = b"SHMLGREP"

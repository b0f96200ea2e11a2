"""What a consumer could have seen, or a producer been told, when somebody was killed: it is kept whatever is left.

`hw <= written` (shared-memory design, sections 3 and 8) says more than that two numbers are in order: below the high
watermark every byte that is in the ring is in the files already, so that it outlives the ring, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shmlog.errors import CorruptRecordError
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import OsStorage
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.partition.survey import read_entries
from shmlog.record.header import BatchHeader
from tests.crash.points.invariants import sound_batches
from tests.crash.points.roles import OwnerRole
from tests.crash.points.world import PARTITION_ID, World


@dataclass(frozen=True)
class Promise:
    """`end`: the offset below which records were visible; `batches`: those of them in the ring, by base offset."""

    end: int
    batches: dict[int, bytes]


def promise_of(world: World) -> Promise | None:
    """As a client finds it in shared memory before anybody recovers; None without a partition that clients can open."""
    try:
        page = ControlPage.open(world.tag, PARTITION_ID)
    except (FileNotFoundError, CorruptRecordError):
        return None
    try:
        return Promise(page.high_watermark, _visible_batches(world.tag, page)) if page.generation else None
    finally:
        page.close()


def _visible_batches(tag: str, page: ControlPage) -> dict[int, bytes]:
    """What a reader at each batch accepts: it ends at the watermark at the latest, and nobody may be overwriting it."""
    ring = region.open_region(names.ring(tag, PARTITION_ID, page.generation), doubled_from=0)
    index = region.open_region(names.index(tag, PARTITION_ID, page.generation))
    try:
        intent, watermark = page.mapping.load(layout.CTL_INTENT_POS), page.mapping.load(layout.CTL_HW_POS)
        return {
            entry.base_offset: ring.read(entry.pos % ring.size_bytes, entry.length)
            for entry in read_entries(index.read(0, index.size_bytes))
            if entry.pos_end <= watermark and intent - entry.pos <= ring.size_bytes
        }
    finally:
        index.close()
        ring.close()


def check_kept_in_files(world: World, promise: Promise) -> None:
    """The files alone have all of it, byte for byte, except what retention has deleted, or compaction may have."""
    bases = list_base_offsets(OsStorage(), str(world.directory))
    there: dict[int, bytes] = {}
    end = bases[-1] if bases else 0
    for base in bases:
        path = Path(segment_path(str(world.directory), base, LOG_SUFFIX))
        data = path.read_bytes()
        for row in sound_batches(str(path)):
            there[row.header.base_offset] = data[row.position : row.position + row.header.size_bytes]
            end = row.header.next_offset
    assert promise.end <= end, f"records below {promise.end} were visible, but the files end at {end}"
    for base_offset, batch in promise.batches.items():
        if not world.removable.isdisjoint(range(base_offset, BatchHeader.parse(batch).next_offset)):
            continue
        assert base_offset < bases[0] or there.get(base_offset) == batch, (
            f"the visible batch at {base_offset} is not in the files as it was in the ring"
        )


def check_kept(world: World, rig: OwnerRole, promise: Promise) -> None:
    """A successor shows at least as much, and the same."""
    check_kept_in_files(world, promise)
    assert promise.end <= rig.control.high_watermark, (
        f"records below {promise.end} were visible, now only those below {rig.control.high_watermark}"
    )

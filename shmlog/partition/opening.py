"""How an owner comes to its partition: over the surviving ring of a dead predecessor, or from the segments alone.

Warm: the ctl, ring and idx regions of this boot are there. Nothing is scanned: the index chain gives the end of the
log, frame results and lane heads are completed, what was not written yet is written again at the same place.
Cold: a first start, a start after a clean stop, or after a reboot. The log is recovered from its segments, and a new
ring generation begins behind it. Clients that still have an older ring attach again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.control.messages import OwnerSpec
from shmlog.errors import CorruptRecordError, ForeignVersionError, ShmlogError
from shmlog.limits import RING_BATCHES_MIN
from shmlog.log.checkpoint import read_high_watermark
from shmlog.log.failed_sync import InterruptedSync, read_failed_sync
from shmlog.log.partition_log import PartitionLog
from shmlog.log.progress import Progress
from shmlog.log.recovery import WarmStart
from shmlog.log.storage import OsStorage
from shmlog.memory import bell, layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState, SyncFailed, SyncRunning
from shmlog.native.doorbell import Doorbell
from shmlog.native.mapping import Mapping
from shmlog.native.packer import BatchPacker
from shmlog.native.producer_table import ProducerTable
from shmlog.native.publish import Publisher
from shmlog.partition.producer_snapshot import restore_producers
from shmlog.partition.ring_memory import RingMemory
from shmlog.partition.survey import RingEnd, find_end, offset_at, read_entries
from shmlog.record.compression import compressor, topic_compression
from shmlog.settings import TopicConfig


@dataclass(slots=True)
class OpenPartition:
    """A partition in its owner's hands, ready to run. `end`: what a dead predecessor left; None after a cold start."""

    control: ControlPage
    bell: Doorbell
    publisher: Publisher
    log: PartitionLog
    storage: OsStorage
    config: TopicConfig
    end: RingEnd | None
    recovered: str


def open_partition(spec: OwnerSpec, progress: Progress | None = None) -> OpenPartition:
    """Take the partition over. The caller knows that no other owner lives.

    `progress` is told of every step on the disk until the caller takes it out of the result's `storage`.
    """
    config = TopicConfig.from_mapping(spec.config)
    storage = _storage(spec)
    storage.progress = progress
    control = _surviving_control_page(spec)
    if control is not None and _ring_survives(spec, control) and not _was_given_up(spec, control, storage):
        opened = _open_warm(spec, config, control, storage)
    else:
        opened = _open_cold(spec, config, control, storage)
    with _offline_if_it_fails(opened.control):
        opened.publisher.compress_all(*topic_compression(config))
    return opened


def _surviving_control_page(spec: OwnerSpec) -> ControlPage | None:
    try:
        control = ControlPage.open(spec.cid8, spec.partition_id, writable=True)
    except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
        return None
    if control.header.boot_id == layout.boot_id() and control.header.owner_uuid == _uuid_of(spec):
        return control
    control.close()
    return None


def _ring_survives(spec: OwnerSpec, control: ControlPage) -> bool:
    generation = control.generation
    return (
        generation != 0
        and control.state not in (OwnerState.CLOSED, OwnerState.REPLACED, OwnerState.DELETED)
        and region.exists(names.ring(spec.cid8, spec.partition_id, generation))
        and region.exists(names.index(spec.cid8, spec.partition_id, generation))
    )


def _was_given_up(spec: OwnerSpec, control: ControlPage, storage: OsStorage) -> bool:
    """Whether a sync failed, could not be made good, and somebody has removed the note about it since."""
    if control.mapping.load(layout.CTL_SYNC_FAILED) != SyncFailed.NOTED:
        return False
    with _offline_if_it_fails(control):
        return not _is_noted(spec, storage)


def _is_noted(spec: OwnerSpec, storage: OsStorage) -> bool:
    """Whether the note about a failed sync is there. Raises OSError if the disk does not say: that is not a no."""
    return read_failed_sync(storage, spec.log_dir) is not None


@contextlib.contextmanager
def _offline_if_it_fails(control: ControlPage) -> Iterator[None]:
    """For steps before the partition runs: an error is said in the ctl region, what is in the ring stays readable."""
    try:
        yield
    except (OSError, ShmlogError) as error:
        control.store_error_text(str(error))
        control.mapping.store(layout.CTL_STATE, OwnerState.OFFLINE)
        raise


def _uuid_of(spec: OwnerSpec) -> bytes:
    return spec.topic_id.encode()[:16].ljust(16, b"\0")


def _storage(spec: OwnerSpec) -> OsStorage:
    """Files are as accessible as the cluster's shared memory: who may attach may read cold."""
    return OsStorage(file_mode=spec.shm_mode, group=spec.shm_group)


# --- warm -------------------------------------------------------------------------------------------------------------


def _open_warm(spec: OwnerSpec, config: TopicConfig, control: ControlPage, storage: OsStorage) -> OpenPartition:
    page = control.mapping
    page.store(layout.CTL_STATE, OwnerState.RECOVERING)
    _stamp_owner(page, spec)
    ring = region.open_region(
        names.ring(spec.cid8, spec.partition_id, control.generation), writable=True, doubled_from=0
    )
    index = region.open_region(names.index(spec.cid8, spec.partition_id, control.generation), writable=True)
    tail_pos, written_pos = page.load(layout.CTL_TAIL_POS), page.load(layout.CTL_WRITTEN_POS)
    end = find_end(
        read_entries(index.read(0, index.size_bytes)),
        tail_pos,
        page.load(layout.CTL_BASE_OFFSET),
        page.load(layout.CTL_BASE_POS),
    )
    # SYNC POINT takeover-stale: pairs with seek-limit and the next find_end.
    for cell in end.stale_cells:  # before RUN: an entry of a group that never was must not look valid to the next one
        index.store(cell * layout.IDX_ENTRY_BYTES + layout.IDX_SEQ, 0)
    store_ring(page, ring, index, control.generation)  # sizes of the ring that never came into force may stand there
    _drop_rings(spec, keep=control.generation)
    page.store(layout.CTL_TAIL_OFFSET, end.next_offset)  # SYNC POINT takeover-offset: from the index, see tail
    page.store(layout.CTL_WRITTEN_OFFSET, offset_at(end, written_pos, tail_pos))
    slot = layout.CTL_SEGMENT_SLOTS + 16 * (page.load(layout.CTL_SEGMENT_TURN) & 1)
    segment_base_offset, segment_base_pos = page.load(slot), page.load(slot + 8)
    with _offline_if_it_fails(control):
        noted = _is_noted(spec, storage)
    if noted:
        page.store(layout.CTL_SYNC_FAILED, SyncFailed.NOTED)
    elif page.load(layout.CTL_SYNC_RUNNING) == SyncRunning.CLOSE:
        page.store(layout.CTL_SYNC_FAILED, SyncFailed.NOT_NOTED)  # who knows: and then all of its files are in doubt
    start = WarmStart(
        segment_base_offset,
        written_pos - segment_base_pos,
        RingMemory.of_mapping(page, ring),
        page.load(layout.CTL_SYNC_FAILED) == SyncFailed.NOT_NOTED,
        _interrupted_sync(page, segment_base_pos),
        end.next_offset,
    )
    with _offline_if_it_fails(control):
        log = PartitionLog.open(spec.log_dir, config, topic_id=spec.topic_id, storage=storage, warm_from=start)
        log.assign_epoch(spec.leader_epoch, end.next_offset)
    page.store(layout.CTL_SYNC_FAILED, SyncFailed.NO)  # before the note goes: see _was_given_up
    page.store(layout.CTL_SYNC_RUNNING, SyncRunning.NO)  # and not before all of it was written again
    log.forget_failed_sync()
    producers = ProducerTable()
    for lane in control.lanes():  # before anything is forgotten to make room
        producers.hold(lane.terms.producer_id)
    publisher = _publisher(spec, config, page, ring, index, log, producers, end)
    image_pos = producers.restore_image(page)
    if image_pos is None or tail_pos - image_pos > ring.size_bytes:
        raise CorruptRecordError(f"{spec.topic}-{spec.partition} has no image of its producers in the control page")
    producers.replay(publisher.ring_bytes_between(image_pos, tail_pos))
    publisher.store_image()
    unwritten = tail_pos - written_pos
    recovered = f"took over at offset {end.next_offset}, {unwritten} bytes still to write" + (
        f"; {log.recovered}" if log.recovered else ""
    )
    return OpenPartition(control, _bell(spec), publisher, log, storage, config, end, recovered)


def _interrupted_sync(page: Mapping, segment_base_pos: int) -> InterruptedSync | None:
    """What is in doubt when the owner before died in a sync; None when it did not."""
    if page.load(layout.CTL_SYNC_RUNNING) == SyncRunning.NO:
        return None
    return InterruptedSync(
        page.load(layout.CTL_SYNCED_OFFSET),
        page.load(layout.CTL_SYNCED_POS) - segment_base_pos,
        page.load(layout.CTL_HW_OFFSET),
    )


def _bell(spec: OwnerSpec) -> Doorbell:
    """The predecessor's if there is one: whoever has it mapped still rings us."""
    return bell.ensure_bell(spec.cid8, spec.partition_id, mode=spec.shm_mode, group=spec.shm_group)


def _publisher(
    spec: OwnerSpec,
    config: TopicConfig,
    page: Mapping,
    ring: Mapping,
    index: Mapping,
    log: PartitionLog,
    producers: ProducerTable,
    end: RingEnd,
) -> Publisher:
    return Publisher(
        page,
        ring,
        index,
        log.active,
        producers,
        BatchPacker(compressor),
        leader_epoch=spec.leader_epoch,
        next_offset=end.next_offset,
        next_seq=end.next_seq,
        segment_bytes=config.segment_bytes,
    )


def _stamp_owner(page: Mapping, spec: OwnerSpec) -> None:
    page.store(layout.CTL_EPOCH, spec.leader_epoch)
    page.store(layout.CTL_PID, os.getpid())


# --- cold -------------------------------------------------------------------------------------------------------------


def _open_cold(spec: OwnerSpec, config: TopicConfig, before: ControlPage | None, storage: OsStorage) -> OpenPartition:
    log = PartitionLog.open(spec.log_dir, config, topic_id=spec.topic_id, storage=storage)
    if before is not None:  # not earlier: while the log cannot be opened, the ring is all there is
        before.mapping.store(layout.CTL_STATE, OwnerState.REPLACED)
        before.close()
    log.assign_epoch(spec.leader_epoch)
    log.sync(log.log_end_offset)
    region.unlink(names.control_page(spec.cid8, spec.partition_id))
    if spec.leftovers:
        _drop_rings(spec, keep=None)
    control = ControlPage.create(spec.cid8, spec.partition_id, _uuid_of(spec), mode=spec.shm_mode, group=spec.shm_group)
    generation = spec.leader_epoch + 1
    page = control.mapping
    base_pos, end_offset = log.active.size_bytes, log.log_end_offset
    ring, index = make_ring(spec, config.ring_bytes_at_first, generation)
    for offset_cell, pos_cell in (
        (layout.CTL_TAIL_OFFSET, layout.CTL_TAIL_POS),
        (layout.CTL_WRITTEN_OFFSET, layout.CTL_WRITTEN_POS),
        (layout.CTL_SYNCED_OFFSET, layout.CTL_SYNCED_POS),
        (layout.CTL_HW_OFFSET, layout.CTL_HW_POS),
        (layout.CTL_LSO_OFFSET, layout.CTL_LSO_POS),
    ):
        page.store(offset_cell, end_offset)
        page.store(pos_cell, base_pos)
    if any(follower.in_sync for follower in spec.followers):
        # Until they say what they have, all that is known is what they had. Positions of before this ring are nobody's.
        known = max(log.log_start_offset, min(end_offset, read_high_watermark(storage, spec.log_dir)))
        page.store(layout.CTL_HW_OFFSET, known)
        page.store(layout.CTL_LSO_OFFSET, known)
    page.store(layout.CTL_INTENT_POS, base_pos)
    page.store(layout.CTL_LOG_START_OFFSET, log.log_start_offset)
    page.store(layout.CTL_SEGMENT_SLOTS, log.active_base_offset)
    page.store(layout.CTL_SEGMENT_SLOTS + 8, 0)
    page.store(layout.CTL_BASE_OFFSET, end_offset)
    page.store(layout.CTL_BASE_POS, base_pos)
    _stamp_owner(page, spec)
    producers = ProducerTable()
    restore_producers(log, producers)
    publisher = _publisher(spec, config, page, ring, index, log, producers, RingEnd(end_offset, 0, [], []))
    publisher.store_image()
    store_ring(page, ring, index, generation)
    return OpenPartition(control, _bell(spec), publisher, log, storage, config, None, log.recovered)


def _drop_rings(spec: OwnerSpec, *, keep: int | None) -> None:
    """Remove all ring generations but one: what a dead owner was going to use, or did not get to remove."""
    prefixes = tuple(name(spec.cid8, spec.partition_id, 0)[:-1] for name in (names.ring, names.index))
    for name in region.list_names():  # not sizes: after a crash every owner of many looks here
        if name.startswith(prefixes) and not name.endswith(f".{keep}"):
            region.unlink(name)


def make_ring(spec: OwnerSpec, ring_bytes: int, generation: int) -> tuple[Mapping, Mapping]:
    """Make and map the ring and the index of a generation."""
    ring_bytes = region.page_align(ring_bytes)
    entries = region.index_entries(ring_bytes)
    ring_name = names.ring(spec.cid8, spec.partition_id, generation)
    index_name = names.index(spec.cid8, spec.partition_id, generation)
    region.create(ring_name, ring_bytes, mode=spec.shm_mode, group=spec.shm_group)
    try:
        region.create(index_name, entries * layout.IDX_ENTRY_BYTES, mode=spec.shm_mode, group=spec.shm_group)
    except BaseException:
        region.unlink(ring_name)
        raise
    return (
        region.open_region(ring_name, writable=True, doubled_from=0),
        region.open_region(index_name, writable=True),
    )


def store_ring(page: Mapping, ring: Mapping, index: Mapping, generation: int) -> None:
    """Announce a ring; its generation last, so that who sees it sees the rest."""
    page.store(layout.CTL_RING_CAPACITY, ring.size_bytes)
    page.store(layout.CTL_INDEX_ENTRIES, index.size_bytes // layout.IDX_ENTRY_BYTES)
    page.store(layout.CTL_MAX_BATCH, ring.size_bytes // RING_BATCHES_MIN)
    page.store(layout.CTL_RING_GENERATION, generation)  # SYNC POINT generation: pairs with generation-attach, -check

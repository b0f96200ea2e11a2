"""How an owner comes to its partition: over the surviving ring of a dead predecessor, or from the segments alone.

Warm: the ctl, ring and idx regions of this boot are there, and the log is the predecessor's own (partition/takeover is
for another replica's). Nothing is scanned: the index chain gives the end of the log, frame results and lane heads are
completed, what was not written yet is written again at the same place.
Cold: a first start, a start after a clean stop, or after a reboot. The log is recovered from its segments, and a new
ring generation begins behind it. Clients that still have an older ring attach again.
"""

from __future__ import annotations

from shmlog.control.messages import OwnerSpec
from shmlog.errors import CorruptRecordError, ForeignVersionError, StorageError
from shmlog.log.checkpoint import read_high_watermark
from shmlog.log.failed_sync import InterruptedSync, read_failed_sync
from shmlog.log.partition_log import PartitionLog
from shmlog.log.presence import has_log
from shmlog.log.progress import Progress
from shmlog.log.recovery import WarmStart
from shmlog.log.storage import OsStorage
from shmlog.machines.in_sync_count import InSyncCount
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState, SyncFailed, SyncRunning
from shmlog.native.mapping import Mapping
from shmlog.native.producer_table import ProducerTable
from shmlog.partition.opened import OpenPartition, bell_of, offline_if_it_fails, publisher_over, stamp_owner
from shmlog.partition.producer_snapshot import restore_producers
from shmlog.partition.ring_memory import RingMemory
from shmlog.partition.ring_regions import drop_rings, make_ring, store_ring
from shmlog.partition.survey import RingEnd, find_end, offset_at, read_entries
from shmlog.partition.takeover import take_over
from shmlog.record.compression import topic_compression
from shmlog.settings import TopicConfig


def open_partition(spec: OwnerSpec, progress: Progress | None = None) -> OpenPartition:
    """Take the partition over. The caller knows that no other owner lives.

    `progress` is told of every step on the disk until the caller takes it out of the result's `storage`.
    """
    config = TopicConfig.from_mapping(spec.config)
    storage = _storage(spec)
    storage.progress = progress
    control = _surviving_control_page(spec)
    survives = control is not None and _ring_survives(spec, control)
    if spec.has_begun or survives:
        with offline_if_it_fails(control):
            _require_log(spec, storage)
    if control is not None and survives and control.leader_replica != spec.replica_id:
        opened = take_over(spec, config, control, storage)
    elif control is not None and survives and not _was_given_up(spec, control, storage):
        opened = _open_warm(spec, config, control, storage)
    else:
        opened = _open_cold(spec, config, control, storage)
    with offline_if_it_fails(opened.control):
        opened.publisher.compress_all(*topic_compression(config))
    return opened


def _require_log(spec: OwnerSpec, storage: OsStorage) -> None:
    if has_log(storage, spec.log_dir):
        return
    why = "because another replica may still have it"
    if spec.replicas == 1:
        why = "while its newest records are in memory: put it back, or start the cluster again to go on without it"
    raise StorageError(
        f"the log of {spec.topic}-{spec.partition} is gone from {spec.log_dir}: somebody has removed it, or its disk is"
        f" not mounted there; no empty one is begun in its place, {why}"
    )


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
    with offline_if_it_fails(control):
        return not _is_noted(spec, storage)


def _is_noted(spec: OwnerSpec, storage: OsStorage) -> bool:
    """Whether the note about a failed sync is there. Raises OSError if the disk does not say: that is not a no."""
    return read_failed_sync(storage, spec.log_dir) is not None


def _uuid_of(spec: OwnerSpec) -> bytes:
    return spec.topic_id.encode()[:16].ljust(16, b"\0")


def _storage(spec: OwnerSpec) -> OsStorage:
    """Files are as accessible as the cluster's shared memory: who may attach may read cold."""
    return OsStorage(file_mode=spec.shm_mode, group=spec.shm_group)


# --- warm -------------------------------------------------------------------------------------------------------------


def _open_warm(spec: OwnerSpec, config: TopicConfig, control: ControlPage, storage: OsStorage) -> OpenPartition:
    page = control.mapping
    page.store(layout.CTL_STATE, OwnerState.RECOVERING)
    stamp_owner(page, spec)
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
    drop_rings(spec, keep=control.generation)
    page.store(layout.CTL_TAIL_OFFSET, end.next_offset)  # SYNC POINT takeover-offset: from the index, see tail
    page.store(layout.CTL_WRITTEN_OFFSET, offset_at(end, written_pos, tail_pos))
    slot = layout.CTL_SEGMENT_SLOTS + 16 * (page.load(layout.CTL_SEGMENT_TURN) & 1)
    segment_base_offset, segment_base_pos = page.load(slot), page.load(slot + 8)
    with offline_if_it_fails(control):
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
    with offline_if_it_fails(control):
        log = PartitionLog.open(spec.log_dir, config, topic_id=spec.topic_id, storage=storage, warm_from=start)
        log.assign_epoch(spec.leader_epoch, end.next_offset)
    page.store(layout.CTL_LOG_START_OFFSET, max(page.load(layout.CTL_LOG_START_OFFSET), log.log_start_offset))
    page.store(layout.CTL_SYNC_FAILED, SyncFailed.NO)  # before the note goes: see _was_given_up
    page.store(layout.CTL_SYNC_RUNNING, SyncRunning.NO)  # and not before all of it was written again
    log.forget_failed_sync()
    producers = ProducerTable()
    for lane in control.lanes():  # before anything is forgotten to make room
        producers.hold(lane.terms.producer_id)
    publisher = publisher_over(spec, config, page, ring, index, log, producers, end)
    image_pos = producers.restore_image(page)
    if image_pos is None or tail_pos - image_pos > ring.size_bytes:
        raise CorruptRecordError(f"{spec.topic}-{spec.partition} has no image of its producers in the control page")
    producers.replay(publisher.ring_bytes_between(image_pos, tail_pos))
    publisher.store_image()
    unwritten = tail_pos - written_pos
    recovered = f"took over at offset {end.next_offset}, {unwritten} bytes still to write" + (
        f"; {log.recovered}" if log.recovered else ""
    )
    return OpenPartition(control, bell_of(spec), publisher, log, storage, config, end, recovered)


def _interrupted_sync(page: Mapping, segment_base_pos: int) -> InterruptedSync | None:
    """What is in doubt when the owner before died in a sync; None when it did not."""
    if page.load(layout.CTL_SYNC_RUNNING) == SyncRunning.NO:
        return None
    return InterruptedSync(
        page.load(layout.CTL_SYNCED_OFFSET),
        page.load(layout.CTL_SYNCED_POS) - segment_base_pos,
        page.load(layout.CTL_HW_OFFSET),
    )


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
        drop_rings(spec, keep=None)
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
    in_sync = 1 + sum(follower.in_sync for follower in spec.followers)
    if in_sync > 1 or InSyncCount.of(spec.replicas, in_sync, config.min_insync_replicas).is_short:
        # Until they say what they have, all that is known is what they had. Positions of before this ring are nobody's.
        known = max(log.log_start_offset, min(end_offset, read_high_watermark(storage, spec.log_dir)))
        page.store(layout.CTL_HW_OFFSET, known)
        page.store(layout.CTL_LSO_OFFSET, known)
    page.store(layout.CTL_LEADER_REPLICA, spec.replica_id)
    page.store(layout.CTL_INTENT_POS, base_pos)
    page.store(layout.CTL_LOG_START_OFFSET, log.log_start_offset)
    page.store(layout.CTL_SEGMENT_SLOTS, log.active_base_offset)
    page.store(layout.CTL_SEGMENT_SLOTS + 8, 0)
    page.store(layout.CTL_BASE_OFFSET, end_offset)
    page.store(layout.CTL_BASE_POS, base_pos)
    stamp_owner(page, spec)
    producers = ProducerTable()
    restore_producers(log, producers)
    publisher = publisher_over(spec, config, page, ring, index, log, producers, RingEnd(end_offset, 0, [], []))
    publisher.store_image()
    store_ring(page, ring, index, generation)
    return OpenPartition(control, bell_of(spec), publisher, log, storage, config, None, log.recovered)

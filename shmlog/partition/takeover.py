"""One replica takes over from another: its own copy of the log becomes the partition's.

The dead leader's ring is the newest there is. What it has behind the end of the copy is taken over, batch by batch, as
long as it is sound and follows; then the copy ends where the ring does, and the ring goes on as after any other death:
nobody attaches again, no producer notices, and nothing that was published is lost, whatever was acknowledged.

Where something is missing (the ring was spoiled; the copy lagged behind what the ring still has; the two had parted
before), the log goes on at the end of the copy with an empty ring of a new generation. What was published behind that
is lost with the old leader, but for what its producers still keep: their lanes go back to the first batch that is lost,
and are taken once more. Of a copy that was in sync, nothing of that was acknowledged by all (acks=all).

Killed at any point, this is done again: the ctl region says NO_REPLICA from before the first change to its positions
until all are those of this copy, and a half moved lane is moved the same way again.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from shmlog.control.messages import OwnerSpec
from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.log.checkpoint import read_recovery_point
from shmlog.log.failed_sync import FailedSync, note_failed_sync
from shmlog.log.recovery import WarmStart
from shmlog.log.segment import list_base_offsets, log_file_bytes
from shmlog.log.storage import OsStorage
from shmlog.memory import layout, names, region
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import open_lane
from shmlog.memory.layout import OwnerState, ReplicaState, SyncFailed, SyncRunning
from shmlog.memory.replica_region import ReplicaRegion
from shmlog.native.mapping import Mapping
from shmlog.native.scan import check_batches
from shmlog.partition.lane_alignment import align_lane, batches_known
from shmlog.partition.leader_log import Piece
from shmlog.partition.opened import OpenPartition, bell_of, offline_if_it_fails, publisher_over, stamp_owner
from shmlog.partition.replica_log import NO_EPOCH, ReplicaLog
from shmlog.partition.ring_memory import ring_bytes_of
from shmlog.partition.ring_regions import drop_rings, make_ring, store_ring
from shmlog.partition.survey import IndexEntry, RingEnd, find_end, read_entries
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig

TAKE_BYTES = 1 << 20
NOWHERE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class _Ring:
    """What the dead leader left. `batches`: entries of those that are still in it, the newest last."""

    mapping: Mapping
    index: Mapping
    end: RingEnd
    batches: list[IndexEntry]

    def read(self, first: IndexEntry, last: IndexEntry) -> bytes:
        return ring_bytes_of(self.mapping, first.pos, last.pos_end)


def take_over(spec: OwnerSpec, config: TopicConfig, control: ControlPage, storage: OsStorage) -> OpenPartition:
    """Go on with the copy in `spec.log_dir` over the ring of a leader whose log was another replica's."""
    page, before = control.mapping, control.leader_replica
    followed = control.leader_epoch if before != layout.NO_REPLICA else NO_EPOCH  # that of a takeover that was killed
    page.store(layout.CTL_STATE, OwnerState.RECOVERING)
    stamp_owner(page, spec)
    with offline_if_it_fails(control):
        ring = _survey(spec, control)
        if before == layout.NO_REPLICA:
            _note_doubtful_sync(spec, page, storage)
        copy, epoch = _open_copy(spec, config, storage, control)
        has_followed = followed != NO_EPOCH and followed in (epoch, copy.epoch)
        said = _take_rest(copy, ring, control, _agree(copy, ring, control, has_followed))
        agreed = copy.end_offset if not said else _agree(copy, ring, control, has_followed).offset
        page.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)
        copy.log.assign_epoch(spec.leader_epoch)
        if copy.log.active.size_bytes > page.load(layout.CTL_TAIL_POS):  # positions of its segment begin behind zero
            copy.log.roll(copy.end_offset)
    end = RingEnd(copy.end_offset, ring.end.next_seq, ring.end.published, [])
    mapping, index = ring.mapping, ring.index
    again = 0
    if said or before == layout.NO_REPLICA:  # else all lanes say is so, but for what the owner completes: see LaneDesk
        again = _align_lanes(spec, control, copy, agreed)
    if said:
        said = _told(spec, before, copy.end_offset, max(0, ring.end.next_offset - agreed), again, said)
        mapping, index = _begin_ring(spec, config, control, copy.end_offset)
        end = RingEnd(copy.end_offset, 0, [one for one in ring.end.published if one.base_offset < agreed], [])
    _store_positions(page, copy)
    publisher = publisher_over(spec, config, page, mapping, index, copy.log, copy.producers, end)
    for image in range(2):  # of the leader before; ours would be an earlier turn than that
        page.store(layout.CTL_IMAGES + image * layout.CTL_IMAGE_BYTES, 0)
    publisher.store_image()
    page.store(layout.CTL_LEADER_REPLICA, spec.replica_id)  # from here on, the next owner of this log starts warm
    page.store(layout.CTL_SYNC_FAILED, SyncFailed.NO)  # of the other replica's files: see _note_doubtful_sync
    page.store(layout.CTL_SYNC_RUNNING, SyncRunning.NO)
    drop_rings(spec, keep=control.generation)
    recovered = f"took over from replica {before} at offset {copy.end_offset}" if before != layout.NO_REPLICA else ""
    notes = [note for note in (recovered or "went on with a takeover", said, copy.log.recovered) if note]
    return OpenPartition(control, bell_of(spec), publisher, copy.log, storage, config, end, "; ".join(notes))


def _survey(spec: OwnerSpec, control: ControlPage) -> _Ring:
    page, generation = control.mapping, control.generation
    mapping = region.open_region(names.ring(spec.cid8, spec.partition_id, generation), writable=True, doubled_from=0)
    index = region.open_region(names.index(spec.cid8, spec.partition_id, generation), writable=True)
    end = find_end(
        read_entries(index.read(0, index.size_bytes), index.size_bytes // layout.IDX_ENTRY_BYTES),
        page.load(layout.CTL_TAIL_POS),
        page.load(layout.CTL_BASE_OFFSET),
        page.load(layout.CTL_BASE_POS),
    )
    for cell in end.stale_cells:  # as a warm start does: see opening
        index.store(cell * layout.IDX_ENTRY_BYTES + layout.IDX_SEQ, 0)
    store_ring(page, mapping, index, generation)
    drop_rings(spec, keep=generation)  # one that never came into force, of a leader that was killed as it made it
    # Behind `intent - size` a leader that was killed while it published may have written something else.
    oldest = page.load(layout.CTL_INTENT_POS) - mapping.size_bytes
    return _Ring(mapping, index, end, [entry for entry in end.published if entry.pos >= oldest])


def _note_doubtful_sync(spec: OwnerSpec, page: Mapping, storage: OsStorage) -> None:
    """A takeover was killed, so this may be the log whose sync failed, or was never heard of again: nobody says so
    any more, and it is made good as if it were.
    """
    if page.load(layout.CTL_SYNC_FAILED) == SyncFailed.NOT_NOTED or page.load(layout.CTL_SYNC_RUNNING):
        reason = "a takeover was killed that knew whose"
        note_failed_sync(storage, spec.log_dir, FailedSync(read_recovery_point(storage, spec.log_dir), 0, reason))


# --- the copy ---------------------------------------------------------------------------------------------------------


def _open_copy(
    spec: OwnerSpec, config: TopicConfig, storage: OsStorage, control: ControlPage
) -> tuple[ReplicaLog, int]:
    """Believed as it is where the follower has closed it for us; otherwise checked from its recovery point on.

    And the epoch of the leader that its follower had agreed with last, as far as that is known; else NO_EPOCH.
    """
    name = names.replica(spec.cid8, spec.partition_id, spec.replica_id)
    held = [lane.terms.producer_id for lane in control.lanes()]
    epoch, end_offset = _last_said(spec, name)
    warm = _last_segment(spec, storage) if end_offset is not None else None
    copy = None
    if warm is not None:
        with contextlib.suppress(CorruptRecordError):  # not what was handed over: it has grown since
            copy = ReplicaLog(spec.log_dir, config, spec.topic_id, storage, warm_from=warm, held=held)
        if copy is not None and copy.end_offset != end_offset:
            copy.close(clean=False)
            copy = None
    if copy is None:
        copy = ReplicaLog(spec.log_dir, config, spec.topic_id, storage, held=held)
    region.unlink(name)  # before this log grows: it would not be true any more
    return copy, epoch


def _last_said(spec: OwnerSpec, name: str) -> tuple[int, int | None]:
    """By the follower's region: whose log the copy is a beginning of, and where it ends if it was closed for us."""
    try:
        replica = ReplicaRegion.open(name, spec.partition_id)
    except (FileNotFoundError, CorruptRecordError, ForeignVersionError):
        return NO_EPOCH, None
    try:
        is_closed = replica.mapping.load(layout.REPLICA_STATE) == ReplicaState.CLOSED
        epoch = replica.leader_epoch or NO_EPOCH  # of the first epoch, which is 0, its checkpoint knows
        return epoch, replica.written_offset if is_closed else None
    finally:
        replica.close()


def _last_segment(spec: OwnerSpec, storage: OsStorage) -> WarmStart | None:
    bases = list_base_offsets(storage, spec.log_dir)
    return WarmStart(bases[-1], log_file_bytes(storage, spec.log_dir, bases[-1])) if bases else None


def _take_rest(copy: ReplicaLog, ring: _Ring, control: ControlPage, agreement: _Agreement) -> str:
    """Append what the ring has behind the copy's end. Returns why that was not all, in a sentence; "" if it was."""
    offset, end_offset = copy.end_offset, ring.end.next_offset
    rest = [entry for entry in ring.batches if entry.base_offset >= offset]
    if offset > end_offset:
        return f"it has offsets up to {offset - 1}, and the ring ends at {end_offset}"
    if not agreement.is_shown or agreement.offset < offset:
        return f"it ends at offset {offset}, and the ring has nothing that shows that both have the same before that"
    begin = rest[0].base_offset if rest else end_offset
    if begin > offset:
        return f"it ends at offset {offset}, and the ring begins at {begin}"
    bases = _segment_bases(control)
    while rest:
        chunk = _first_chunk(rest, bases)
        base_offset = max([copy.log.active_base_offset, *(base for base in bases if base <= chunk[0].base_offset)])
        batches = ring.read(chunk[0], chunk[-1])
        valid_bytes, end, _, problem = check_batches(batches, copy.end_offset)
        copy.take(Piece(base_offset, batches[:valid_bytes]))
        if valid_bytes < len(batches):
            return f"the batch at offset {end} is not sound in the ring: {problem or 'it ends before its length says'}"
        rest = rest[len(chunk) :]
    newest = max(bases)
    if newest == copy.end_offset > copy.log.active_base_offset:
        copy.take(Piece(newest, b""))
    return ""


def _segment_bases(control: ControlPage) -> list[int]:
    """Where the leader began its last two segments: the copy begins its own there, too."""
    page = control.mapping
    used = 2 if page.load(layout.CTL_SEGMENT_TURN) else 1
    return [page.load(layout.CTL_SEGMENT_SLOTS + 16 * slot) for slot in range(used)]


def _first_chunk(rest: Sequence[IndexEntry], bases: Sequence[int]) -> list[IndexEntry]:
    """The first batches of one segment, some of them."""
    chunk: list[IndexEntry] = []
    for entry in rest:
        if chunk and (entry.base_offset in bases or entry.pos_end - chunk[0].pos > TAKE_BYTES):
            break
        chunk.append(entry)
    return chunk


@dataclass(frozen=True, slots=True)
class _Agreement:
    """Up to where copy and ring are one log. Without anything that shows it, where all replicas in sync were so."""

    offset: int
    is_shown: bool = True


def _agree(copy: ReplicaLog, ring: _Ring, control: ControlPage, has_followed: bool) -> _Agreement:
    """The same batch in both, and so the same before it: an epoch has one leader, so a batch of an epoch at an offset
    has but one history.

    Where no batch is in both, the copy ends in front of the ring, or the two have parted. `has_followed`: the copy is
    known to be a beginning of the log of the ring's leader. A copy that was not in sync may be another one, and end
    where that leader began a ring.
    """
    entries = [entry for entry in ring.batches if entry.next_offset <= copy.end_offset]
    if entries and _has_same(copy, ring, entries[-1]):
        return _Agreement(entries[-1].next_offset)
    same = bisect.bisect_left(entries, True, key=lambda entry: not _has_same(copy, ring, entry))
    if same:
        return _Agreement(entries[same - 1].next_offset)
    first = ring.batches[0].base_offset if ring.batches else ring.end.next_offset
    if has_followed or copy.end_offset == copy.log.log_start_offset:
        return _Agreement(min(first, copy.end_offset))
    return _Agreement(min(first, copy.end_offset, control.high_watermark), is_shown=False)


def _has_same(copy: ReplicaLog, ring: _Ring, entry: IndexEntry) -> bool:
    if entry.base_offset < copy.log.log_start_offset:
        return False
    mine = next(islice(copy.log.headers(entry.base_offset), 1), None)
    theirs = BatchHeader.parse(ring.read(entry, entry))
    if entry.next_offset <= copy.dense_from_offset:  # compacted here: below a watermark, so all in-sync replicas had it
        return mine is None or mine.base_offset > entry.base_offset or mine.leader_epoch == theirs.leader_epoch
    facts = (theirs.base_offset, theirs.leader_epoch, theirs.crc)
    return mine is not None and (mine.base_offset, mine.leader_epoch, mine.crc) == facts


# --- the ctl region ---------------------------------------------------------------------------------------------------


def _store_positions(page: Mapping, copy: ReplicaLog) -> None:
    """All of the log is in the copy's files. How much of it is on the disk is known of older segments at most.

    A watermark that is behind its end goes back to it: else it would confirm what comes there next.
    """
    log, tail_pos = copy.log, page.load(layout.CTL_TAIL_POS)
    segment_pos = tail_pos - log.active.size_bytes
    turn = page.load(layout.CTL_SEGMENT_TURN)
    slot = layout.CTL_SEGMENT_SLOTS + 16 * (turn & 1)
    if (page.load(slot), page.load(slot + 8)) != (log.active_base_offset, segment_pos):
        slot = layout.CTL_SEGMENT_SLOTS + 16 * ((turn + 1) & 1)
        page.store(slot, log.active_base_offset)
        page.store(slot + 8, segment_pos)
        page.store(layout.CTL_SEGMENT_TURN, turn + 1)  # SYNC POINT segment-turn: as in LogKeeper.roll
    end_offset = log.log_end_offset
    for offset_cell, pos_cell in (
        (layout.CTL_HW_OFFSET, layout.CTL_HW_POS),
        (layout.CTL_LSO_OFFSET, layout.CTL_LSO_POS),
    ):
        if page.load(offset_cell) > end_offset:
            page.store(offset_cell, end_offset)
            page.store(pos_cell, tail_pos)
    page.store(layout.CTL_TAIL_OFFSET, end_offset)
    page.store(layout.CTL_SYNCED_OFFSET, min(log.recovery_point, end_offset))
    page.store(layout.CTL_SYNCED_POS, segment_pos)
    page.store(layout.CTL_WRITTEN_OFFSET, end_offset)
    page.store(layout.CTL_WRITTEN_POS, tail_pos)
    start_offset = page.load(layout.CTL_LOG_START_OFFSET)
    if log.log_start_offset <= start_offset <= end_offset:  # it has been moved on in a segment that is here
        log.sealed.begin_at(start_offset)
    else:
        page.store(layout.CTL_LOG_START_OFFSET, log.log_start_offset)
    if page.load(layout.CTL_SYNC_FAILED) == SyncFailed.NOTED:  # the other replica knows it from its directory
        page.store(layout.CTL_SYNC_FAILED, SyncFailed.NO)


def _begin_ring(spec: OwnerSpec, config: TopicConfig, control: ControlPage, end_offset: int) -> tuple[Mapping, Mapping]:
    """An empty ring behind the end of the copy; as in regeneration.grow_ring, but that the log may end earlier now.

    Positions go on where the old ring ended. The watermark moves after the generation: who reads by the new one has to
    see that the old ring, which has what is lost, is not the partition's any more. The intent stays: who reads the old
    ring goes by it, and the dead leader may have overwritten up to there.
    """
    page, generation = control.mapping, control.generation + 1
    ring, index = make_ring(spec, config.ring_bytes_at_first, generation)
    tail_pos = page.load(layout.CTL_TAIL_POS)
    if page.load(layout.CTL_BASE_POS) != tail_pos:  # else the old ring is empty: it ends where its base says
        page.store(layout.CTL_BASE_OFFSET, NOWHERE)
        page.store(layout.CTL_BASE_POS, tail_pos)
    page.store(layout.CTL_BASE_OFFSET, end_offset)
    store_ring(page, ring, index, generation)
    return ring, index


# --- what is lost -----------------------------------------------------------------------------------------------------


def _align_lanes(spec: OwnerSpec, control: ControlPage, copy: ReplicaLog, agreed: int) -> int:
    """Let the lanes speak of this log. Returns how many records of theirs are taken again."""
    shown = control.high_watermark  # whatever is below it, no lane is waiting for
    known = batches_known(copy.log.headers(max(copy.log.log_start_offset, min(shown, agreed))))
    again = 0
    for lane in control.lanes():
        try:
            mapping = open_lane(names.lane(spec.cid8, lane.lane_id), lane.terms.data_bytes)
        except (FileNotFoundError, CorruptRecordError, ForeignVersionError):  # it loses its slot in a moment: LaneDesk
            continue
        again += align_lane(mapping, lane.terms, known, agreed)
        mapping.close()
    return again


def _told(spec: OwnerSpec, before: int, end_offset: int, lost: int, again: int, why: str) -> str:
    if not lost:
        return why
    whose = f"replica {before}" if before != layout.NO_REPLICA else "the leader before"
    kept = f", of which {again} are still in their producers' lanes and are taken again" if again else ""
    return (
        f"{lost} records behind offset {end_offset} that only {whose} of {spec.topic}-{spec.partition} had are"
        f" not in this log{kept}: {why}"
    )

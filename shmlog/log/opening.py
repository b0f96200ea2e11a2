"""From a directory, whatever state it is in, to segments that can be written to."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError, InvalidRequestError, StorageError
from shmlog.log.checkpoint import (
    EpochStart,
    read_clean_shutdown,
    read_leader_epochs,
    read_recovery_point,
    read_topic_id,
    remove_clean_shutdown,
    write_leader_epochs,
    write_recovery_point,
    write_topic_id,
)
from shmlog.log.compaction_checkpoint import lower_first_dirty
from shmlog.log.damage import read as read_damage
from shmlog.log.failed_sync import (
    FailedSync,
    marker_path,
    note_failed_sync,
    read_failed_sync,
    remove_failed_sync,
)
from shmlog.log.index_repair import OpenSegment
from shmlog.log.listing import Listing, look, sweep
from shmlog.log.log_start import read_log_start
from shmlog.log.recovery import Recovered, WarmStart, recover_clean, recover_cold, recover_warm
from shmlog.log.rewrite import Rewrite, beyond
from shmlog.log.segment import SegmentFiles, log_file_bytes
from shmlog.log.snapshot import drop_snapshots_after
from shmlog.log.storage import Storage
from shmlog.log.swap import finish as finish_swap
from shmlog.log.truncation import begin_anew


@dataclass(slots=True)
class Opened:
    """What PartitionLog begins with."""

    active: OpenSegment
    base_offsets: list[int]
    without_index: frozenset[int]
    """Segments that lacked an index; those before the recovery point still do."""
    snapshot_offsets: list[int]
    recovery_point: int
    log_start_offset: int
    """What is before it was deleted; 0 where that goes by segments only."""
    leader_epochs: list[EpochStart]
    recovered: str
    rewritten: str
    """Why files were written anew; "" when nobody saw a sync fail."""
    damaged: bool
    """Whether the directory has notes of damage, of this opening or of one before."""


def open_directory(
    storage: Storage, directory: str, index_interval_bytes: int, topic_id: str, warm_from: WarmStart | None
) -> Opened:
    """See PartitionLog.open."""
    listing = _identify(storage, directory, topic_id)
    swapped = finish_swap(storage, directory)
    if swapped:
        listing = look(storage, directory)
    sweep(storage, directory, listing)
    base_offsets = listing.base_offsets
    recovery_point = read_recovery_point(storage, directory)
    failed, rewritten = read_failed_sync(storage, directory), ""
    if warm_from is not None:
        remove_clean_shutdown(storage, directory)
        if failed is None and warm_from.sync_failed:
            failed = FailedSync(recovery_point, 0, "nobody could note why")
        up_to_active = base_offsets[: bisect_right(base_offsets, warm_from.segment_base_offset)]
        rewrite = Rewrite(storage, directory, index_interval_bytes, recovery_point, warm_from.memory)
        if failed is None and warm_from.segment_base_offset in base_offsets:
            failed = _write_again(rewrite, up_to_active, warm_from)
        if failed is not None and warm_from.segment_base_offset in base_offsets:
            active = rewrite_segments(rewrite, up_to_active, warm_from.written_file_bytes, failed)
            active.files.close()
            recovery_point, rewritten = active.writer.next_offset, failed.sentence(active.writer.next_offset)
        found = recover_warm(storage, directory, base_offsets, warm_from, index_interval_bytes)
        if failed is None and warm_from.interrupted is not None:
            first = warm_from.interrupted.synced_offset
            found.notes.append(f"what was not known to be on the disk was written again, from offset {first} on")
        recovery_point = min(recovery_point, found.active.writer.next_offset)
    else:
        found, recovery_point = _recover(storage, directory, listing, recovery_point, index_interval_bytes, failed)
        if failed is not None:
            writer = found.active.writer
            found.active.files.close()
            rewrite = Rewrite(storage, directory, index_interval_bytes, recovery_point)
            found.active = rewrite_segments(rewrite, found.base_offsets, writer.size_bytes, failed)
            recovery_point, rewritten = writer.next_offset, failed.sentence(writer.next_offset)
            write_recovery_point(storage, directory, recovery_point)
            remove_failed_sync(storage, directory)
    end_offset = found.active.writer.next_offset
    lower_first_dirty(storage, directory, end_offset)
    epochs = read_leader_epochs(storage, directory)
    if warm_from is not None:
        end_offset = max(end_offset, warm_from.ring_end_offset)
    log_start_offset = read_log_start(storage, directory)
    if log_start_offset > end_offset:
        return _open_behind_deleted(storage, directory, index_interval_bytes, topic_id, log_start_offset, found)
    kept = [start for start in epochs if start.start_offset <= end_offset]
    if kept != epochs:
        write_leader_epochs(storage, directory, kept)
    snapshots = listing.snapshot_offsets
    if warm_from is None:
        snapshots = drop_snapshots_after(storage, directory, snapshots, end_offset)
    return Opened(
        found.active,
        found.base_offsets,
        listing.without_index,
        snapshots,
        recovery_point,
        log_start_offset,
        kept,
        "; ".join([*([swapped] if swapped else []), *found.notes]),
        rewritten,
        listing.has_notes_of_damage or bool(warm_from is None and found.notes and read_damage(directory)),
    )


def _open_behind_deleted(
    storage: Storage, directory: str, index_interval_bytes: int, topic_id: str, log_start_offset: int, found: Recovered
) -> Opened:
    """A power loss has taken more of the log's end than was deleted of its beginning. The epochs stay as they are."""
    found.active.files.close()
    epochs = read_leader_epochs(storage, directory)
    begin_anew(storage, directory, log_start_offset)
    write_leader_epochs(storage, directory, epochs)
    opened = open_directory(storage, directory, index_interval_bytes, topic_id, None)
    opened.recovered = "; ".join([*found.notes, f"nothing is left of what was not deleted, from {log_start_offset} on"])
    return opened


def _write_again(rewrite: Rewrite, base_offsets: list[int], warm: WarmStart) -> FailedSync | None:
    """After an owner died in a sync. If even the writing fails, that sync counts as a failed one, and is noted."""
    interrupted = warm.interrupted
    if interrupted is None:
        return None
    sealed = beyond(base_offsets, max(rewrite.recovery_point, interrupted.synced_offset))
    start = max(0, interrupted.synced_file_bytes)
    try:
        rewrite.again(sealed, base_offsets[-1], start, warm.written_file_bytes)
    except (OSError, CorruptRecordError) as error:
        reason = f"its owner died in the middle of it, and what it was to sync cannot be written once more: {error}"
        failed = FailedSync(rewrite.recovery_point, interrupted.acknowledged_offset, reason)
        note_failed_sync(rewrite.storage, rewrite.directory, failed)
        return failed
    return None


def rewrite_segments(rewrite: Rewrite, base_offsets: list[int], active_bytes: int, failed: FailedSync) -> OpenSegment:
    """Put everything that may not be on the disk into new files; the last of `base_offsets` is the active segment.

    Raises StorageError, saying what is at stake, when the disk refuses again or does not have it any more.
    """
    sealed = beyond(base_offsets, rewrite.recovery_point)
    try:
        return rewrite.segments(sealed, base_offsets[-1], active_bytes)
    except (OSError, CorruptRecordError) as error:
        raise StorageError(
            f"{rewrite.directory}: offsets from {rewrite.recovery_point} on may not be on the disk, a sync failed "
            f"({failed.reason}), and they cannot be written to new files either: {error}; every opening tries it "
            f"again: make room on the disk or replace it, or go on with what is left by removing "
            f"{marker_path(rewrite.directory)}"
        ) from error


def _recover(
    storage: Storage,
    directory: str,
    listing: Listing,
    recovery_point: int,
    index_interval_bytes: int,
    failed: FailedSync | None,
) -> tuple[Recovered, int]:
    """Open without a ring: by the marker if it fits, else by checking. Returns the recovery point that holds now."""
    base_offsets = listing.base_offsets
    marker = read_clean_shutdown(storage, directory) if failed is None else None
    remove_clean_shutdown(storage, directory)
    if marker is not None and (marker.active_base_offset, marker.active_size_bytes) == (
        base_offsets[-1],
        log_file_bytes(storage, directory, base_offsets[-1]),
    ):
        try:
            found = recover_clean(storage, directory, base_offsets, marker, index_interval_bytes)
        except CorruptRecordError:
            pass  # cleanly closed, damaged since: the checking below finds it again and says what it does about it
        else:
            if found.active.writer.next_offset == marker.end_offset:
                return found, marker.end_offset
            found.active.files.close()
    found = recover_cold(
        storage, directory, base_offsets, recovery_point, index_interval_bytes, failed, listing.without_index
    )
    end_offset = found.active.writer.next_offset
    if end_offset < recovery_point:
        found.notes.append(
            f"offsets {end_offset} to {recovery_point - 1} had reached the disk before and are not there any more"
        )
    held = min(end_offset, recovery_point if failed is not None else max(recovery_point, found.base_offsets[-1]))
    if found.notes:
        storage.fsync_dir(directory)
    if held != recovery_point:
        write_recovery_point(storage, directory, held)
    return found, held


def _identify(storage: Storage, directory: str, topic_id: str) -> Listing:
    """Create the directory with a first segment and the topic's id in it, or make sure that it is this topic's."""
    storage.mkdir(directory)
    there = read_topic_id(storage, directory)
    if there is not None and there != topic_id:
        raise InvalidRequestError(f"{directory} belongs to the topic with id {there}, not to {topic_id}")
    if there is None:
        storage.fsync_dir(os.path.dirname(directory))  # a directory with an id in it is known to last
    listing = look(storage, directory)
    if there is not None and listing.base_offsets:
        return listing
    if not listing.base_offsets:
        SegmentFiles.open(storage, directory, 0, create=True).close()
    if there is None:
        write_topic_id(storage, directory, topic_id)  # makes the names of a new segment's files durable, too
    else:
        storage.fsync_dir(directory)
    return look(storage, directory)

"""One partition on disk, as its owner holds it: appending, rolling, syncing, dropping segments, closing."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from shmlog.clock import wall_ms
from shmlog.errors import InvalidRequestError, StorageError
from shmlog.log.checkpoint import (
    CleanShutdown,
    EpochStart,
    require_next_epoch,
    write_clean_shutdown,
    write_leader_epochs,
    write_recovery_point,
)
from shmlog.log.dropped_files import DroppedFiles
from shmlog.log.failed_sync import FailedSync, note_failed_sync, remove_failed_sync
from shmlog.log.opening import Opened, open_directory, rewrite_segments
from shmlog.log.recovery import WarmStart
from shmlog.log.rewrite import Memory, Rewrite, beyond
from shmlog.log.rolling import is_full, require_next
from shmlog.log.sealed import SealedSegments
from shmlog.log.sealed_check import SealedCheck
from shmlog.log.segment import (
    LOG_SUFFIX,
    SegmentFiles,
    SegmentInfo,
    for_each_file,
    segment_path,
)
from shmlog.log.segment_facts import first_timestamp_ms
from shmlog.log.snapshot import ProducerEntry, latest_snapshot, replay, write_snapshot
from shmlog.log.storage import OsStorage, Storage
from shmlog.log.swap import CleanedSegments, swap
from shmlog.log.walk import batches_from, headers_in
from shmlog.native.segment import SegmentWriter
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig

RECOVERY_POINT_STRIDE_BYTES = 16 * 1024 * 1024
"""The recovery point is written to its file after this many synced bytes: at most so much is checked too often."""


class PartitionLog:
    """The segments of one partition. One process writes; readers use ColdReader.

    Batches reach the disk through `active`, from C or with `append`. Appending, rolling and deleting belong to one
    thread; `sync` may run in another one at the same time, and only segments that were closed before it began may then
    be deleted. A failed sync poisons the log: what the kernel could not write it may have thrown away, so trying again
    on the same file would report success for lost data. `sync` and `append` then raise StorageError until `rewrite` has
    put everything into new files; a note in the directory makes the next opening do so if this process does not get to
    it. A failed append poisons nothing, it may be repeated.
    """

    def __init__(self, directory: str, config: TopicConfig, storage: Storage, opened: Opened) -> None:
        """Use `open`."""
        self.directory = directory
        self.config = config
        self.recovered = opened.recovered
        """What opening had to repair, in sentences; "" when nothing."""
        self.rewritten = opened.rewritten
        """Why files were last written anew; "" when they were not."""
        self.damaged = opened.damaged  # whether the directory had notes of damage when it was opened
        self.on_failed_sync: Callable[[], int] = lambda: self.recovery_point
        """Called first of all when a sync has failed, in its thread; says up to where records were acknowledged."""
        self.recovery_point = opened.recovery_point
        """Every offset before this one is on the disk."""
        self.leader_epochs = opened.leader_epochs
        self.checkpoint_error: OSError | None = None
        """Why the recovery point could not be written to its file; harmless, the next opening checks more."""
        self.active = opened.active.writer
        self._storage = storage
        self._files = opened.active.files
        self.sealed = SealedSegments(
            SealedCheck(storage, directory, config.index_interval_bytes),
            opened.base_offsets,
            opened.recovery_point,
            opened.without_index,
            opened.log_start_offset,
        )
        """The other segments."""
        self._unsynced = {  # a warm start finds those that the owner before had rolled
            base_offset: SegmentFiles.open(storage, directory, base_offset, create=False)
            for base_offset in beyond(opened.base_offsets, opened.recovery_point)
        }
        self._snapshots = opened.snapshot_offsets
        self._dropped = DroppedFiles(storage)
        self._poison: FailedSync | None = None
        self.failure_is_noted = False
        """Once a sync has failed: whether the directory says so."""
        self._closed = False
        self._directory_dirty = True  # the owner before may have died between a roll and the next sync
        self._bytes_since_checkpoint = 0
        self._synced_position = 0
        self._created_ms = first_timestamp_ms(storage, self._files, self.active.size_bytes)

    @staticmethod
    def open(
        directory: str,
        config: TopicConfig,
        *,
        topic_id: str,
        storage: Storage | None = None,
        warm_from: WarmStart | None = None,
    ) -> PartitionLog:
        """Open the partition's directory for writing, creating and repairing as needed; see recovery.py for how.

        The caller has made sure that nobody else has it open for writing. With `warm_from` (a successor over a
        surviving ring) nothing is scanned. If a sync had failed, files are written anew first; after a warm start call
        `forget_failed_sync`. Raises OSError, ForeignVersionError for files of another version, InvalidRequestError if
        the directory is another topic's, CorruptRecordError if the files cannot be what the warm start says,
        StorageError naming what is lost if it cannot be written anew.
        """
        storage = storage if storage is not None else OsStorage()
        directory = os.path.abspath(directory)
        opened = open_directory(storage, directory, config.index_interval_bytes, topic_id, warm_from)
        return PartitionLog(directory, config, storage, opened)

    @property
    def log_start_offset(self) -> int:
        return self.sealed.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """One after the last record that was appended."""
        return self.active.next_offset

    @property
    def active_base_offset(self) -> int:
        return self.active.base_offset

    def append(self, batches: bytes) -> None:
        """Append whole batches that continue the log; the Python way, the owner uses `active.append_range`."""
        self._check_usable()
        self.active.append(batches)

    def segments(self) -> Iterator[SegmentInfo]:
        """All segments, oldest first; the last one is active. Files are looked at one by one as this goes on."""
        yield from self.sealed.infos()
        yield self._active_info()

    def size_bytes(self) -> int:
        """Bytes of batches in all segments."""
        return self.sealed.size_bytes() + self.active.size_bytes

    def should_roll(self, now_ms: int, incoming_bytes: int) -> bool:
        """Whether `incoming_bytes` more bytes of batches belong into a new segment: size, age, index full, offsets."""
        return is_full(self.active, self.config, now_ms - self._created_ms, incoming_bytes)

    def roll(self, next_offset: int, now_ms: int | None = None) -> SegmentWriter:
        """Begin a new segment at `next_offset`, the log's end, and return its writer, which is `active` from now on.

        The old segment gets its last time index entry; it is synced by the next `sync`, which should follow soon:
        until then its descriptors stay open and a cold start would check it. Raises OSError without having changed
        anything that matters: the old segment goes on. An empty active segment is returned as it is.
        """
        self._check_open()
        require_next(self._storage, self.directory, self.active.next_offset, next_offset)
        if self.active.size_bytes == 0:
            return self.active
        try:
            files = SegmentFiles.open(self._storage, self.directory, next_offset, create=True)
            try:
                self.active.append_final_time_index()
            except OSError:
                files.close()
                raise
        except OSError:
            # An empty newer file would hide what the old segment goes on to hold.
            for_each_file(self.directory, next_offset, self._storage.unlink)
            raise
        self._directory_dirty = True
        self._unsynced[self.active.base_offset] = self._files
        self.sealed.add(self.active.size_bytes, next_offset)
        self._created_ms = wall_ms() if now_ms is None else now_ms
        self._synced_position = 0
        self._files = files
        self.active = SegmentWriter(
            files.log_fd,
            files.index_fd,
            files.time_index_fd,
            base_offset=next_offset,
            index_interval_bytes=self.config.index_interval_bytes,
        )
        return self.active

    def reserve(self, size_bytes: int) -> None:
        """Take the disk space that the active segment needs to grow to `size_bytes`. Raises OSError."""
        entries = size_bytes // max(1, self.config.index_interval_bytes) + 1
        self._storage.reserve(self._files.log_fd, size_bytes)
        self._storage.reserve(self._files.index_fd, 8 * entries)
        self._storage.reserve(self._files.time_index_fd, 12 * entries)

    def sync(self, up_to_offset: int) -> None:
        """Bring everything before `up_to_offset` to the disk, then advance the recovery point to it.

        Raises OSError when the disk refuses, which poisons the log.
        """
        self._check_usable()
        # The active segment first, and the list after: a roll that happens meanwhile moves a segment from one to the
        # other, where it is synced twice instead of never.
        writer, position = self.active, self.active.size_bytes
        up_to_offset = min(up_to_offset, writer.next_offset)
        sealed = sorted(base for base in list(self._unsynced) if base < up_to_offset)
        if up_to_offset <= self.recovery_point and not sealed:
            return
        with self._poisoning():
            if self._directory_dirty:
                self._directory_dirty = False  # before: a roll that happens meanwhile is for the next sync
                self._storage.fsync_dir(self.directory)
            if writer.base_offset < up_to_offset:
                self._storage.fdatasync(writer.log_fd)
            for base_offset in sealed:
                self._sync_sealed(base_offset)
        if sealed:
            self._bytes_since_checkpoint = RECOVERY_POINT_STRIDE_BYTES
        self.recovery_point = max(self.recovery_point, up_to_offset)
        self._bytes_since_checkpoint += max(0, position - self._synced_position)
        self._synced_position = position
        if self._bytes_since_checkpoint >= RECOVERY_POINT_STRIDE_BYTES:
            self._write_recovery_point()

    @property
    def sync_failed(self) -> bool:
        """Whether a sync failed and `rewrite` has not succeeded since."""
        return self._poison is not None

    def rewrite(self, memory: Memory | None = None, progress: Callable[[], None] = lambda: None) -> SegmentWriter:
        """After a failed sync: put everything that may not be on the disk into new files, and sync those.

        Returns the writer that is `active` from now on; everything before its `next_offset` is on the disk. Copies up
        to whole segments, calling `progress` now and then. Call `forget_failed_sync` afterwards. Raises StorageError,
        saying what is at stake, when the disk refuses again; another attempt is allowed. No sync may be running.
        """
        self._check_open()
        failed = self._poison or FailedSync(self.recovery_point, self.recovery_point, "no sync failed here")
        bases = self.sealed.holding(self.recovery_point)
        rewrite = Rewrite(
            self._storage, self.directory, self.config.index_interval_bytes, self.recovery_point, memory, progress
        )
        active = rewrite_segments(rewrite, bases, self.active.size_bytes, failed)
        for files in [*self._unsynced.values(), self._files]:
            files.close()
        self._unsynced.clear()
        self._files, self.active = active.files, active.writer
        self.rewritten, self._poison = failed.sentence(self.active.next_offset), None
        self.recovery_point, self._synced_position = self.active.next_offset, self.active.size_bytes
        self._write_recovery_point()
        return self.active

    def forget_failed_sync(self) -> None:
        """Remove the note about a failed sync that was made good; if that fails, the next opening rewrites again."""
        with contextlib.suppress(OSError):
            remove_failed_sync(self._storage, self.directory)

    def delete_segments(self, base_offsets: Sequence[int], now_ms: int | None = None) -> None:
        """Drop the oldest segments: out of the log at once, their bytes after `file.delete.delay.ms`.

        Each is durably gone before the next one goes, so that no crash leaves a hole. Raises OSError,
        InvalidRequestError unless they are the oldest ones and closed (roll first to drop the active one).
        """
        if list(base_offsets) != (oldest := list(islice(self.sealed, len(base_offsets)))):
            raise InvalidRequestError(
                f"only the oldest closed segments can be dropped, in order: {oldest}, not {list(base_offsets)}"
            )
        now_ms = wall_ms() if now_ms is None else now_ms
        for base_offset in base_offsets:
            self._dropped.drop(self.directory, base_offset, now_ms + self.config.file_delete_delay_ms)
            self.sealed.remove_oldest()
            files = self._unsynced.pop(base_offset, None)
            if files is not None:
                files.close()
            self._storage.fsync_dir(self.directory)

    def swap(self, cleaned: CleanedSegments, now_ms: int) -> None:
        """Put compacted segments in the place of those that they were made from, which readers keep for a while.

        Raises StorageError, and changes nothing, if the log is not any more what was compacted, or there is no room.
        After an OSError the log is to be opened again, which finishes it.
        """
        self._check_usable()
        bases, remove_ms = [*self.sealed, self.active.base_offset], now_ms + self.config.file_delete_delay_ms
        drop = functools.partial(self._dropped.drop, self.directory, deadline_ms=remove_ms)
        swap(self._storage, self.directory, cleaned, bases, self.recovery_point, drop)
        for group in cleaned.groups:
            self.sealed.replace(group.base_offsets, group.size_bytes)

    def remove_deleted(self, now_ms: int) -> int | None:
        """Remove dropped files whose delay has passed; returns when to come back, None when none are left."""
        return self._dropped.remove(now_ms)

    def batches(self, from_offset: int = 0) -> Iterator[bytes]:
        """Whole batches from the one with `from_offset` to the end of the log, some at a time, for replay.

        Raises CorruptRecordError when a file does not hold what it should.
        """
        bases = self.sealed.holding(from_offset)
        return batches_from(self._storage, self.directory, bases, from_offset, self.active)

    def headers(self, from_offset: int = 0) -> Iterator[BatchHeader]:
        """The headers of the same batches."""
        return headers_in(self.batches(from_offset))

    def write_snapshot(self, offset: int, entries: Sequence[ProducerEntry]) -> None:
        """Keep the producer state as of `offset`, so that a cold start replays only the batches after it."""
        self._check_open()
        self._snapshots = write_snapshot(self._storage, self.directory, offset, entries, self._snapshots)

    def latest_snapshot(self) -> tuple[int, list[ProducerEntry]]:
        """The newest usable snapshot and its offset; (0, []) without one."""
        return latest_snapshot(self._storage, self.directory, self._snapshots, self.log_end_offset)

    def restore_producers(self) -> list[ProducerEntry]:
        """Producer state at the log's end: the newest snapshot and the batches after it."""
        offset, entries = self.latest_snapshot()
        return replay(entries, self.headers(max(offset, self.sealed.first_base_offset)))

    def assign_epoch(self, epoch: int, start_offset: int = -1) -> None:
        """Durably note that an epoch begins at the log's end, or behind it, where published batches are yet to come."""
        self._check_open()
        require_next_epoch(self.directory, self.leader_epochs, epoch)
        start = EpochStart(epoch, max(start_offset, self.log_end_offset))
        starts = [*(before for before in self.leader_epochs if before.start_offset < start.start_offset), start]
        write_leader_epochs(self._storage, self.directory, starts)
        self.leader_epochs = starts

    def close(self, clean: bool) -> None:
        """Close all files. With `clean` all is synced first, as by `sync`; a marker saves the next opening checks."""
        if self._closed:
            return
        try:
            if clean and self._poison is None:
                self.sync(self.log_end_offset)
                with self._poisoning():
                    for fd in (self._files.index_fd, self._files.time_index_fd):
                        self._storage.fdatasync(fd)
                self._write_recovery_point()
                marker = CleanShutdown(
                    self.log_end_offset,
                    self.active.base_offset,
                    self.active.size_bytes,
                    self.active.index_bytes,
                    self.active.time_index_bytes,
                )
                write_clean_shutdown(self._storage, self.directory, marker)
        finally:
            self._closed = True
            for files in [*self._unsynced.values(), self._files]:
                files.close()
            self._unsynced.clear()

    @contextlib.contextmanager
    def _poisoning(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            failed = FailedSync(self.recovery_point, self.on_failed_sync(), str(error))
            self.failure_is_noted = note_failed_sync(self._storage, self.directory, failed)
            self._poison = failed
            raise

    def _sync_sealed(self, base_offset: int) -> None:
        # Taken out first: a deletion in the other thread then finds nothing to close.
        files = self._unsynced.pop(base_offset, None)
        if files is None:
            return
        try:
            files.sync()
        finally:
            files.close()

    def _active_info(self) -> SegmentInfo:
        writer, max_timestamp_ms = self.active, self.active.max_timestamp_ms
        if writer.size_bytes and max_timestamp_ms < 0:
            max_timestamp_ms = self._created_ms
        path = segment_path(self.directory, writer.base_offset, LOG_SUFFIX)
        return SegmentInfo(writer.base_offset, writer.size_bytes, max_timestamp_ms, self._created_ms, path)

    def _write_recovery_point(self) -> None:
        try:
            write_recovery_point(self._storage, self.directory, self.recovery_point)
        except OSError as error:
            self.checkpoint_error = error
        else:
            self._bytes_since_checkpoint = 0

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"the log in {self.directory} is closed")

    def _check_usable(self) -> None:
        self._check_open()
        if self._poison is not None:
            raise StorageError(f"the log in {self.directory}: {self._poison.sentence(self.log_end_offset)}")

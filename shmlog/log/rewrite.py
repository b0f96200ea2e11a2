"""After a failed sync: the same segments in new files, because the old ones can never be believed again.

    copy     every batch into <base>.log.rewrite and its indexes by a fresh SegmentWriter, checksums checked
    sync     all three
    rename   over the old names, the log first
    sync     the directory, when all segments are done

Base offsets and byte positions stay, so whatever points into the segments stays right. Killed anywhere, the next one
begins again: the note of log/failed_sync.py is there until everything is done.

And after a sync of which nobody knows whether it failed: what it was to bring to the disk, `again`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from shmlog.errors import CorruptRecordError
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.index_repair import OpenSegment, Walk
from shmlog.log.segment import LOG_SUFFIX, REWRITE_SUFFIX, SUFFIXES, SegmentFiles, segment_path, synced_count
from shmlog.log.storage import Storage
from shmlog.native.scan import check_batches
from shmlog.native.segment import SegmentWriter

CHUNK_BYTES = 1 << 20


class Memory(Protocol):
    """Bytes of segments that are also in shared memory, where no disk can have spoiled them."""

    def overlap(self, base_offset: int, start: int, end: int) -> tuple[int, bytes]:
        """Where the part of a segment's bytes `start` to `end` that is in memory begins, and that part; b"" if none."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How segments are written anew. `progress` is called now and then; it may take long."""

    storage: Storage
    directory: str
    index_interval_bytes: int
    recovery_point: int
    """Checksums are checked from here on; what lies before was on the disk, whatever it is."""
    memory: Memory | None = None
    progress: Callable[[], None] = lambda: None

    def segments(self, sealed: Sequence[int], active: int, active_bytes: int) -> OpenSegment:
        """Write the `sealed` segments and then the active one anew; returns the active one, open for writing.

        Raises OSError when the disk refuses again, CorruptRecordError naming the offset and byte of what can be read
        neither from the old file nor from memory. The old files are then still in place, as they were.
        """
        self._sealed_segments(sealed)
        segment = self._segment(active, active_bytes, seal=False)
        try:
            self.storage.fsync_dir(self.directory)
        except OSError:
            segment.files.close()
            raise
        return segment

    def again(self, sealed: Sequence[int], active: int, start: int, end: int) -> None:
        """When nobody knows whether a sync failed: write what it was to bring to the disk once more.

        Bytes `start` to `end` of the active segment are written to the same place in the same file. That makes their
        pages dirty again, so the next sync brings them to the disk or fails in somebody's face, whatever became of the
        one before; the bytes in front of them are on the disk. `sealed` segments, whose indexes are concerned as well,
        go into new files. Raises as `segments`.
        """
        if sealed:
            self._sealed_segments(sealed)
            self.storage.fsync_dir(self.directory)
        fd = self.storage.open(segment_path(self.directory, active, LOG_SUFFIX), os.O_RDWR)
        try:
            first_offset = int.from_bytes(self._read(fd, active, start, min(start + 8, end)), "big")
            for batches in self._sound_batches(fd, active, first_offset, start, end):
                self.storage.pwrite(fd, bytes(batches), start)
                start += len(batches)
        finally:
            self.storage.close(fd)

    def _sealed_segments(self, sealed: Sequence[int]) -> None:
        for base_offset in sealed:
            self._segment(base_offset, self._file_bytes(base_offset), seal=True).files.close()

    def _segment(self, base_offset: int, size_bytes: int, *, seal: bool) -> OpenSegment:
        files = self._fresh_files(base_offset)
        try:
            writer = SegmentWriter(
                files.log_fd,
                files.index_fd,
                files.time_index_fd,
                base_offset=base_offset,
                index_interval_bytes=self.index_interval_bytes,
            )
            self._copy(writer, size_bytes)
            if seal:
                writer.append_final_time_index()
            files.sync()
            for suffix in SUFFIXES:
                path = segment_path(self.directory, base_offset, suffix)
                self.storage.rename(path + REWRITE_SUFFIX, path)
        except (OSError, CorruptRecordError):
            files.close()
            raise
        return OpenSegment(files, writer, Walk(size_bytes, writer.next_offset, ""))

    def _fresh_files(self, base_offset: int) -> SegmentFiles:
        """New inodes: an earlier attempt's file may have failed its sync, too."""
        fds: list[int] = []
        try:
            for suffix in SUFFIXES:
                path = segment_path(self.directory, base_offset, suffix) + REWRITE_SUFFIX
                with contextlib.suppress(FileNotFoundError):
                    self.storage.unlink(path)
                fds.append(self.storage.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except OSError:
            for fd in fds:
                self.storage.close(fd)
            raise
        return SegmentFiles(self.storage, self.directory, base_offset, *fds)

    def _copy(self, writer: SegmentWriter, size_bytes: int) -> None:
        old_fd = self.storage.open(segment_path(self.directory, writer.base_offset, LOG_SUFFIX), os.O_RDONLY)
        try:
            for batches in self._sound_batches(old_fd, writer.base_offset, writer.base_offset, 0, size_bytes):
                writer.append(batches)
        finally:
            self.storage.close(old_fd)

    def _sound_batches(self, fd: int, base_offset: int, offset: int, start: int, end: int) -> Iterator[memoryview]:
        """Bytes `start` to `end` of a segment, from the batch with `offset` on, some whole batches at a time."""
        size, dense_from_offset = (
            CHUNK_BYTES,
            dense_from(self.storage, self.directory),
        )
        while start < end:
            size = min(size, end - start)
            chunk = self._read(fd, base_offset, start, start + size)
            valid, offset, wanted, problem = check_batches(chunk, offset, self.recovery_point, dense_from_offset)
            if valid:
                yield memoryview(chunk)[:valid]
            start += valid
            if not problem and valid == 0 and (wanted > end - start or len(chunk) < size):
                problem = "the file ends inside it"
            if problem:
                path = segment_path(self.directory, base_offset, LOG_SUFFIX)
                raise CorruptRecordError(f"{path}: the batch at offset {offset} (byte {start}) is not sound: {problem}")
            size = max(CHUNK_BYTES, wanted)
            self.progress()

    def _read(self, old_fd: int, base_offset: int, start: int, end: int) -> bytes:
        """The segment's bytes, those in memory from there; fewer when the file is too short."""
        at, kept = self.memory.overlap(base_offset, start, end) if self.memory is not None else (end, b"")
        if not kept:
            return self.storage.pread(old_fd, end - start, start)
        before = self.storage.pread(old_fd, at - start, start)
        if len(before) < at - start:
            return before
        return before + kept + self.storage.pread(old_fd, end - at - len(kept), at + len(kept))

    def _file_bytes(self, base_offset: int) -> int:
        fd = self.storage.open(segment_path(self.directory, base_offset, LOG_SUFFIX), os.O_RDONLY)
        try:
            return self.storage.size_bytes(fd)
        finally:
            self.storage.close(fd)


def beyond(base_offsets: Sequence[int], recovery_point: int) -> list[int]:
    """Of a log's segments, the sealed ones that hold something beyond the recovery point."""
    return list(base_offsets[synced_count(base_offsets, recovery_point) : -1])

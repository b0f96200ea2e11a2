"""Putting sound bytes in the place of damaged ones, in a segment that nobody appends to: another replica has them.

Replicas are the same, batch for batch, wherever their leader epochs are and nothing was compacted. Mostly their
segments begin at the same offsets, too; behind a takeover that took several segments out of a ring they need not, so
the other log is read by offset. What is damaged is written again where it is, and nothing else. Whoever reads
meanwhile finds the old bytes, the new ones or a mixture, and the checksum tells; a kill in the middle leaves a batch
that is still bad, and is mended again. No byte is written before it was looked at: its batch's checksum, that offsets
go on, and that both logs have this offset from the same leader epoch.

Only the process that a directory belongs to may do this, for another one may be cutting the log: the partition's owner
or follower, in whose thread nothing else happens then, or whoever has locked the directories of a cluster that is
stopped.
"""

from __future__ import annotations

import os
from collections.abc import Generator

from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import read_leader_epochs
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.dump import BATCH_BYTES_MAX
from shmlog.log.leader_epochs import epoch_of
from shmlog.log.scrub import Flaw, SealedSegment
from shmlog.log.segment import LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import Storage
from shmlog.log.truncation import batch_position
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES

MENDED_BYTES_MAX = 8 << 20
"""An owner writes about so much in one go; one batch at least."""


def mend(storage: Storage, flaw: Flaw, source_directory: str) -> int:
    """Write what another replica has into a log file, from the flaw on up to where both are the same again.

    Returns how many bytes that were, 0 if there was nothing to do; more may be left after MENDED_BYTES_MAX. Durable
    when it returns. Raises as `batches_to_mend`, and OSError; then only whole batches that are sound were written.
    """
    written = 0
    fd = _open(storage, flaw.path, os.O_WRONLY)
    try:
        for position, batch in batches_to_mend(storage, flaw, source_directory):
            if written and written + len(batch) > MENDED_BYTES_MAX:
                break
            storage.pwrite(fd, batch, position)
            written += len(batch)
        if written:
            storage.fdatasync(fd)
    finally:
        storage.close(fd)
    return written


def batches_to_mend(storage: Storage, flaw: Flaw, source_directory: str) -> Generator[tuple[int, bytes]]:
    """The batches that another replica has instead of a flaw, with their positions in the damaged file.

    Raises CorruptRecordError if it has nothing sound there, or another log, or one of the two is compacted there;
    StorageError if a file is gone, or the segment is not a sealed one any more.
    """
    require_sealed(storage, flaw.segment)
    for directory in (flaw.segment.directory, source_directory):
        _require_dense(storage, directory, flaw.segment)
    epochs = read_leader_epochs(storage, flaw.segment.directory)
    source = _OtherLog(storage, source_directory, flaw)
    try:
        target = _open(storage, flaw.path, os.O_RDONLY)
        try:
            position, expected = flaw.position, flaw.first_offset
            while expected < flaw.segment.following:
                batch, header = source.batch_at(expected)
                epoch = epoch_of(expected, epochs)
                if header.leader_epoch != epoch or header.next_offset > flaw.segment.following:
                    raise CorruptRecordError(
                        f"{source_directory} has another log at offset {expected}: a batch of leader epoch"
                        f" {header.leader_epoch} up to offset {header.last_offset}, where this one has epoch {epoch}"
                        f" and a segment that ends before {flaw.segment.following}"
                    )
                if storage.pread(target, len(batch), position) == batch:
                    return
                yield position, batch
                position, expected = position + len(batch), header.next_offset
        finally:
            storage.close(target)
    finally:
        source.close()


def require_sealed(storage: Storage, segment: SealedSegment) -> None:
    """Raise StorageError if another one follows this segment than did when it was looked at, or none."""
    bases = list_base_offsets(storage, segment.directory)
    later = [base_offset for base_offset in bases if base_offset > segment.base_offset]
    if segment.base_offset not in bases or later[:1] != [segment.following]:
        raise StorageError(f"{segment.path()} is not the sealed segment any more that it was: scrub again")


def _require_dense(storage: Storage, directory: str, segment: SealedSegment) -> None:
    """Each replica is compacted by itself: what one has taken away, tombstones too, the other may have still."""
    if segment.base_offset < dense_from(storage, directory):
        raise CorruptRecordError(
            f"{directory} is compacted at offset {segment.base_offset}, and replicas that are compacted differ, so no"
            f" batch of one can stand for that of another: make a new copy of the replica in {segment.directory} with"
            " `shmlog replica move`, after another one leads"
        )


class _OtherLog:
    """Another replica's log, batch after batch from a flaw's first offset on, wherever its segments begin."""

    def __init__(self, storage: Storage, directory: str, flaw: Flaw) -> None:
        self._storage = storage
        self._directory = directory
        self._bases = list_base_offsets(storage, directory)
        before = [base_offset for base_offset in self._bases if base_offset <= flaw.first_offset]
        base_offset = before[-1] if before else flaw.segment.base_offset
        self._position = flaw.position
        self._fd = _open(storage, segment_path(directory, base_offset, flaw.suffix), os.O_RDONLY)
        if base_offset != flaw.segment.base_offset:
            try:
                self._position = batch_position(storage, directory, base_offset, flaw.first_offset)
            except BaseException:
                self.close()
                raise

    def batch_at(self, offset: int) -> tuple[bytes, BatchHeader]:
        """The next one, which begins with `offset`. Raises CorruptRecordError if there is nothing sound."""
        head = self._storage.pread(self._fd, HEADER_BYTES, self._position)
        if not head and offset in self._bases:
            self.close()
            self._fd = _open(self._storage, segment_path(self._directory, offset, LOG_SUFFIX), os.O_RDONLY)
            self._position = 0
            head = self._storage.pread(self._fd, HEADER_BYTES, 0)
        where = f"{self._directory} has nothing sound at offset {offset} (byte {self._position}) either"
        try:
            header = BatchHeader.parse(head)
        except CorruptRecordError as error:
            raise CorruptRecordError(f"{where}: {error}") from error
        if header.base_offset != offset or header.size_bytes > BATCH_BYTES_MAX:
            raise CorruptRecordError(f"{where}: a batch at offset {header.base_offset} of {header.size_bytes} bytes")
        batch = self._storage.pread(self._fd, header.size_bytes, self._position)
        if len(batch) < header.size_bytes or not header.crc_is_valid(batch):
            raise CorruptRecordError(f"{where}: the checksum is wrong")
        self._position += len(batch)
        return batch, header

    def close(self) -> None:
        self._storage.close(self._fd)


def _open(storage: Storage, path: str, flags: int) -> int:
    try:
        return storage.open(path, flags)
    except FileNotFoundError:
        raise StorageError(f"{path} is not there") from None

"""Putting sound bytes in the place of damaged ones, in a segment that nobody appends to: another replica has them.

Replicas are the same, byte for byte, wherever their leader epochs are: a file of the same base offset has the same
batch at the same place. So what is damaged is written again where it is, and nothing else. Whoever reads meanwhile
finds the old bytes, the new ones or a mixture, and the checksum tells; a kill in the middle leaves a batch that is
still bad, and is mended again. No byte is written before it was looked at: its batch's checksum, that offsets go on,
and that both logs have this offset from the same leader epoch.

Only the process that a directory belongs to may do this, for another one may be cutting the log: the partition's owner
or follower, in whose thread nothing else happens then, or whoever has locked the directories of a cluster that is
stopped.
"""

from __future__ import annotations

import os
from collections.abc import Generator

from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.checkpoint import read_leader_epochs
from shmlog.log.dump import BATCH_BYTES_MAX
from shmlog.log.leader_epochs import epoch_of
from shmlog.log.scrub import Flaw, SealedSegment
from shmlog.log.segment import list_base_offsets, segment_path
from shmlog.log.storage import Storage
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
    """The batches that another replica has instead of a flaw, with their positions, which are the same in both files.

    Raises CorruptRecordError if it has nothing sound there, or another log; StorageError if a file is gone, or the
    segment is not a sealed one any more.
    """
    require_sealed(storage, flaw.segment)
    epochs = read_leader_epochs(storage, flaw.segment.directory)
    source = _open(storage, segment_path(source_directory, flaw.segment.base_offset, flaw.suffix), os.O_RDONLY)
    try:
        target = _open(storage, flaw.path, os.O_RDONLY)
        try:
            position, expected = flaw.position, flaw.first_offset
            while expected < flaw.segment.following:
                batch, header = _sound_batch(storage, source, source_directory, position, expected)
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
        storage.close(source)


def require_sealed(storage: Storage, segment: SealedSegment) -> None:
    """Raise StorageError if another one follows this segment than did when it was looked at, or none."""
    bases = list_base_offsets(storage, segment.directory)
    later = [base_offset for base_offset in bases if base_offset > segment.base_offset]
    if segment.base_offset not in bases or later[:1] != [segment.following]:
        raise StorageError(f"{segment.path()} is not the sealed segment any more that it was: scrub again")


def _sound_batch(storage: Storage, fd: int, directory: str, position: int, expected: int) -> tuple[bytes, BatchHeader]:
    where = f"{directory} has nothing sound at offset {expected} (byte {position}) either"
    try:
        header = BatchHeader.parse(storage.pread(fd, HEADER_BYTES, position))
    except CorruptRecordError as error:
        raise CorruptRecordError(f"{where}: {error}") from error
    if header.base_offset != expected or header.size_bytes > BATCH_BYTES_MAX:
        raise CorruptRecordError(f"{where}: a batch at offset {header.base_offset} of {header.size_bytes} bytes")
    batch = storage.pread(fd, header.size_bytes, position)
    if len(batch) < header.size_bytes or not header.crc_is_valid(batch):
        raise CorruptRecordError(f"{where}: the checksum is wrong")
    return batch, header


def _open(storage: Storage, path: str, flags: int) -> int:
    try:
        return storage.open(path, flags)
    except FileNotFoundError:
        raise StorageError(f"{path} is not there") from None

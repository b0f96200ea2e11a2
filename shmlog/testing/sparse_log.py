"""A known log of which batches were taken away, as compaction does it, by a few lines that can be seen to be right."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from shmlog.log.cleaned_files import create_mark
from shmlog.log.compaction_checkpoint import read_compaction_checkpoint
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import SUFFIXES, cleaned_suffix, segment_path
from shmlog.log.storage import Storage
from shmlog.log.swap import CleanedGroup, CleanedSegments
from shmlog.native.segment import SegmentWriter
from shmlog.record.header import BatchHeader

INDEX_INTERVAL_BYTES = 300
CLEANING = 7


def batches_of(log: PartitionLog) -> list[tuple[BatchHeader, bytes]]:
    """All batches of a log with their headers."""
    found: list[tuple[BatchHeader, bytes]] = []
    for chunk in log.batches():
        position = 0
        while position < len(chunk):
            header = BatchHeader.parse(chunk, position)
            found.append((header, chunk[position : position + header.size_bytes]))
            position += header.size_bytes
    return found


def offsets_of(log: PartitionLog) -> list[int]:
    """The base offset of each batch."""
    return [header.base_offset for header, _ in batches_of(log)]


def clean(
    storage: Storage,
    log: PartitionLog,
    groups: Iterable[tuple[int, ...]],
    keeps: Callable[[int], bool],
    *,
    keeps_ends: bool = True,
) -> CleanedSegments:
    """Write the `.cleaned` files for `groups` of segments, with those batches whose base offset `keeps` says.

    The last batch of each group stays, as compaction keeps it; without `keeps_ends` it need not.
    """
    made: list[CleanedGroup] = []
    with contextlib.suppress(FileExistsError):
        create_mark(storage, log.directory, CLEANING)
    everything = batches_of(log)
    ends = [*log.sealed, log.active_base_offset]
    end = 0
    for bases in groups:
        end = ends[ends.index(bases[-1]) + 1]
        inside = [(header, batch) for header, batch in everything if bases[0] <= header.base_offset < end]
        kept = [
            batch for header, batch in inside if keeps(header.base_offset) or (keeps_ends and header is inside[-1][0])
        ]
        sizes = tuple(Path(segment_path(log.directory, base, ".log")).stat().st_size for base in bases)
        made.append(CleanedGroup(bases, sizes, write_cleaned(storage, log.directory, bases[0], b"".join(kept))))
    return CleanedSegments(CLEANING, tuple(made), cleaned_from(storage, log), end)


def cleaned_from(storage: Storage, log: PartitionLog) -> int:
    return read_compaction_checkpoint(storage, log.directory).first_dirty_offset


def write_cleaned(storage: Storage, directory: str, base_offset: int, batches: bytes) -> int:
    """The three files of a compacted segment, synced; returns the size of the log."""
    fds = [
        storage.open(
            segment_path(directory, base_offset, cleaned_suffix(suffix, CLEANING)), os.O_RDWR | os.O_CREAT | os.O_TRUNC
        )
        for suffix in SUFFIXES
    ]
    writer = SegmentWriter(*fds, base_offset=base_offset, index_interval_bytes=INDEX_INTERVAL_BYTES)
    writer.append(batches)
    writer.append_final_time_index()
    for fd in fds:
        storage.fdatasync(fd)
        storage.close(fd)
    return len(batches)

"""Reading a log from some offset to its end, for replay: sequential, no index needed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from itertools import pairwise

from shmlog.errors import CorruptRecordError
from shmlog.log.compaction_checkpoint import dense_from
from shmlog.log.segment import LOG_SUFFIX, segment_path
from shmlog.log.storage import Storage
from shmlog.native.scan import check_batches, select_batches
from shmlog.native.segment import SegmentWriter
from shmlog.record.header import BatchHeader

CHUNK_BYTES = 1 << 20


def batches_from(
    storage: Storage, directory: str, base_offsets: list[int], from_offset: int, active: SegmentWriter
) -> Iterator[bytes]:
    """Whole batches, about a megabyte at a time, checksums checked; the first holds or follows `from_offset`.

    Ends where `active` stood when this began. `base_offsets` are the log's segments, `active`'s last.
    """
    end_position, dense_from_offset = (
        active.size_bytes,
        dense_from(storage, directory),
    )
    ends = dict(pairwise(base_offsets))
    for base_offset in base_offsets:
        following = ends.get(base_offset)
        if following is not None and following <= from_offset:
            continue
        path = segment_path(directory, base_offset, LOG_SUFFIX)
        fd = storage.open(path, os.O_RDONLY)
        try:
            end = end_position if following is None else storage.size_bytes(fd)
            after = yield from _segment_batches(storage, fd, path, base_offset, end, from_offset, dense_from_offset)
            if following is not None and after != following and not after < following <= dense_from_offset:
                raise CorruptRecordError(f"{path} ends at offset {after}, and the next file begins at {following}")
        finally:
            storage.close(fd)


def headers_in(chunks: Iterable[bytes]) -> Iterator[BatchHeader]:
    """The headers of whole batches."""
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            header = BatchHeader.parse(chunk, position)
            yield header
            position += header.size_bytes


def _segment_batches(
    storage: Storage,
    fd: int,
    path: str,
    base_offset: int,
    end_position: int,
    from_offset: int,
    dense_from_offset: int,
) -> Generator[bytes, None, int]:
    """As batches_from, for one segment; returns the offset at which it ends."""
    position, expected, size = 0, base_offset, CHUNK_BYTES
    while position < end_position:
        chunk = storage.pread(fd, min(size, end_position - position), position)
        valid, after, wanted, problem = check_batches(chunk, expected, from_offset, dense_from_offset)
        left = end_position - position
        if problem or (valid == 0 and (wanted > left or len(chunk) < min(size, left))):
            raise CorruptRecordError(
                f"{path}: the batch at offset {after} (byte {position + valid}) is not sound: "
                f"{problem or 'the file ends inside it'}"
            )
        if after > from_offset:
            whole = memoryview(chunk)[:valid]
            start, end, *_ = select_batches(whole, from_offset, dense_from_offset=dense_from_offset)
            if end > start:
                yield chunk[start:end]
        position, expected, size = position + valid, after, max(CHUNK_BYTES, wanted)
    return expected

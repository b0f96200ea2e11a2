"""What is in a segment, in numbers: offsets, times, batches, records, bytes, codecs, and how much they save."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from shmlog.log.dump import Damage, dump_log
from shmlog.log.segment import LOG_SUFFIX, base_offset_of
from shmlog.native.columns import decode_columns
from shmlog.record.expansion import expand
from shmlog.record.header import BatchHeader


@dataclass(slots=True)
class SegmentStats:
    """Of one `.log` file. Times are milliseconds since 1970, None without records; nothing damaged is counted."""

    path: str
    base_offset: int
    next_offset: int
    """After the last sound batch; `base_offset` in an empty segment."""
    first_timestamp_ms: int | None = None
    """The smallest one of a record."""
    last_timestamp_ms: int | None = None
    batches: int = 0
    records: int = 0
    """Without control markers."""
    size_bytes: int = 0
    """Of sound batches."""
    plain_bytes: int = 0
    """What they would have without compression."""
    codecs: Counter[str] = field(default_factory=Counter)
    """How many batches have which."""
    null_keys: int = 0
    null_values: int = 0
    missing_offsets: int = 0
    """Between the first and the last, without a record: taken away by compaction, or control markers."""
    damages: int = 0

    @property
    def ratio(self) -> float | None:
        """How many bytes stand for one, None in an empty segment."""
        return self.plain_bytes / self.size_bytes if self.size_bytes else None


def segment_stats(path: str) -> SegmentStats:
    """Read a segment from its beginning to its end, and look into every record.

    Raises OSError, UnsupportedCompressionTypeError, and CorruptRecordError for a batch whose checksum is right and that
    cannot be read all the same.
    """
    base_offset = base_offset_of(os.path.basename(path), LOG_SUFFIX)
    found = SegmentStats(path, base_offset or 0, base_offset or 0)
    with open(path, "rb") as file:
        for row in dump_log(path):
            if isinstance(row, Damage):
                found.damages += 1
                continue
            file.seek(row.position)
            _count(found, row.header, file.read(row.header.size_bytes))
    found.missing_offsets = found.next_offset - found.base_offset - found.records
    return found


def _count(found: SegmentStats, header: BatchHeader, batch: bytes) -> None:
    plain, _ = expand(batch, found.path, 1, check_crcs=False)
    columns, *_ = decode_columns(
        plain, "", 0, header.base_offset, header.next_offset, max(1, header.record_count), check_crcs=False
    )
    found.batches += 1
    found.records += len(columns)
    found.size_bytes += len(batch)
    found.plain_bytes += len(plain)
    found.codecs[header.codec] += 1
    found.next_offset = header.next_offset
    if len(columns):
        times = columns.timestamps_ms
        first, last = int(times.min()), int(times.max())
        found.first_timestamp_ms = first if found.first_timestamp_ms is None else min(found.first_timestamp_ms, first)
        found.last_timestamp_ms = last if found.last_timestamp_ms is None else max(found.last_timestamp_ms, last)
        found.null_keys += int((columns.key_lengths < 0).sum())
        found.null_values += int((columns.value_lengths < 0).sum())

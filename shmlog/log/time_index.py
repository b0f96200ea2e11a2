"""Look-ups in a segment's `.timeindex`: where records of a time begin.

Twelve bytes per entry: i64 largest timestamp so far, i32 last offset of the batch that has it minus the segment's
base. Timestamps grow strictly. Mapped like the offset index, under the same promise.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

from shmlog.log.offset_index import map_entries

ENTRY_BYTES = 12


@dataclass(frozen=True, slots=True)
class TimestampOffset:
    """No record up to `offset` is younger than `timestamp_ms`, and the batch that ends at `offset` is as young."""

    timestamp_ms: int
    offset: int


class TimeIndex:
    """The entries of one `.timeindex` file as they were when this was made."""

    def __init__(self, fd: int, size_bytes: int, base_offset: int) -> None:
        self.base_offset = base_offset
        entries: Any = map_entries(fd, size_bytes, ENTRY_BYTES, [("timestamp", ">i8"), ("offset", ">i4")])
        self._timestamps = entries["timestamp"]
        self._offsets = entries["offset"]

    def __len__(self) -> int:
        return len(self._timestamps)

    def __getitem__(self, number: int) -> TimestampOffset:
        return TimestampOffset(int(self._timestamps[number]), self.base_offset + int(self._offsets[number]))

    def last(self) -> TimestampOffset | None:
        """The largest timestamp that the index knows."""
        return self[len(self) - 1] if len(self) else None

    def last_before(self, timestamp_ms: int) -> TimestampOffset | None:
        """The last entry that is older than `timestamp_ms`: no record up to its offset can be that young."""
        number = bisect_left(self._timestamps, timestamp_ms)
        return self[number - 1] if number else None

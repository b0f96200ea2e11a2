"""Look-ups in a segment's `.index`: which byte position to start from for an offset.

Eight bytes per entry: i32 last offset of a batch minus the segment's base, i32 file position of that batch. The file
may grow while it is read. It is mapped, which is safe because nobody ever shortens it: a rebuilt index is a new file.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENTRY_BYTES = 8


def map_entries(fd: int, size_bytes: int, entry_bytes: int, fields: list[tuple[str, str]]) -> NDArray[np.void]:
    """The whole entries in the first `size_bytes` bytes of a file, as a structured array over a read-only mapping.

    Without the zeros at the end that Kafka reserves in the index of a segment that it is writing. The mapping lives as
    long as the array; the descriptor may be closed.
    """
    import numpy as np  # only readers look things up: owners never pay for this import

    count = size_bytes // entry_bytes
    if not count:
        return np.empty(0, dtype=fields)
    mapped = mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ)
    entries: NDArray[np.void] = np.frombuffer(mapped, dtype=fields, count=count)
    if any(entries[-1].tolist()):
        return entries
    return entries[: bisect_left(range(count), True, key=lambda number: not any(entries[number].tolist()))]


@dataclass(frozen=True, slots=True)
class OffsetPosition:
    """An index entry: `offset` is the last one of the batch at byte `position` of the log file."""

    offset: int
    position: int


class OffsetIndex:
    """The entries of one `.index` file as they were when this was made."""

    def __init__(self, fd: int, size_bytes: int, base_offset: int) -> None:
        self.base_offset = base_offset
        self.size_bytes = size_bytes
        entries: Any = map_entries(fd, size_bytes, ENTRY_BYTES, [("offset", ">i4"), ("position", ">i4")])
        self._offsets = entries["offset"]
        self._positions = entries["position"]

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, number: int) -> OffsetPosition:
        return OffsetPosition(self.base_offset + int(self._offsets[number]), int(self._positions[number]))

    def lookup(self, offset: int) -> OffsetPosition | None:
        """The last entry whose offset is not after `offset`; None when that is before the first entry.

        The batch that contains `offset` is at the entry's position or later. Touches log2(entries) pages only.
        """
        number = bisect_right(self._offsets, offset - self.base_offset)
        return self[number - 1] if number else None

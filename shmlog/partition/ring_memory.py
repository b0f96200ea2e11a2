"""What a ring still has of the log's segments, byte for byte: the better copy when a file's sync has failed."""

from __future__ import annotations

from collections.abc import Callable

from shmlog.memory import layout
from shmlog.native.mapping import Mapping


def ring_bytes_of(ring: Mapping, start: int, end: int) -> bytes:
    """A copy of the bytes between two positions, which are in it."""
    at, size_bytes = start % ring.size_bytes, end - start
    first = min(size_bytes, ring.size_bytes - at)
    return ring.read(at, first) + ring.read(0, size_bytes - first)


class RingMemory:
    """Stands for log.rewrite.Memory over one generation of a ring whose owner is not publishing meanwhile.

    `read(start, end)` gives the ring's bytes between two positions, which are in it.
    """

    def __init__(self, page: Mapping, ring_bytes: int, read: Callable[[int, int], bytes]) -> None:
        self._page = page
        self._ring_bytes = ring_bytes
        self._read = read

    @classmethod
    def of_mapping(cls, page: Mapping, ring: Mapping) -> RingMemory:
        """Of a ring that nobody publishes to yet."""
        return cls(page, ring.size_bytes, lambda start, end: ring_bytes_of(ring, start, end))

    def overlap(self, base_offset: int, start: int, end: int) -> tuple[int, bytes]:
        """See log.rewrite.Memory. Only the active segment and the one before it are looked for."""
        segment_pos = self._position_of(base_offset)
        if segment_pos is None:
            return end, b""
        # Behind `intent - ring_bytes` an owner that was killed while it published may have written something else.
        oldest = max(self._page.load(layout.CTL_BASE_POS), self._page.load(layout.CTL_INTENT_POS) - self._ring_bytes)
        first = max(segment_pos + start, oldest)
        last = min(segment_pos + end, self._page.load(layout.CTL_TAIL_POS))
        return (first - segment_pos, self._read(first, last)) if first < last else (end, b"")

    def _position_of(self, base_offset: int) -> int | None:
        """The ring position of a segment's first byte; None when it is not known any more."""
        turn = self._page.load(layout.CTL_SEGMENT_TURN)
        for number in range(turn, max(turn - 2, -1), -1):
            slot = layout.CTL_SEGMENT_SLOTS + 16 * (number & 1)
            if self._page.load(slot) == base_offset:
                return self._page.load(slot + 8)
        return None

"""The segments of a log that are not written to any more: where they begin, how large they are, which were looked at.

An opening believes them by their names, because the recovery point says that they were synced, and looking at 50,000
takes seconds. They are looked at afterwards, oldest first: now and then (`check_next`), and before retention judges one
by its time index. Readers need no such look: they believe no index entry that does not lead to its batch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence

from shmlog.log.log_start import write_log_start
from shmlog.log.sealed_check import SealedCheck
from shmlog.log.segment import SegmentInfo, log_file_bytes, synced_count
from shmlog.log.segment_facts import sealed_info
from shmlog.log.storage import DISK_FULL, Storage

_UNKNOWN = -1


class SealedSegments:
    """Two machine words for each segment and nothing else, however many there are. One thread only."""

    def __init__(
        self,
        check: SealedCheck,
        base_offsets: list[int],
        recovery_point: int,
        without_index: Collection[int],
        start_offset: int = 0,
    ) -> None:
        """`base_offsets` are all of the log's; the last one is the active segment. `start_offset`: see begin_at().

        Those that end at or before `recovery_point` are to be looked at, the others were, or will be when written anew.
        """
        self._check = check
        self._starts = array("q", base_offsets)  # with the active one's: there the last sealed one ends
        self._sizes = array("q", [_UNKNOWN]) * (len(base_offsets) - 1)
        self._without_index = set(without_index)
        self._checked_to = self._starts[0]
        self._check_end = self._starts[synced_count(base_offsets, recovery_point)]
        self._findings: list[str] = []
        self._start_offset = start_offset

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[int]:
        """Base offsets, oldest first."""
        return iter(self._starts[:-1])

    @property
    def first_base_offset(self) -> int:
        """Where the files begin. There may be deleted records in front of where the log does."""
        return self._starts[0]

    @property
    def log_start_offset(self) -> int:
        return max(self._start_offset, self._starts[0])

    def begin_at(self, offset: int) -> None:
        """Everything before `offset`, which the log has reached, is deleted. Never back; durable when it returns.

        Segments that have nothing else are to be dropped then. Raises OSError, and has changed nothing.
        """
        if offset > self.log_start_offset:
            write_log_start(self._storage, self._check.directory, offset)
            self._start_offset = offset

    def before(self, offset: int) -> list[int]:
        """Base offsets of those that end at `offset` or before it, oldest first."""
        return self._starts[: max(0, bisect_right(self._starts, offset) - 1)].tolist()

    def following(self, base_offset: int) -> int:
        """Where the segment after that one begins, the active one perhaps."""
        return self._starts[bisect_right(self._starts, base_offset)]

    def holding(self, from_offset: int) -> list[int]:
        """Base offsets of the segments from the one with `from_offset` on, the active one included."""
        return self._starts[max(0, bisect_right(self._starts, from_offset) - 1) :].tolist()

    def add(self, size_bytes: int, next_base_offset: int) -> None:
        """The active segment is sealed with so many bytes; the next one begins at `next_base_offset`."""
        self._sizes.append(size_bytes)
        self._starts.append(next_base_offset)

    def remove_oldest(self) -> None:
        """It is out of the log."""
        self._without_index.discard(self._starts[0])
        del self._starts[0], self._sizes[0]

    def replace(self, base_offsets: Sequence[int], size_bytes: int) -> None:
        """These, which are in a row, are one now, with the base offset of the first and so many bytes."""
        number = bisect_left(self._starts, base_offsets[0])
        self._without_index.difference_update(base_offsets)
        del self._starts[number + 1 : number + len(base_offsets)], self._sizes[number + 1 : number + len(base_offsets)]
        self._sizes[number] = size_bytes

    def size_bytes(self) -> int:
        """Bytes of all their logs. The first call looks at each file whose size is not known yet."""
        for number, size_bytes in enumerate(self._sizes):
            if size_bytes == _UNKNOWN:
                self._sizes[number] = log_file_bytes(self._storage, self._check.directory, self._starts[number])
        return sum(self._sizes)

    def infos(self) -> Iterator[SegmentInfo]:
        """What their files say, oldest first; each is looked at when its turn comes. Raises OSError."""
        for base_offset in self:
            while self._checked_to <= base_offset and self.check_next():
                pass
            yield sealed_info(self._storage, self._check.directory, base_offset)

    # --- looking at them ----------------------------------------------------------------------------------------------

    @property
    def is_checked(self) -> bool:
        """Whether `check_next` has nothing to do any more."""
        return self._next_number() is None

    def check_next(self) -> bool:
        """Look at the oldest one that was not looked at yet; False when there is none. See `take_findings`.

        A file that cannot be read is a finding. Raises OSError only for want of room, and the next call tries again.
        """
        number = self._next_number()
        if number is None:
            return False
        base_offset, following = self._starts[number], self._starts[number + 1]
        try:
            found = self._check.check(base_offset, following, has_indexes=base_offset not in self._without_index)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            found = [f"segment {base_offset} in {self._check.directory} could not be looked at: {error}"]
        self._findings += found
        self._without_index.discard(base_offset)
        self._checked_to = following
        return True

    def take_findings(self) -> str:
        """What was found since the last call, in sentences; "" when nothing."""
        found, self._findings = "; ".join(self._findings), []
        return found

    def _next_number(self) -> int | None:
        number = bisect_left(self._starts, self._checked_to)
        return number if number < len(self._sizes) and self._starts[number] < self._check_end else None

    @property
    def _storage(self) -> Storage:
        return self._check.storage

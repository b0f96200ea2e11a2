"""What a reader has learned of the times in older segments, so that a search by time opens the one that it needs.

Timestamps come from producers and need not grow from segment to segment, so the first search looks at every segment
before the one that it finds, once. Later ones look at nothing but that one.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate


class SegmentTimes:
    """The largest timestamp of each segment that is not written to any more, from the oldest on, as far as known.

    Three machine words for each. Segments are added and dropped, and compaction puts one in the place of several, or
    takes records out of one: what is remembered may be larger than what is left, and is never smaller. A log that was
    cut is another log.
    """

    def __init__(self) -> None:
        self._bases = array("q")
        self._end = 0  # where the segment begins that follows the last one known
        self._newest = array("q")
        self._highest = array("q")  # the largest up to and including each segment: ascending

    def follow(self, bases: array[int]) -> None:
        """The log's segments begin there now: forget those that were dropped, and everything if others are gone.

        A segment is the one that is known if the next one begins where it did: else it has records of others, too.
        """
        dropped = bisect_left(self._bases, bases[0])
        del self._bases[:dropped], self._newest[:dropped]
        known = len(self._bases)
        if self._bases != bases[:known] or (known and bases[known : known + 1] != array("q", [self._end])):
            del self._bases[:], self._newest[:]
        self._highest = array("q", accumulate(self._newest, max))

    def candidates(self, bases: array[int], timestamp_ms: int, newest_of: Callable[[int], int]) -> Iterator[int]:
        """Base offsets of those that have a record as young as `timestamp_ms`, oldest first, without the last: that is
        written to.

        `bases` begins with what is known already; others are asked of `newest_of` when their turn comes.
        """
        number = bisect_left(self._highest, timestamp_ms)
        while number < len(bases) - 1:
            if number == len(self._bases):
                self._learn(bases[number], bases[number + 1], newest_of(bases[number]))
            if self._newest[number] >= timestamp_ms:
                yield bases[number]
            number += 1

    def _learn(self, base_offset: int, end_offset: int, newest_ms: int) -> None:
        self._bases.append(base_offset)
        self._end = end_offset
        self._newest.append(newest_ms)
        self._highest.append(max(newest_ms, self._highest[-1]) if self._highest else newest_ms)

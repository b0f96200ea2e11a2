"""Whether a partition's records are found by their time, though clocks were set back and forward under them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

from shmlog.errors import ShmlogError
from shmlog.log.cold import ColdReader
from shmlog.model import TopicPartition

LOOKUPS = 24


def time_complaints(place: TopicPartition, log_dir: str, offsets: Sequence[int], times: Sequence[int]) -> list[str]:
    """What is wrong with looking up records of all parts of the log. `times`: in milliseconds, of each offset."""
    if not offsets:
        return []
    youngest = list(accumulate(times, max))  # so far: it first reaches a time where a record does
    wanted = {times[at] for at in range(0, len(times), max(1, len(times) // LOOKUPS))}
    complaints = []
    reader = ColdReader(log_dir)
    try:
        for time_ms in sorted({0, *wanted, youngest[-1], youngest[-1] + 1}):
            at = bisect_left(youngest, time_ms)
            expected = offsets[at] if at < len(offsets) else None
            found = reader.offset_for_timestamp(time_ms, offsets[-1] + 1)
            offset = None if found is None else found.offset
            if offset != expected:
                complaints.append(
                    f"{place}: the first record at or after {time_ms} ms is at offset {expected}, and a search by time"
                    f" finds {offset}"
                )
    except (ShmlogError, OSError) as error:
        complaints.append(f"{place}: a search by time fails: {error}")
    finally:
        reader.close()
    return complaints

"""What each partition may keep of its topic's retention.topic.bytes."""

from __future__ import annotations

from collections.abc import Iterable


def level_bytes(sizes_bytes: Iterable[int], cap_bytes: int) -> int | None:
    """How large a partition may be so that all together have `cap_bytes`; None: they have no more than that.

    The largest are cut to one level and the others stay as they are, so a topic whose records go to few partitions may
    fill its cap with those.
    """
    sizes = sorted(sizes_bytes)
    if sum(sizes) <= cap_bytes:
        return None
    left_bytes = cap_bytes
    for number, size_bytes in enumerate(sizes):
        level = left_bytes // (len(sizes) - number)
        if size_bytes > level:
            return level
        left_bytes -= size_bytes
    raise AssertionError("some partition is larger than its share if all together are")

"""The one way bytes reach a segment: whole batches, then their index entries, at deterministic file positions."""

class SegmentWriter:
    """Writes one segment's `.log`, `.index` and `.timeindex` by Kafka's index rules.

    The owner calls `append_range` in C without the GIL, the metadata log calls `append`. The three file descriptors
    belong to the caller and must stay open as long as this object writes. One writer per segment; not thread-safe,
    but reading the counters from another thread is.

    A batch gets an index entry (its last offset, its position) when more than `index_interval_bytes` have been
    written since the last entry, so the first batch never has one. The time index gets (largest timestamp so far, the
    last offset of its batch) at the same moments, if the timestamp has grown.
    """

    log_fd: int
    index_fd: int
    time_index_fd: int
    base_offset: int
    next_offset: int
    """One after the last record that was written here; `base_offset` in an empty segment."""
    size_bytes: int
    index_bytes: int
    time_index_bytes: int
    index_interval_bytes: int
    bytes_since_index: int
    """Bytes of batches since the one that the last index entry points to, that batch included."""
    max_timestamp_ms: int
    """-1 while there is none."""
    max_timestamp_offset: int
    """The last offset of the batch that carries `max_timestamp_ms`."""
    last_time_index_ms: int
    """Timestamp of the last time index entry, -1 without one."""

    def __init__(
        self,
        log_fd: int,
        index_fd: int,
        time_index_fd: int,
        *,
        base_offset: int,
        size_bytes: int = 0,
        index_bytes: int = 0,
        time_index_bytes: int = 0,
        index_interval_bytes: int = 4096,
        bytes_since_index: int = 0,
        max_timestamp_ms: int = -1,
        max_timestamp_offset: int = -1,
        last_time_index_ms: int = -1,
        next_offset: int = -1,
    ) -> None: ...
    def append(self, batches: bytes | bytearray | memoryview) -> None:
        """Append whole v2 batches whose base offsets are set and continue this segment.

        Raises ValueError for anything else, OverflowError when an offset or position is more than 2^31-1 from the
        segment's base, OSError when the disk refuses. After an error nothing of this object has moved; the same call
        may be repeated and writes the same bytes to the same places.
        """

    def adopt(self, batches: bytes | bytearray | memoryview) -> None:
        """Like append for batches whose bytes are in the log file already: writes their index entries only.

        Recovery rebuilds indexes with it, so that they come from the same code as the first ones.
        """

    def append_final_time_index(self) -> None:
        """Put the largest timestamp into the time index, as Kafka does when a segment stops being the active one."""

"""Reading a partition's ring without ever holding its owner up."""

from shmlog.native.mapping import Mapping

LAGGED: int
"""What read() returns when the owner has overwritten, or is about to overwrite, the reader's position."""

class RingReader:
    """One reader of one ring generation. Any number may read; none is known to the owner.

    Positions count bytes of the partition's log in this generation. The mappings stay the caller's until close(),
    which unmaps ring and index. The ring is mapped doubled from 0. A follower reads `up_to_written`: what is in the
    leader's file, whether or not consumers may see it.
    """

    generation: int
    next_offset: int
    """The offset of the next batch that read() returns; -1 before the first seek()."""
    trace_stride: int
    """As of the last read(): records with offsets that are multiples of it are traced; 0: none."""
    pos: int
    capacity: int
    max_batch_bytes: int

    def __init__(
        self, control: Mapping, ring: Mapping, index: Mapping, generation: int, *, up_to_written: bool = False
    ) -> None: ...
    def seek(self, offset: int) -> bool:
        """Go to the batch that contains `offset`, or to the end if `offset` is next; False: not in the ring."""

    def read(self, max_bytes: int) -> bytes | int:
        """A copy of whole batches below the limit (high watermark or `written`), at most `max_bytes` but one at least.

        b"" when there is nothing new; LAGGED when the position is not in the ring any more (read the segments from
        `next_offset` on, which is where this reader stood). Structure is checked, checksums are decode_batches' task.
        """

    def has_data(self) -> bool: ...
    def has_moved(self) -> bool: ...
    def is_hot(self, offset: int) -> bool: ...
    @property
    def high_watermark(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...
    def close(self) -> None: ...

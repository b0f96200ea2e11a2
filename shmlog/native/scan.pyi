"""Walks over v2 batches in bytes that came from a segment file. No copies, the GIL released."""

def check_batches(
    data: bytes | bytearray | memoryview, expected_offset: int, crc_from_offset: int = 0, dense_from_offset: int = 0
) -> tuple[int, int, int, str]:
    """How much of `data`, which starts with a batch, is whole and valid batches with dense offsets.

    The first batch must have `expected_offset`; checksums are looked at from `crc_from_offset` on. Below
    `dense_from_offset` compaction may have left holes, between batches and in them.
    Returns (valid bytes, the offset after them, wanted, problem). `problem` says in words what is wrong with the
    batch at `valid bytes`; if it is "" the data ended inside a batch (or between two) that needs `wanted` bytes.
    """

def find_compressed(data: bytes | bytearray | memoryview, start: int) -> int:
    """Where the first compressed batch begins, of those at and after byte `start`, where a batch begins; else the end.

    Control batches do not count, and nothing behind bytes that are no whole batch.
    """

def find_other_epoch(data: bytes | bytearray | memoryview, epoch: int) -> int:
    """Where in `data`, which is whole batches, the first begins that was not written under leader epoch `epoch`."""

def select_batches(
    data: bytes | bytearray | memoryview, from_offset: int, limit_offset: int = ..., dense_from_offset: int = 0
) -> tuple[int, int, int, int, str]:
    """Which part of `data`, which starts with a batch, are the batches with offsets from_offset <= x < limit_offset.

    Returns (start, end, the offset after them, wanted, problem): bytes start..end are whole batches, the first
    contains or follows `from_offset`. `wanted` is 0 when the batch at `end` begins at or after the limit, else the
    bytes that it needs. `problem` and holes as for check_batches; checksums are not looked at.
    """

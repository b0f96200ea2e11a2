"""Kafka's `.txnindex` beside a segment: the transactions whose abort marker is in it.

34 bytes per entry: i16 version 0, producer id i64, first offset i64, last offset i64 (the marker's), last stable offset
i64 after it. There is no file, or an empty one, where nothing was aborted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.log.segment import segment_path
from shmlog.log.storage import Storage, read_file

TRANSACTION_INDEX_SUFFIX: Final = ".txnindex"
VERSION: Final = 0
_ENTRY: Final = struct.Struct(">hqqqq")

assert _ENTRY.size == 34


@dataclass(frozen=True, slots=True)
class AbortedTransaction:
    """What a producer wrote with these offsets, it took back. The last offset is that of the marker which says so."""

    producer_id: int
    first_offset: int
    last_offset: int


def read_aborted(storage: Storage, directory: str, base_offsets: Iterable[int]) -> list[AbortedTransaction]:
    """The aborted transactions of these segments. Raises CorruptRecordError or ForeignVersionError, naming the file."""
    found: list[AbortedTransaction] = []
    for base_offset in base_offsets:
        path = segment_path(directory, base_offset, TRANSACTION_INDEX_SUFFIX)
        try:
            found += decode_aborted(read_file(storage, path), path)
        except FileNotFoundError:
            continue
    return found


def decode_aborted(data: bytes, path: str) -> list[AbortedTransaction]:
    """The whole entries of a file; half of one at its end is still being written."""
    found: list[AbortedTransaction] = []
    for at in range(0, len(data) - _ENTRY.size + 1, _ENTRY.size):
        version, producer_id, first_offset, last_offset, _ = _ENTRY.unpack_from(data, at)
        if version != VERSION:
            raise ForeignVersionError(f"{path}: entry {at // _ENTRY.size} has version {version}, this shmlog reads 0")
        if not 0 <= first_offset <= last_offset:
            raise CorruptRecordError(
                f"{path}: entry {at // _ENTRY.size} says that a transaction went from offset {first_offset} to"
                f" {last_offset}"
            )
        found.append(AbortedTransaction(producer_id, first_offset, last_offset))
    return found

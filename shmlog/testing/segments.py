"""What really stands in a partition's directory, read by a decoder that is not ours.

A decoder is any function from whole v2 batches to records; it must verify checksums and raise when one is wrong.
The default is kafka-python's (extra `test`), so that our own reading of Kafka's format is never its own judge.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LENGTH_AND_OFFSET = struct.Struct(">qi")  # base offset, bytes after this field
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as the decoder gave it; `headers` as pairs of text and bytes or None."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


Decoder = Callable[[bytes], Iterable[StoredRecord]]


class UndecodableSegmentError(Exception):
    """A segment that the decoder, or the walk over its batches, could not read; names file and position."""


def kafka_python_decoder(batches: bytes) -> Iterator[StoredRecord]:
    """Decode whole batches with kafka-python; raises when a checksum is wrong. Control batches are left out."""
    try:
        from kafka.record import MemoryRecords
    except ImportError as error:
        raise ImportError(
            "decoding segments independently needs kafka-python: install the extra, pip install 'shmlog[test]'"
        ) from error
    records: Any = MemoryRecords(batches)
    while records.has_next():
        batch = records.next_batch()
        if not batch.validate_crc():
            raise ValueError(f"the batch at offset {batch.base_offset} has a wrong checksum")
        if batch.is_control_batch:
            continue
        for record in batch:
            yield StoredRecord(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))


def segment_files(directory: Path) -> list[Path]:
    """The .log files of a partition, oldest first; files that wait for deletion are left out."""
    return sorted(directory.glob("*.log"))


def whole_batches(file: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Pieces of a segment file, each of whole batches and about a megabyte, with the position where it begins."""
    with file.open("rb") as stream:
        stream.seek(start)
        position, carry = start, b""
        while True:
            more = stream.read(READ_BYTES)
            piece = carry + more
            end = _end_of_whole_batches(piece, file, position)
            if end:
                yield position, piece[:end]
            position, carry = position + end, piece[end:]
            if not more:
                break
    if carry:
        raise UndecodableSegmentError(f"{file}: {len(carry)} bytes at {position} are not a whole batch")


def _end_of_whole_batches(piece: bytes, file: Path, position: int) -> int:
    at = 0
    while at + LENGTH_AND_OFFSET.size <= len(piece):
        _, length = LENGTH_AND_OFFSET.unpack_from(piece, at)
        if length <= 0:
            raise UndecodableSegmentError(f"{file}: the batch at {position + at} says it is {length} bytes long")
        following = at + LENGTH_AND_OFFSET.size + length
        if following > len(piece):
            break
        at = following
    return at


def read_segment(file: Path, decoder: Decoder = kafka_python_decoder) -> Iterator[StoredRecord]:
    """Every record of one segment file, in file order."""
    for position, piece in whole_batches(file):
        try:
            yield from decoder(piece)
        except ImportError:
            raise
        except Exception as error:  # a foreign decoder may raise anything
            raise UndecodableSegmentError(f"{file}: after position {position}: {error}") from error


def read_partition(directory: Path | str, decoder: Decoder = kafka_python_decoder) -> Iterator[StoredRecord]:
    """Every record of a partition's directory, in file order; no file may hold an offset below its name's."""
    for file in segment_files(Path(directory)):
        base_offset = int(file.stem)
        for record in read_segment(file, decoder):
            if record.offset < base_offset:
                raise UndecodableSegmentError(f"{file}: holds offset {record.offset}, before its base {base_offset}")
            yield record

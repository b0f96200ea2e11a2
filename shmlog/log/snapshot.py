"""Producer state on disk: Kafka's `.snapshot` files.

0  i16 version 1 | 2  u32 CRC-32C of bytes 6 to the end | 6  i32 count | 10  entries of 46 bytes:
producer id i64, epoch i16, last sequence i32, last offset i64, offset delta i32, timestamp i64,
coordinator epoch i32, first offset of the current transaction i64
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from shmlog.errors import CorruptRecordError, ForeignVersionError
from shmlog.log.segment import SNAPSHOT_SUFFIX, segment_path
from shmlog.log.storage import Storage, read_file, replace_file
from shmlog.native.checksum import crc32c
from shmlog.record.header import BatchHeader

_HEAD: Final = struct.Struct(">hIi")
_ENTRY: Final = struct.Struct(">qhiqiqiq")
_CRC_START: Final = 6
VERSION: Final = 1
SNAPSHOTS_KEPT: Final = 2
"""The newest ones, in case the very newest turns out damaged."""

assert _HEAD.size == 10
assert _ENTRY.size == 46


@dataclass(frozen=True, slots=True)
class ProducerEntry:
    """The last batch of one producer, which is what Kafka keeps on disk; -1 where something does not exist."""

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_offset: int
    offset_delta: int
    """Last minus first offset of that batch."""
    timestamp_ms: int
    coordinator_epoch: int = -1
    transaction_first_offset: int = -1


def encode_snapshot(entries: Iterable[ProducerEntry]) -> bytes:
    packed = [
        _ENTRY.pack(
            entry.producer_id,
            entry.producer_epoch,
            entry.last_sequence,
            entry.last_offset,
            entry.offset_delta,
            entry.timestamp_ms,
            entry.coordinator_epoch,
            entry.transaction_first_offset,
        )
        for entry in entries
    ]
    checked = struct.pack(">i", len(packed)) + b"".join(packed)
    return struct.pack(">hI", VERSION, crc32c(checked)) + checked


def decode_snapshot(data: bytes, path: str) -> list[ProducerEntry]:
    """The entries; raises CorruptRecordError or ForeignVersionError, naming `path`."""
    if len(data) < _HEAD.size:
        raise CorruptRecordError(f"{path} has {len(data)} bytes, less than a snapshot's head")
    version, crc, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise ForeignVersionError(f"{path} has version {version}, this shmlog reads version {VERSION}")
    if crc32c(data[_CRC_START:]) != crc:
        raise CorruptRecordError(f"{path}: its checksum is wrong")
    if count < 0 or len(data) != _HEAD.size + count * _ENTRY.size:
        raise CorruptRecordError(f"{path} claims {count} producers and has {len(data)} bytes")
    return [ProducerEntry(*fields) for fields in _ENTRY.iter_unpack(data[_HEAD.size :])]


def write_snapshot(
    storage: Storage, directory: str, offset: int, entries: Iterable[ProducerEntry], older: Sequence[int]
) -> list[int]:
    """Durably keep the producer state as of `offset`: everything before it is included.

    Drops what is too old of the `older` snapshots, which are all there are; returns the offsets of those that are left.
    """
    replace_file(storage, segment_path(directory, offset, SNAPSHOT_SUFFIX), encode_snapshot(entries))
    there = sorted({*older, offset})
    for old in there[:-SNAPSHOTS_KEPT]:
        with suppress(FileNotFoundError):
            storage.unlink(segment_path(directory, old, SNAPSHOT_SUFFIX))
    return there[-SNAPSHOTS_KEPT:]


def latest_snapshot(
    storage: Storage, directory: str, offsets: Sequence[int], end_offset: int
) -> tuple[int, list[ProducerEntry]]:
    """The newest readable one of the snapshots with these `offsets` that is not from after `end_offset`, and its
    offset; (0, []) without one.

    A damaged snapshot is passed over: an older one and more batches give the same state.
    """
    for offset in sorted(offsets, reverse=True):
        if offset > end_offset:
            continue
        path = segment_path(directory, offset, SNAPSHOT_SUFFIX)
        try:
            return offset, decode_snapshot(read_file(storage, path), path)
        except (CorruptRecordError, ForeignVersionError):
            continue
    return 0, []


def drop_snapshots_after(storage: Storage, directory: str, offsets: Sequence[int], end_offset: int) -> list[int]:
    """Durably remove what was taken of batches that recovery cut off: others will have their offsets.

    Returns the offsets of the snapshots that are left.
    """
    dropped = [offset for offset in offsets if offset > end_offset]
    for offset in dropped:
        storage.unlink(segment_path(directory, offset, SNAPSHOT_SUFFIX))
    if dropped:
        storage.fsync_dir(directory)
    return [offset for offset in offsets if offset <= end_offset]


def replay(entries: Iterable[ProducerEntry], headers: Iterable[BatchHeader]) -> list[ProducerEntry]:
    """Producer state after the batches with `headers`, oldest first, on top of `entries`.

    Only what was accepted once is in a log, so nothing is judged here: the last batch of a producer wins.
    Markers end a transaction and leave the sequence as it was.
    """
    state = {entry.producer_id: entry for entry in entries}
    for header in headers:
        if header.producer_id < 0:
            continue
        before = state.get(header.producer_id)
        transaction = before.transaction_first_offset if before else -1
        if header.is_control:
            same_epoch = before is not None and before.producer_epoch == header.producer_epoch
            state[header.producer_id] = ProducerEntry(
                header.producer_id,
                header.producer_epoch,
                before.last_sequence if before and same_epoch else -1,
                before.last_offset if before and same_epoch else -1,
                before.offset_delta if before and same_epoch else 0,
                header.max_timestamp_ms,
            )
            continue
        if header.is_transactional and transaction < 0:
            transaction = header.base_offset
        state[header.producer_id] = ProducerEntry(
            header.producer_id,
            header.producer_epoch,
            header.last_sequence,
            header.last_offset,
            header.last_offset_delta,
            header.max_timestamp_ms,
            before.coordinator_epoch if before else -1,
            transaction if header.is_transactional else -1,
        )
    return list(state.values())

"""Control batches: the markers that end a transaction. They take an offset and are never shown to an application."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shmlog.errors import CorruptRecordError
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.header import BatchHeader

_KEY: Final = struct.Struct(">hh")  # version, type
_VALUE: Final = struct.Struct(">hi")  # version, coordinator epoch
_VERSION: Final = 0


class MarkerType(IntEnum):
    ABORT = 0
    COMMIT = 1


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of one producer's transaction in one partition."""

    type: MarkerType
    coordinator_epoch: int


def encode_marker(
    marker: Marker,
    *,
    base_offset: int,
    producer_id: int,
    producer_epoch: int,
    timestamp_ms: int,
    leader_epoch: int = 0,
) -> bytes:
    """The 78 bytes of a marker's batch."""
    record = NewRecord(
        key=_KEY.pack(_VERSION, marker.type),
        value=_VALUE.pack(_VERSION, marker.coordinator_epoch),
        timestamp_ms=timestamp_ms,
    )
    return encode_batch(
        [record],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        leader_epoch=leader_epoch,
        transactional=True,
        control=True,
    )


def decode_marker(batch: bytes | memoryview) -> Marker | None:
    """The marker in a control batch; None for a batch that is not one, and for control types of the future.

    Raises CorruptRecordError when a control batch does not hold exactly one record with a marker's key and value.
    """
    header = BatchHeader.parse(batch)
    if not header.is_control:
        return None
    records = decode_records(batch)
    if len(records) != 1:
        raise CorruptRecordError(f"the control batch at offset {header.base_offset} has {len(records)} records")
    key, value = records[0].key, records[0].value
    if key is None or len(key) < _KEY.size:
        raise CorruptRecordError(f"the control record at offset {header.base_offset} has no type")
    _, type_number = _KEY.unpack_from(key)
    if type_number not in (MarkerType.ABORT, MarkerType.COMMIT):
        return None
    if value is None or len(value) < _VALUE.size:
        raise CorruptRecordError(f"the marker at offset {header.base_offset} has no coordinator epoch")
    _, coordinator_epoch = _VALUE.unpack_from(value)
    return Marker(MarkerType(type_number), coordinator_epoch)

"""Reference encoder and decoder of v2 record batches in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError, UnsupportedCompressionTypeError
from shmlog.native.checksum import crc32c
from shmlog.record import compression, layout
from shmlog.record.expansion import plain_records
from shmlog.record.header import BatchHeader
from shmlog.record.varint import append_varint, read_varint

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class NewRecord:
    """What a producer hands over: a record without a place yet. `timestamp_ms` counts from 1970."""

    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int = 0
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record with its place in a partition, as it was decoded from a batch."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def encode_batch(
    records: Sequence[NewRecord],
    *,
    base_offset: int,
    producer_id: int = layout.NO_PRODUCER_ID,
    producer_epoch: int = layout.NO_PRODUCER_EPOCH,
    base_sequence: int = layout.NO_SEQUENCE,
    leader_epoch: int = 0,
    log_append_time_ms: int | None = None,
    transactional: bool = False,
    control: bool = False,
    codec: int = compression.NONE,
) -> bytes:
    """One batch of `records`, with dense offsets from `base_offset` and a valid checksum, compressed with `codec`.

    With `log_append_time_ms` the batch carries the broker's time: every record then reads back with it.
    Raises ValueError for no records.
    """
    if not records:
        raise ValueError("a batch holds at least one record")
    base_timestamp_ms = records[0].timestamp_ms
    max_timestamp_ms = max(record.timestamp_ms for record in records)
    attributes = codec | (layout.TRANSACTIONAL if transactional else 0) | (layout.CONTROL if control else 0)
    if log_append_time_ms is not None:
        attributes |= layout.LOG_APPEND_TIME
        max_timestamp_ms = log_append_time_ms
    batch = bytearray(layout.HEADER_BYTES)
    for offset_delta, record in enumerate(records):
        body = _encode_record(record, offset_delta, record.timestamp_ms - base_timestamp_ms)
        append_varint(batch, len(body))
        batch += body
    if codec:
        batch[layout.HEADER_BYTES :] = compression.compress(codec, batch[layout.HEADER_BYTES :])
    layout.HEADER.pack_into(
        batch,
        0,
        base_offset,
        len(batch) - layout.LENGTH_START,
        leader_epoch,
        layout.MAGIC,
        0,
        attributes,
        len(records) - 1,
        base_timestamp_ms,
        max_timestamp_ms,
        producer_id,
        producer_epoch,
        base_sequence,
        len(records),
    )
    layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(memoryview(batch)[layout.CRC_START :]))
    return bytes(batch)


def decode_records(batch: bytes | memoryview, at: int = 0) -> list[StoredRecord]:
    """The records of the batch at byte `at`, those of control batches included; the checksum is checked first.

    Raises CorruptRecordError when anything does not fit, UnsupportedCompressionTypeError when the library of the
    batch's codec is not installed.
    """
    header = BatchHeader.parse(batch, at)
    end = at + header.size_bytes
    if len(batch) < end:
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} has {header.size_bytes} bytes, only {len(batch) - at} are there"
        )
    if not header.crc_is_valid(batch, at):
        raise CorruptRecordError(f"the checksum of the batch at offset {header.base_offset} is wrong")
    try:
        data = plain_records(batch, header, at)
    except (CorruptRecordError, UnsupportedCompressionTypeError) as error:
        raise type(error)(f"the {header.codec} batch at offset {header.base_offset} cannot be read: {error}") from error
    records: list[StoredRecord] = []
    position, end, previous = 0, len(data), header.base_offset - 1
    for _ in range(header.record_count):
        length, position = read_varint(data, position, end)
        if not 0 <= length <= end - position:
            raise CorruptRecordError(f"a record of the batch at offset {header.base_offset} claims {length} bytes")
        record = _decode_record(data, position, position + length, header)
        if not previous < record.offset <= header.last_offset:
            raise CorruptRecordError(
                f"a record of the batch at offset {header.base_offset} claims offset {record.offset}, which is not"
                f" between {previous} and {header.next_offset}"
            )
        records.append(record)
        previous = record.offset
        position += length
    if position != end:
        raise CorruptRecordError(
            f"{end - position} bytes follow the last record of the batch at offset {header.base_offset}"
        )
    return records


def count_from(batches: bytes | memoryview, header: BatchHeader, at: int, offset: int) -> int:
    """How many records of the batch at byte `at`, whose header that is, have this offset or a later one.

    Looks into it only if it begins before; then raises as decode_records.
    """
    if header.base_offset >= offset:
        return header.record_count
    return sum(record.offset >= offset for record in decode_records(batches, at))


def _encode_record(record: NewRecord, offset_delta: int, timestamp_delta_ms: int) -> bytearray:
    body = bytearray(1)  # the record's attributes, always 0
    append_varint(body, timestamp_delta_ms)
    append_varint(body, offset_delta)
    _append_bytes(body, record.key)
    _append_bytes(body, record.value)
    append_varint(body, len(record.headers))
    for name, value in record.headers:
        _append_bytes(body, name.encode())
        _append_bytes(body, value)
    return body


def _append_bytes(body: bytearray, content: bytes | None) -> None:
    if content is None:
        append_varint(body, -1)
    else:
        append_varint(body, len(content))
        body += content


def _decode_record(data: bytes | memoryview, at: int, end: int, header: BatchHeader) -> StoredRecord:
    timestamp_delta_ms, at = read_varint(data, at + 1, end)
    offset_delta, at = read_varint(data, at, end)
    key, at = _read_bytes(data, at, end)
    value, at = _read_bytes(data, at, end)
    header_count, at = read_varint(data, at, end)
    if not 0 <= header_count <= end - at:
        raise CorruptRecordError(f"a record claims {header_count} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(header_count):
        name, at = _read_bytes(data, at, end)
        content, at = _read_bytes(data, at, end)
        headers.append((_header_name(name), content))
    if at != end:
        raise CorruptRecordError(f"{end - at} bytes follow the last field of a record")
    timestamp_ms = (
        header.max_timestamp_ms if header.is_log_append_time else header.base_timestamp_ms + timestamp_delta_ms
    )
    return StoredRecord(header.base_offset + offset_delta, timestamp_ms, key, value, tuple(headers))


def _read_bytes(data: bytes | memoryview, at: int, end: int) -> tuple[bytes | None, int]:
    length, at = read_varint(data, at, end)
    if length == -1:
        return None, at
    if not 0 <= length <= end - at:
        raise CorruptRecordError(f"a field of a record claims {length} bytes where {end - at} are left")
    return bytes(data[at : at + length]), at + length


def _header_name(name: bytes | None) -> str:
    if name is None:
        raise CorruptRecordError("a header of a record has no name")
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise CorruptRecordError(f"a header's name is not UTF-8: {error}") from error

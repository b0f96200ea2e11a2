"""The header of a v2 batch as an object."""

from __future__ import annotations

from dataclasses import dataclass

from shmlog.errors import CorruptRecordError
from shmlog.native.checksum import crc32c
from shmlog.record import layout


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The 61 bytes in front of a batch's records, with Kafka's names. Offsets count records, sizes bytes."""

    base_offset: int
    size_bytes: int
    """Of the whole batch, this header included."""
    leader_epoch: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @classmethod
    def parse(cls, buffer: bytes | bytearray | memoryview, at: int = 0) -> BatchHeader:
        """The header at byte `at`; does not need the records to be there.

        Raises CorruptRecordError when the bytes are too few, the magic is not 2 or the length cannot be. The checksum
        is not looked at: `crc_is_valid` does.
        """
        if len(buffer) - at < layout.HEADER_BYTES:
            raise CorruptRecordError(
                f"a batch header has {layout.HEADER_BYTES} bytes, only {max(0, len(buffer) - at)} are left"
            )
        fields = layout.HEADER.unpack_from(buffer, at)
        length, magic, last_offset_delta, record_count = fields[1], fields[3], fields[6], fields[12]
        if magic != layout.MAGIC:
            raise CorruptRecordError(f"the magic byte of the batch is {magic}, not {layout.MAGIC}")
        size_bytes = length + layout.LENGTH_START
        if size_bytes < layout.HEADER_BYTES:
            raise CorruptRecordError(f"the batch claims a length of {length} bytes, less than its own header")
        if last_offset_delta < 0 or record_count < 0:
            raise CorruptRecordError(
                f"the batch claims {record_count} records and a last offset {last_offset_delta} after its first"
            )
        return cls(fields[0], size_bytes, fields[2], *fields[4:])

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record, wrapped at 2^31 as Kafka does; -1 without a producer id."""
        if self.base_sequence < 0:
            return layout.NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & 0x7FFFFFFF

    @property
    def codec(self) -> str:
        """The compression's name, "none" without."""
        code = self.attributes & layout.CODEC_MASK
        return layout.CODEC_NAMES[code] if code < len(layout.CODEC_NAMES) else f"unknown codec {code}"

    @property
    def is_log_append_time(self) -> bool:
        return bool(self.attributes & layout.LOG_APPEND_TIME)

    @property
    def append_ms(self) -> int:
        """When its leader appended the batch, if that is the time of its records; 0 if they have their own."""
        return self.max_timestamp_ms if self.is_log_append_time else 0

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & layout.TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & layout.CONTROL)

    def crc_is_valid(self, buffer: bytes | bytearray | memoryview, at: int = 0) -> bool:
        """Whether the checksum fits the batch at byte `at` of `buffer`, of which all bytes must be there."""
        end = at + self.size_bytes
        return len(buffer) >= end and crc32c(memoryview(buffer)[at + layout.CRC_START : end]) == self.crc


def headers_of(batches: bytes | bytearray | memoryview) -> list[BatchHeader]:
    """The headers of bytes that are whole batches; raises as BatchHeader.parse."""
    found, at = [], 0
    while at < len(batches):
        header = BatchHeader.parse(batches, at)
        found.append(header)
        at += header.size_bytes
    return found

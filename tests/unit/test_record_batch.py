"""The reference codec: Kafka's worked bytes, round trips, and what damaged bytes do to it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import CorruptRecordError
from shmlog.native.checksum import crc32c
from shmlog.record import layout
from shmlog.record.batch import NewRecord, StoredRecord, decode_records, encode_batch
from shmlog.record.control import Marker, MarkerType, decode_marker, encode_marker
from shmlog.record.header import BatchHeader
from shmlog.record.varint import append_varint, read_varint
from shmlog.testing.worked_batches import WORKED_BATCH, WORKED_MARKER

WORKED_RECORDS = [
    NewRecord(b"v1", b"k1", 1_700_000_000_000, (("h", b"x"),)),
    NewRecord(None, b"k2", 1_700_000_000_005),
]

names = st.text(st.characters(codec="utf-8"), max_size=8)
contents = st.none() | st.binary(max_size=40)
new_records = st.builds(
    NewRecord,
    value=contents,
    key=contents,
    timestamp_ms=st.integers(-1, 2**53),
    headers=st.lists(st.tuples(names, contents), max_size=3).map(tuple),
)


def test_the_worked_batch_is_encoded_to_the_byte() -> None:
    encoded = encode_batch(WORKED_RECORDS, base_offset=100, producer_id=7, producer_epoch=3, base_sequence=0)
    assert encoded == WORKED_BATCH


def test_the_worked_batch_is_decoded() -> None:
    assert decode_records(WORKED_BATCH) == [
        StoredRecord(100, 1_700_000_000_000, b"k1", b"v1", (("h", b"x"),)),
        StoredRecord(101, 1_700_000_000_005, b"k2", None),
    ]
    header = BatchHeader.parse(WORKED_BATCH)
    assert (header.base_offset, header.last_offset, header.next_offset) == (100, 101, 102)
    assert (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence) == (7, 3, 0, 1)
    assert header.size_bytes == len(WORKED_BATCH)


def test_the_worked_commit_marker_is_encoded_and_decoded() -> None:
    marker = Marker(MarkerType.COMMIT, coordinator_epoch=5)
    assert decode_marker(WORKED_MARKER) == marker
    encoded = encode_marker(marker, base_offset=102, producer_id=7, producer_epoch=3, timestamp_ms=1_700_000_000_010)
    assert encoded == WORKED_MARKER
    assert len(encoded) == 78


def test_a_batch_of_records_is_no_marker() -> None:
    assert decode_marker(WORKED_BATCH) is None


@given(st.lists(new_records, min_size=1, max_size=8), st.integers(0, 2**62))
def test_what_is_encoded_is_decoded(records: list[NewRecord], base_offset: int) -> None:
    assert decode_records(encode_batch(records, base_offset=base_offset)) == [
        StoredRecord(base_offset + number, record.timestamp_ms, record.key, record.value, record.headers)
        for number, record in enumerate(records)
    ]


def test_log_append_time_replaces_the_records_own() -> None:
    batch = encode_batch(WORKED_RECORDS, base_offset=0, log_append_time_ms=99)
    assert [record.timestamp_ms for record in decode_records(batch)] == [99, 99]
    assert BatchHeader.parse(batch).max_timestamp_ms == 99


def test_sequence_numbers_wrap_at_31_bits() -> None:
    batch = encode_batch(WORKED_RECORDS, base_offset=0, producer_id=1, producer_epoch=0, base_sequence=2**31 - 1)
    assert BatchHeader.parse(batch).last_sequence == 0


def test_every_truncation_is_refused() -> None:
    for length in range(len(WORKED_BATCH)):
        with pytest.raises(CorruptRecordError):
            decode_records(WORKED_BATCH[:length])


def test_every_flipped_bit_that_the_checksum_covers_is_refused() -> None:
    for byte in range(layout.MAGIC_AT, len(WORKED_BATCH)):
        for bit in range(8):
            damaged = bytearray(WORKED_BATCH)
            damaged[byte] ^= 1 << bit
            with pytest.raises(CorruptRecordError):
                decode_records(bytes(damaged))


@given(st.binary(max_size=60), st.integers(0, 5))
def test_records_of_nonsense_under_a_right_checksum_are_refused(body: bytes, count: int) -> None:
    """A client may compute the checksum of garbage: it must come out as an error or as records, never as a crash."""
    batch = bytearray(61) + body
    layout.HEADER.pack_into(batch, 0, 5, len(batch) - 12, 0, 2, 0, 0, max(0, count - 1), 0, 0, -1, -1, -1, count)
    layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(bytes(batch[layout.CRC_START :])))
    try:
        decoded = decode_records(bytes(batch))
    except CorruptRecordError:
        return
    assert len(decoded) == count


def test_plain_bytes_that_are_called_lz4_are_refused_by_that_name_and_their_offset() -> None:
    batch = bytearray(WORKED_BATCH)
    batch[22] = 3
    layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(bytes(batch[layout.CRC_START :])))
    with pytest.raises(CorruptRecordError, match="the lz4 batch at offset 100 cannot be read"):
        decode_records(bytes(batch))


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints_round_trip(value: int) -> None:
    encoded = bytearray()
    append_varint(encoded, value)
    assert read_varint(bytes(encoded), 0, len(encoded)) == (value, len(encoded))
    assert len(encoded) <= 10


@pytest.mark.parametrize("endless", [b"\x80" * 11, b"\xff" * 9 + b"\x7f", b"\x80"])
def test_a_varint_without_an_end_is_refused(endless: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        read_varint(endless, 0, len(endless))


def with_right_checksum(batch: bytes) -> bytes:
    """The same bytes with length and checksum made to fit, as a client that means harm would send them."""
    patched = bytearray(batch)
    patched[8:12] = (len(patched) - layout.LENGTH_START).to_bytes(4, "big")
    layout.CRC.pack_into(patched, layout.CRC_AT, crc32c(bytes(patched[layout.CRC_START :])))
    return bytes(patched)


def test_bytes_after_the_last_record_are_refused() -> None:
    with pytest.raises(CorruptRecordError, match="follow the last record"):
        decode_records(with_right_checksum(WORKED_BATCH + b"\0"))


def test_a_header_name_that_is_not_utf_8_is_refused() -> None:
    named = WORKED_BATCH.replace(b"\x02h\x02x", b"\x02\xff\x02x")
    with pytest.raises(CorruptRecordError, match="UTF-8"):
        decode_records(with_right_checksum(named))

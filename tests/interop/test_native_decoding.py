"""The native decoder against batches that kafka-python and aiokafka encoded, and against the reference decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import CorruptRecordError
from shmlog.native.records import Record, decode_batches
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.header import BatchHeader

kafka_default = pytest.importorskip("kafka.record.default_records", reason="needs kafka-python, from the extra test")
aiokafka_default = pytest.importorskip("aiokafka.record.default_records", reason="needs aiokafka, from the extra test")

NO_LIMIT = 2**62
BUILDERS = {
    "kafka-python": kafka_default.DefaultRecordBatchBuilder,
    "aiokafka": aiokafka_default.DefaultRecordBatchBuilder,
}

names = st.text(st.characters(codec="utf-8"), max_size=8)
contents = st.none() | st.binary(max_size=200)
records_of_a_batch = st.lists(
    st.builds(
        NewRecord,
        value=contents,
        key=contents,
        timestamp_ms=st.integers(0, 2**45),
        headers=st.lists(st.tuples(names, contents), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=12,
)


def expected(records: list[NewRecord], base_offset: int) -> list[Record]:
    return [
        Record("t", 3, base_offset + number, record.timestamp_ms, record.key, record.value, record.headers)
        for number, record in enumerate(records)
    ]


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
@given(records=records_of_a_batch)
def test_it_decodes_what_they_encode(builder: Callable[..., Any], records: list[NewRecord]) -> None:
    built = builder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for number, record in enumerate(records):
        built.append(
            number, timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=list(record.headers)
        )
    theirs = bytes(built.build())
    assert decode_batches(theirs, "t", 3, 0, NO_LIMIT, 1000) == (expected(records, 0), len(records), len(theirs))


@given(batches=st.lists(records_of_a_batch, min_size=1, max_size=5), from_offset=st.integers(0, 30))
def test_it_agrees_with_the_reference_over_several_batches(batches: list[list[NewRecord]], from_offset: int) -> None:
    chunk, wanted, offset = b"", [], 0
    for records in batches:
        chunk += encode_batch(records, base_offset=offset)
        wanted += expected(records, offset)
        offset += len(records)
    decoded, next_offset, consumed = decode_batches(chunk, "t", 3, from_offset, NO_LIMIT, 1000)
    assert decoded == wanted[from_offset:]
    assert consumed == len(chunk)
    assert next_offset >= offset


def test_it_steps_over_a_marker_and_stops_before_the_limit() -> None:
    marker = encode_marker(Marker(MarkerType.COMMIT, 1), base_offset=1, producer_id=7, producer_epoch=0, timestamp_ms=5)
    chunk = encode_batch([NewRecord(b"a")], base_offset=0) + marker + encode_batch([NewRecord(b"b")], base_offset=2)
    records, next_offset, consumed = decode_batches(chunk, "t", 3, 0, NO_LIMIT, 1000)
    assert ([record.value for record in records], next_offset, consumed) == ([b"a", b"b"], 3, len(chunk))
    records, next_offset, _ = decode_batches(chunk, "t", 3, 0, 2, 1000)
    assert ([record.value for record in records], next_offset) == ([b"a"], 2)


@given(records=records_of_a_batch, data=st.data())
def test_it_refuses_every_flipped_bit_that_the_reference_refuses(records: list[NewRecord], data: st.DataObject) -> None:
    batch = bytearray(encode_batch(records, base_offset=0))
    byte = data.draw(st.integers(16, len(batch) - 1))
    batch[byte] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRecordError):
        decode_records(bytes(batch))
    with pytest.raises(CorruptRecordError):
        decode_batches(bytes(batch), "t", 3, 0, NO_LIMIT, 1000)


def test_the_header_of_a_batch_that_it_left_is_where_it_says() -> None:
    first = encode_batch([NewRecord(b"a")] * 3, base_offset=0)
    chunk = first + encode_batch([NewRecord(b"b")] * 3, base_offset=3)
    _, next_offset, consumed = decode_batches(chunk, "t", 3, 0, NO_LIMIT, 3)
    assert (next_offset, consumed) == (3, len(first))
    assert BatchHeader.parse(chunk, consumed).base_offset == 3

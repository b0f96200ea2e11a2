"""Columns out of batches: the same records as one by one, the same errors, and what arrays are made of them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st

from shmlog.errors import CorruptRecordError, InvalidArgumentError
from shmlog.native.checksum import crc32c
from shmlog.native.columns import RecordColumns, decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.record import layout
from shmlog.record.batch import NewRecord, encode_batch

NO_LIMIT = 2**63 - 1
contents = st.none() | st.binary(max_size=40) | st.binary(min_size=60, max_size=200)
new_records = st.builds(
    NewRecord,
    value=contents,
    key=contents,
    timestamp_ms=st.integers(0, 2**53),
    headers=st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=8), contents), max_size=2).map(tuple),
)
batches = st.lists(st.lists(new_records, min_size=1, max_size=5), max_size=5)


def chunk_of(groups: list[list[NewRecord]], *, first: int = 0) -> bytes:
    chunk = b""
    for group in groups:
        chunk += encode_batch(group, base_offset=first)
        first += len(group)
    return chunk


def of_values(*values: bytes | None) -> RecordColumns:
    return decode_columns(chunk_of([[NewRecord(value, value) for value in values]]), "t", 3, 0, NO_LIMIT, 1000)[0]


def contents_of(columns: RecordColumns) -> list[Record]:
    """What the arrays say, put together by plain Python."""

    def cut(start: int, length: int) -> bytes | None:
        return columns.buffer[start : start + length] if length >= 0 else None

    return [
        Record("t", 3, offset, timestamp, cut(key, key_bytes), cut(value, value_bytes), headers)
        for offset, timestamp, key, key_bytes, value, value_bytes, headers in zip(
            columns.offsets.tolist(), columns.timestamps_ms.tolist(), columns.key_starts.tolist(),
            columns.key_lengths.tolist(), columns.value_starts.tolist(), columns.value_lengths.tolist(),
            columns.headers(), strict=True,
        )
    ]  # fmt: skip


# --- decoding ---------------------------------------------------------------------------------------------------------


@given(batches, st.integers(0, 30), st.integers(0, 30) | st.just(NO_LIMIT), st.integers(1, 30))
def test_columns_are_the_records_that_are_decoded_one_by_one(
    groups: list[list[NewRecord]], start: int, limit: int, most: int
) -> None:
    chunk = chunk_of(groups)
    records, *rest = decode_batches(chunk, "t", 3, start, limit, most)
    columns, *columns_rest = decode_columns(chunk, "t", 3, start, limit, most)
    assert contents_of(columns) == records
    assert columns_rest == rest
    assert list(columns) == records
    assert columns.values() == [record.value for record in records]
    assert columns.keys() == [record.key for record in records]
    assert columns.has_headers == any(record.headers for record in records)


@settings(max_examples=300)
@given(batches.filter(bool), st.data())
@example([[NewRecord(b"a"), NewRecord(b"b")], [NewRecord(b"c")]], None)
def test_damage_is_told_in_the_same_words_and_as_late(
    groups: list[list[NewRecord]], data: st.DataObject | None
) -> None:
    """Bytes are changed anywhere, with the checksum made to fit or not, and the chunk may end anywhere."""
    chunk = bytearray(chunk_of(groups))
    if data is not None:
        for _ in range(data.draw(st.integers(1, 3))):
            chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            sign_all(chunk)
        del chunk[data.draw(st.integers(0, len(chunk)) | st.just(len(chunk))) :]

    def outcome(decode: object) -> object:
        try:
            found, *rest = decode(bytes(chunk), "t", 3, 0, NO_LIMIT, 1000)  # type: ignore[operator]  # either decoder
            return [(record.offset, record.timestamp_ms, record.key, record.value) for record in found], rest
        except CorruptRecordError as error:
            return str(error)

    assert outcome(decode_columns) == outcome(decode_batches)


def sign_all(chunk: bytearray) -> None:
    """Make every checksum fit, as somebody who can write segment files could."""
    at = 0
    while len(chunk) - at >= layout.HEADER_BYTES:
        end = at + layout.LENGTH_START + int.from_bytes(chunk[at + 8 : at + 12], "big")
        if not at + layout.HEADER_BYTES <= end <= len(chunk):
            return
        layout.CRC.pack_into(chunk, at + layout.CRC_AT, crc32c(bytes(chunk[at + layout.CRC_START : end])))
        at = end


@pytest.mark.parametrize("offset_delta", [0, 40])
def test_offsets_that_lie_under_a_right_checksum_are_refused(offset_delta: int) -> None:
    """One that comes twice, and one beyond the batch's last."""
    chunk = bytearray(chunk_of([[NewRecord(b"a"), NewRecord(b"b")]], first=5))
    second = chunk.index(b"a") + 2  # behind the first value and its header count: length, attributes, timestamp, offset
    chunk[second + 3] = 2 * offset_delta
    sign_all(chunk)
    found, position, *_ = decode_columns(bytes(chunk), "t", 3, 5, NO_LIMIT, 1000)
    assert (found.values(), position) == ([b"a"], 6)
    with pytest.raises(CorruptRecordError, match="record 1 of the batch at offset 5 is damaged"):
        decode_columns(bytes(chunk), "t", 3, 6, NO_LIMIT, 1000)


@pytest.mark.parametrize("claimed", [0, 1, 2, 4, 1000, 2**31 - 1, 2**32 - 1])
def test_a_count_that_lies_takes_no_memory_and_is_found_out(claimed: int) -> None:
    """What is kept for a batch goes by its bytes, whatever it claims."""
    chunk = bytearray(chunk_of([[NewRecord(b"a"), NewRecord(b"b"), NewRecord(b"c")]]))
    chunk[57:61] = claimed.to_bytes(4, "big")
    sign_all(chunk)
    found, position, consumed, _ = (
        decode_columns(bytes(chunk), "t", 3, 0, NO_LIMIT, 1000) if claimed else (b"", 0, 0, 0)
    )
    assert (len(found), position, consumed) == (min(claimed, 3), min(claimed, 3), 0)
    if claimed < 3:
        with pytest.raises(CorruptRecordError, match="bytes follow the last record"):
            decode_columns(bytes(chunk), "t", 3, position, NO_LIMIT, 1000)


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_values_at_equal_distances_are_not_copied() -> None:
    columns = of_values(*[b"%04d" % k for k in range(30)])
    array = columns.values_as("S4")
    assert array.tolist() == columns.values()
    assert array.strides[0] > 4
    assert np.shares_memory(array, np.frombuffer(columns.buffer, np.uint8))
    assert np.shares_memory(columns.keys_as("V4"), np.frombuffer(columns.buffer, np.uint8))


def test_values_of_several_batches_are_put_together() -> None:
    chunk = chunk_of([[NewRecord(b"%04d" % k) for k in range(group, group + 5)] for group in (0, 5)])
    columns, *_ = decode_columns(chunk, "t", 3, 0, NO_LIMIT, 1000)
    array = columns.values_as("V4")
    assert array.tobytes() == b"".join(b"%04d" % k for k in range(10))


def test_shorter_values_are_filled_up_only_where_numpy_does_it() -> None:
    columns = of_values(b"abcd", b"", b"ef")
    assert columns.values_as("S4").tolist() == [b"abcd", b"", b"ef"]
    with pytest.raises(InvalidArgumentError, match=r"the value of t-3@1 has 0 bytes, and \|V4 has 4"):
        columns.values_as("V4")
    with pytest.raises(InvalidArgumentError, match=r"the value of t-3@0 has 4 bytes, and \|S3 has 3: choose a dtype"):
        columns.values_as("S3")


def test_a_null_is_in_no_array_of_bytes() -> None:
    with pytest.raises(InvalidArgumentError, match=r"the key of t-3@1 is null.*take keys\(\)"):
        of_values(b"a", None).keys_as("S1")


@pytest.mark.parametrize("dtype", ["O", "S", [("a", "O")]])
def test_a_dtype_that_holds_no_bytes_of_fixed_width_is_refused(dtype: object) -> None:
    with pytest.raises(InvalidArgumentError, match="one of a fixed width"):
        of_values(b"a").values_as(dtype)  # type: ignore[arg-type]  # which is what is tried


@pytest.mark.parametrize("several", [False, True])
def test_values_are_numbers_structures_and_rows(several: bool) -> None:
    values = [bytes(range(k, k + 8)) for k in range(4)]
    groups = [[NewRecord(value)] for value in values] if several else [[NewRecord(value) for value in values]]
    columns, *_ = decode_columns(chunk_of(groups), "t", 3, 0, NO_LIMIT, 1000)
    assert columns.values_as("<u8").tolist() == [int.from_bytes(value, "little") for value in values]
    assert columns.values_as([("a", "<u4"), ("b", ">u4")])["b"].tolist() == [
        int.from_bytes(value[4:], "big") for value in values
    ]
    rows = columns.values_as("(8,)u1")
    assert (rows.shape, rows[2].tobytes()) == ((4, 8), values[2])


def test_nothing_of_columns_can_be_written_to() -> None:
    columns = of_values(b"abcd", b"efgh")
    for array in (
        columns.offsets,
        columns.value_starts,
        columns.values_as("S4"),
        of_values(b"a", b"bc").values_as("S2"),
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_a_part_of_columns_is_columns_and_a_single_one_is_a_record() -> None:
    columns = of_values(*[b"%d" % k for k in range(10)])
    part = columns[3:7]
    assert (len(part), part.offsets.tolist(), part.values()) == (4, [3, 4, 5, 6], [b"3", b"4", b"5", b"6"])
    assert part[1:][0] == columns[4] == Record("t", 3, 4, columns[4].timestamp_ms, b"4", b"4")
    assert part[-1].offset == 6
    assert part.values_as("S1").tolist() == part.values()
    assert not columns[7:3]
    assert pickle.loads(pickle.dumps(part[0])) == part[0]
    with pytest.raises(IndexError, match="there are 4 records, none has number 4"):
        part[4]
    with pytest.raises(InvalidArgumentError, match="without a step"):
        columns[::2]


def test_no_columns_are_false_and_empty_in_every_form() -> None:
    nothing = RecordColumns()
    assert not nothing
    assert (nothing.values(), nothing.keys(), nothing.headers(), list(nothing)) == ([], [], [], [])
    assert nothing.offsets.tolist() == nothing.values_as("S5").tolist() == []
    assert repr(of_values(b"a", b"b")) == "<2 records of t-3>"


def test_records_and_arrays_outlive_their_columns() -> None:
    columns = of_values(*[b"%04d" % k for k in range(5)])
    array, record = columns.values_as("S4"), columns[3]
    del columns
    assert array.tolist() == [b"%04d" % k for k in range(5)]
    assert record.value == b"0003"


@given(st.lists(contents, max_size=20))
def test_arrow_arrays_point_into_the_buffer(values: list[bytes | None]) -> None:
    pa = pytest.importorskip("pyarrow")
    columns = of_values(*values) if values else RecordColumns()
    batch = columns.to_arrow()
    batch.validate(full=True)
    assert batch.schema.names == ["offset", "timestamp_ms", "key", "value"]
    assert batch["value"].to_pylist() == batch["key"].to_pylist() == values
    assert batch["offset"].to_pylist() == list(range(len(values)))
    assert batch["value"].type == pa.binary_view()
    assert batch["value"].buffers()[2].address == pa.py_buffer(columns.buffer).address
    assert batch["value"].cast(pa.binary()).to_pylist() == values

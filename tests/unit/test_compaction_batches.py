"""The two passes over batches: the newest offset of each key, and what stays of a batch, byte for byte Kafka's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from shmlog.native.checksum import crc32c
from shmlog.native.compaction import SLOT_BYTES, BatchFilter, OffsetMap, Walked
from shmlog.native.records import decode_batches
from shmlog.record import layout
from shmlog.record.batch import NewRecord, StoredRecord, decode_records, encode_batch
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.header import BatchHeader
from shmlog.record.varint import append_varint

SEED = bytes(range(16))
NOW_MS = 1_800_000_000_000
RETENTION_MS = 1000


def offset_map(keys_max: int = 100, slots: int = 1000) -> OffsetMap:
    return OffsetMap(bytearray(slots * SLOT_BYTES), SEED, keys_max)


def batch_filter(newest: OffsetMap, **changes: object) -> BatchFilter:
    arguments = {
        "first_dirty_offset": 0,
        "map_end_offset": 1000,
        "end_offset": 1000,
        "now_ms": NOW_MS,
        "delete_retention_ms": RETENTION_MS,
        "producers": {},
    }
    return BatchFilter(newest, **{**arguments, **changes})  # type: ignore[arg-type]  # of a table


def mapped(*batches: bytes) -> OffsetMap:
    newest = offset_map()
    walked = newest.add_batches(b"".join(batches), BatchHeader.parse(batches[0]).base_offset, 0, 0)
    assert not walked.problem
    return newest


def filtered(filter_: BatchFilter, batch: bytes, dense_from: int = 0) -> bytes:
    out = bytearray(4 * len(batch) + 100)
    walked = filter_.filter_batches(batch, out, BatchHeader.parse(batch).base_offset, dense_from)
    assert (walked.problem, walked.done_bytes) == ("", len(batch))
    return bytes(out[: walked.filled_bytes])


def record(key: bytes | None, value: bytes | None = b"v", timestamp_ms: int = 5000) -> NewRecord:
    return NewRecord(value, key, timestamp_ms)


# --- what is not sound ------------------------------------------------------------------------------------------------


def broken(at: int, with_: bytes, *, sealed: bool = True) -> bytes:
    """A batch of three records with other bytes somewhere, and a checksum that fits them."""
    with_header = NewRecord(b"v", b"c", 5000, (("h", b"x"),))
    batch = bytearray(encode_batch([record(b"a"), record(b"b"), with_header], base_offset=10))
    batch[at : at + len(with_)] = with_
    if sealed:
        layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(memoryview(batch)[layout.CRC_START :]))
    return bytes(batch)


DAMAGED = {
    "length": (broken(8, b"\0\0\0\x30"), "length"),
    "negative length": (broken(8, b"\xff\xff\xff\xff"), "length"),
    "magic": (broken(16, b"\1"), "magic"),
    "offset": (broken(0, (11).to_bytes(8, "big")), "base offset"),
    "offset before": (broken(0, (9).to_bytes(8, "big")), "base offset"),
    "last offset": (broken(23, b"\xff\xff\xff\xff"), "count"),
    "count": (broken(57, (2).to_bytes(4, "big")), "count"),
    "checksum": (broken(66, b"x", sealed=False), "checksum"),
    "codec": (broken(22, b"\1"), "compressed"),
    "record length": (broken(61, b"\x7e"), "records"),
    "record offset": (broken(64, b"\x08"), "records"),
    "record offset again": (broken(73, b"\x00"), "records"),
    "header": (broken(88, b"\x04"), "records"),
    "trailing": (broken(23, encode_batch([record(b"a")] * 2, base_offset=0)[23:61]), "records"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_both_passes_refuse_a_batch_that_is_not_sound_and_say_why(name: str) -> None:
    batch, problem = DAMAGED[name]
    before = encode_batch([record(b"a"), record(b"b")], base_offset=8)
    for walked in (
        offset_map().add_batches(before + batch, 8, 0, 0),
        batch_filter(offset_map()).filter_batches(before + batch, bytearray(1000), 8, 0),
    ):
        assert problem in walked.problem
        assert (walked.done_bytes, walked.next_offset) == (len(before), 10)


def test_offsets_may_be_missing_where_compaction_was_and_nowhere_else() -> None:
    before = encode_batch([record(b"a"), record(b"b")], base_offset=0)
    behind = encode_batch([record(b"c")], base_offset=5)
    holes = filtered(
        batch_filter(mapped(encode_batch([record(b"x"), record(b"x"), record(b"y")], base_offset=6))),
        encode_batch([record(b"x"), record(b"x"), record(b"y")], base_offset=6),
    )
    for dense_from, done in ((4, 1), (5, 2), (8, 2), (9, 3)):
        walked = offset_map().add_batches(before + behind + holes, 0, dense_from, 0)
        assert walked.done_bytes == len(b"".join((before, behind, holes)[:done])), f"dense from {dense_from}"
        assert bool(walked.problem) == (done < 3)


def test_what_the_data_has_only_the_beginning_of_is_left_and_asked_for() -> None:
    batch = encode_batch([record(b"a")], base_offset=0)
    for size, wanted in ((len(batch) - 1, len(batch)), (61, len(batch)), (60, 61), (0, 0)):
        assert offset_map().add_batches(batch[:size], 0, 0, 0) == Walked(0, 0, 0, wanted, 0, "")
    two = batch + encode_batch([record(b"b")], base_offset=1)
    assert offset_map().add_batches(two[:-1], 0, 0, 0) == Walked(len(batch), 1, 0, len(batch), 0, "")


def test_a_batch_for_which_there_is_no_room_is_left_and_says_what_it_takes() -> None:
    batch = encode_batch([record(b"a")], base_offset=0)
    filter_ = batch_filter(offset_map())
    assert filter_.filter_batches(batch, bytearray(len(batch) - 1), 0, 0) == Walked(0, 0, 0, 0, len(batch), "")
    assert filter_.records_read == 0
    assert filter_.filter_batches(batch, bytearray(len(batch)), 0, 0).filled_bytes == len(batch)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_a_batch_of_which_everything_stays_is_not_touched() -> None:
    batch = encode_batch([record(b"a"), record(b"b")], base_offset=0)
    filter_ = batch_filter(mapped(batch))
    assert filtered(filter_, batch) == batch
    assert (filter_.records_read, filter_.records_kept, filter_.batches_changed) == (2, 2, 0)


def test_a_batch_that_loses_records_keeps_its_offsets_producer_and_epoch() -> None:
    records = [record(b"a", b"old", 100), record(b"b", b"stays", 300), record(b"a", b"new", 200)]
    batch = encode_batch(records, base_offset=7, producer_id=9, producer_epoch=3, base_sequence=50, leader_epoch=4)
    left = filtered(batch_filter(mapped(batch)), batch)
    before, after = BatchHeader.parse(batch), BatchHeader.parse(left)
    assert after == replace(
        before, size_bytes=len(left), crc=after.crc, base_timestamp_ms=300, max_timestamp_ms=300, record_count=2
    )
    assert decode_records(left) == [
        StoredRecord(8, 300, b"b", b"stays"),
        StoredRecord(9, 200, b"a", b"new"),
    ]


def test_the_brokers_time_stays_the_time_of_a_batch() -> None:
    batch = encode_batch([record(b"a", b"1", 5), record(b"a", b"2", 9)], base_offset=0, log_append_time_ms=7777)
    left = filtered(batch_filter(mapped(batch)), batch)
    after = BatchHeader.parse(left)
    assert (after.is_log_append_time, after.base_timestamp_ms, after.max_timestamp_ms) == (True, 7777, 7777)
    assert decode_records(left) == [StoredRecord(1, 7777, b"a", b"2")]
    records = [record(b"a", b"1", 7777), record(b"b", b"2", 9), record(b"a", b"3", 5)]
    batch = encode_batch(records, base_offset=0, log_append_time_ms=7777)
    left = filtered(batch_filter(mapped(batch)), batch)
    kept = [StoredRecord(1, 7777, b"b", b"2"), StoredRecord(2, 7777, b"a", b"3")]
    assert left[layout.HEADER_BYTES :] == encoded(kept, 0, 7777), "as Kafka: no record says another time"


def test_records_without_a_key_go() -> None:
    batch = encode_batch([record(None), record(b"a")], base_offset=0)
    filter_ = batch_filter(mapped(batch))
    assert [one.key for one in decode_records(filtered(filter_, batch))] == [b"a"]
    assert filter_.keyless_dropped == 1


def test_what_is_behind_the_maps_end_is_not_touched() -> None:
    batch = encode_batch([record(None), record(b"a", None), record(b"a")], base_offset=10)
    assert filtered(batch_filter(mapped(batch), map_end_offset=10), batch) == batch


def test_a_batch_without_records_goes_unless_it_is_its_producers_last_or_the_last_of_all() -> None:
    newer = encode_batch([record(b"a")], base_offset=20)
    old = encode_batch(
        [record(b"a"), record(b"a")], base_offset=10, producer_id=5, producer_epoch=2, base_sequence=8, leader_epoch=1
    )
    assert filtered(batch_filter(mapped(newer)), old) == b""
    assert filtered(batch_filter(mapped(newer), producers={5: 20, 4: 11}), old) == b""
    expected = bytearray(old[: layout.HEADER_BYTES])
    header = BatchHeader.parse(old)
    layout.HEADER.pack_into(expected, 0, 10, 49, 1, 2, 0, 0, 1, -1, header.max_timestamp_ms, 5, 2, 8, 0)
    layout.CRC.pack_into(expected, layout.CRC_AT, crc32c(memoryview(expected)[layout.CRC_START :]))
    for keeps in ({"producers": {5: 11, 6: 3, 4: 1}}, {"end_offset": 12}):
        filter_ = batch_filter(mapped(newer), **keeps)
        left = filtered(filter_, old)
        assert left == expected
        assert (filter_.records_read, filter_.records_kept, filter_.batches_changed) == (2, 0, 1)
        again = batch_filter(mapped(newer), **keeps)
        assert filtered(again, left, dense_from=12) == left, "once more changes nothing"
        assert again.batches_changed == 0
        assert filtered(batch_filter(mapped(newer)), left, dense_from=12) == b"", "until it may go"


def test_a_batch_can_be_emptied_on_purpose() -> None:
    filter_ = batch_filter(offset_map())
    assert filter_.empty_last_batch() == b""
    batch = encode_batch([record(b"a"), record(b"b")], base_offset=3)
    filtered(filter_, batch)
    empty = BatchHeader.parse(filter_.empty_last_batch())
    assert (empty.base_offset, empty.last_offset, empty.record_count, empty.size_bytes) == (3, 4, 0, 61)


def test_markers_stay_as_they_are() -> None:
    marker = encode_marker(Marker(MarkerType.COMMIT, 1), base_offset=5, producer_id=1, producer_epoch=0, timestamp_ms=1)
    assert filtered(batch_filter(offset_map()), marker) == marker


def test_of_transactions_only_what_was_replaced_goes() -> None:
    """Nobody knows here whether they were aborted: what they say must not delete anything, nor ever be forgotten."""
    batch = encode_batch(
        [record(b"a"), record(b"b", None)], base_offset=0, producer_id=1, producer_epoch=0, transactional=True
    )
    filter_ = batch_filter(mapped(encode_batch([record(b"a")], base_offset=5)))
    left = filtered(filter_, batch)
    assert [one.key for one in decode_records(left)] == [b"b"]
    assert not BatchHeader.parse(left).attributes & layout.DELETE_HORIZON
    assert filter_.delete_horizon_ms == 0
    dated = bytearray(left)
    layout.ATTRIBUTES.pack_into(dated, layout.ATTRIBUTES_AT, layout.TRANSACTIONAL | layout.DELETE_HORIZON)
    layout.CRC.pack_into(dated, layout.CRC_AT, crc32c(memoryview(dated)[layout.CRC_START :]))
    assert filtered(batch_filter(offset_map(), first_dirty_offset=9), bytes(dated), dense_from=9) == dated


# --- tombstones -------------------------------------------------------------------------------------------------------


def test_a_tombstone_gets_its_time_when_it_is_cleaned_and_goes_when_that_has_passed() -> None:
    batch = encode_batch([record(b"a", b"1", 100), record(b"b", None, 400), record(b"c", b"2", 250)], base_offset=0)
    first = batch_filter(mapped(batch))
    dated = filtered(first, batch)
    horizon_ms = NOW_MS + RETENTION_MS
    header = BatchHeader.parse(dated)
    assert header.attributes == layout.DELETE_HORIZON
    assert (header.base_timestamp_ms, header.max_timestamp_ms, header.record_count) == (horizon_ms, 400, 3)
    assert decode_records(dated) == decode_records(batch), "times of records are what they were"
    assert (first.tombstones_kept, first.delete_horizon_ms, first.batches_changed) == (1, horizon_ms, 1)

    waits = batch_filter(offset_map(), first_dirty_offset=3, now_ms=horizon_ms - 1)
    assert filtered(waits, dated) == dated
    assert (waits.tombstones_kept, waits.delete_horizon_ms, waits.batches_changed) == (1, horizon_ms, 0)

    passed = batch_filter(offset_map(), first_dirty_offset=3, now_ms=horizon_ms)
    left = filtered(passed, dated)
    assert decode_records(left) == [decode_records(batch)[0], decode_records(batch)[2]]
    assert (passed.tombstones_kept, passed.tombstones_dropped, passed.delete_horizon_ms) == (0, 1, 0)
    header = BatchHeader.parse(left)
    assert (header.attributes, header.base_timestamp_ms) == (layout.DELETE_HORIZON, horizon_ms), "as Kafka leaves it"


def test_a_tombstone_that_was_not_clean_before_gets_its_time_anew() -> None:
    """A cleaning that was broken off had dated it, and what it deletes may have been there until now."""
    batch = encode_batch([record(b"a", None)], base_offset=0)
    dated = filtered(batch_filter(mapped(batch)), batch)
    later = batch_filter(mapped(batch), now_ms=NOW_MS + 10 * RETENTION_MS)
    left = filtered(later, dated)
    assert BatchHeader.parse(left).base_timestamp_ms == NOW_MS + 11 * RETENTION_MS
    assert decode_records(left) == decode_records(batch)


def test_a_tombstone_that_was_replaced_goes_at_once() -> None:
    batch = encode_batch([record(b"a", None), record(b"b")], base_offset=0)
    filter_ = batch_filter(mapped(batch, encode_batch([record(b"a")], base_offset=2)))
    assert [one.key for one in decode_records(filtered(filter_, batch))] == [b"b"]
    assert (filter_.tombstones_kept, filter_.tombstones_dropped, filter_.delete_horizon_ms) == (0, 0, 0)


def test_a_retention_without_end_does_not_overflow() -> None:
    batch = encode_batch([record(b"a", None)], base_offset=0)
    left = filtered(batch_filter(mapped(batch), delete_retention_ms=2**63 - 1), batch)
    assert BatchHeader.parse(left).base_timestamp_ms > 2**60
    assert decode_records(left) == decode_records(batch)


# --- against a second way to say it -----------------------------------------------------------------------------------

KEYS = (b"a", b"b", b"c", b"k" * 70, b"")
NEW_RECORDS = st.builds(
    NewRecord,
    st.none() | st.binary(max_size=80),
    st.none() | st.sampled_from(KEYS),
    st.integers(0, 2**41) | st.integers(NOW_MS, NOW_MS + 200),
    st.just(()) | st.just((("h", b"x"), ("g", None))),
)


def encoded(records: Sequence[StoredRecord], base_offset: int, base_ms: int) -> bytes:
    """Records as they stand in a batch that says these bases."""
    block = bytearray()
    for one in records:
        body = bytearray(1)
        append_varint(body, one.timestamp_ms - base_ms)
        append_varint(body, one.offset - base_offset)
        for content in (one.key, one.value):
            append_varint(body, -1 if content is None else len(content))
            body += content or b""
        append_varint(body, len(one.headers))
        for name, value in one.headers:
            append_varint(body, len(name))
            body += name.encode()
            append_varint(body, -1 if value is None else len(value))
            body += value or b""
        append_varint(block, len(body))
        block += body
    return bytes(block)


@settings(max_examples=300)
@given(st.lists(NEW_RECORDS, min_size=1, max_size=40), st.lists(st.sampled_from(KEYS), max_size=3))
def test_what_stays_of_a_batch_is_what_a_second_encoder_writes(records: list[NewRecord], newer: list[bytes]) -> None:
    batch = encode_batch(records, base_offset=5, producer_id=1, producer_epoch=2, base_sequence=3, leader_epoch=4)
    behind = [encode_batch([record(key) for key in newer], base_offset=5 + len(records))] if newer else []
    stored = decode_records(batch)
    last = {one.key: one.offset for one in stored} | dict.fromkeys(newer, 10**6)
    kept = [one for one in stored if one.key is not None and last[one.key] == one.offset]
    left = filtered(batch_filter(mapped(batch, *behind)), batch)
    dated = any(one.value is None for one in kept)
    if not kept:
        assert left == b""
    elif kept == stored and not dated:
        assert left == batch
    else:
        base_ms = NOW_MS + RETENTION_MS if dated else kept[0].timestamp_ms
        header = BatchHeader.parse(left)
        assert header.crc_is_valid(left)
        assert left[layout.HEADER_BYTES :] == encoded(kept, 5, base_ms)
        assert header == replace(
            BatchHeader.parse(batch),
            size_bytes=len(left),
            crc=header.crc,
            attributes=layout.DELETE_HORIZON if dated else 0,
            base_timestamp_ms=base_ms,
            max_timestamp_ms=max(one.timestamp_ms for one in kept),
            record_count=len(kept),
        )


@settings(max_examples=200)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=8), st.booleans())
def test_bytes_that_somebody_spoiled_are_refused_or_harmless(at: int, with_: bytes, sealed: bool) -> None:
    """With a checksum that fits them, too: nothing is read outside the batch, and what is written is a sound batch."""
    batch = bytearray(encode_batch([record(b"a"), record(b"b", None), record(b"c" * 40), record(b"a")], base_offset=10))
    at %= len(batch)
    batch[at : at + len(with_)] = with_
    if sealed:
        layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(memoryview(batch)[layout.CRC_START :]))
    newest = offset_map()
    mapping = newest.add_batches(bytes(batch), 10, 0, 0)
    out = bytearray(1000)
    walked = batch_filter(newest).filter_batches(bytes(batch), out, 10, 0)
    assert (walked.problem, walked.wanted_bytes) == (mapping.problem, mapping.wanted_bytes)
    if walked.filled_bytes and not BatchHeader.parse(out).is_control:
        left = bytes(out[: walked.filled_bytes])
        records, *_ = decode_batches(left, "t", 0, 0, 2**62, 100)
        assert len(records) == BatchHeader.parse(left).record_count

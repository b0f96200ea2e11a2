"""Codecs, and what a reader makes of compressed batches: round trips, damage, bombs, missing libraries."""

from __future__ import annotations

import struct
import sys
import zlib
from contextlib import suppress

import cramjam
import pytest
from hypothesis import given, settings, strategies as st

from shmlog.errors import CorruptRecordError, UnsupportedCompressionTypeError
from shmlog.native.checksum import crc32c
from shmlog.native.records import Record, decode_batches
from shmlog.native.scan import find_compressed
from shmlog.record import compression, layout
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD, compress, decompress
from shmlog.record.expansion import RECORDS_BYTES_MAX, expand
from shmlog.testing.worked_batches import WORKED_MARKER

MIB = 1 << 20
NO_LIMIT = 1 << 62
each_codec = pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=compression.name_of)
each_library_codec = pytest.mark.parametrize("codec", [SNAPPY, LZ4, ZSTD], ids=compression.name_of)


def batch_of(codec: int, base_offset: int = 0, count: int = 3, value: bytes = b"value " * 50) -> bytes:
    records = [NewRecord(value + b"%d" % number, b"key", 1000 + number, (("h", None),)) for number in range(count)]
    return encode_batch(records, base_offset=base_offset, producer_id=7, producer_epoch=1, base_sequence=5, codec=codec)


def with_records(records: bytes, codec: int, count: int = 1) -> bytes:
    """A batch with a right checksum over `records`, whatever these are."""
    batch = bytearray(batch_of(NONE, 40, count)[: layout.HEADER_BYTES]) + records
    layout.LENGTH.pack_into(batch, layout.LENGTH_AT, len(batch) - layout.LENGTH_START)
    layout.ATTRIBUTES.pack_into(batch, layout.ATTRIBUTES_AT, codec)
    layout.CRC.pack_into(batch, layout.CRC_AT, crc32c(batch[layout.CRC_START :]))
    return bytes(batch)


def read(chunk: bytes, from_offset: int = 0) -> list[Record]:
    plain, done = expand(chunk, "t-3", NO_LIMIT)
    assert done == len(chunk)
    records, _, consumed, _ = decode_batches(plain, "t", 3, from_offset, NO_LIMIT, 1 << 30)
    assert consumed == len(plain)
    return records


# --- codecs -----------------------------------------------------------------------------------------------------------


@each_codec
@given(data=st.binary(max_size=3000) | st.builds(lambda unit, n: unit * n, st.binary(max_size=9), st.integers(0, 9000)))
def test_what_is_compressed_comes_back(codec: int, data: bytes) -> None:
    assert decompress(codec, compress(codec, data), MIB) == data
    assert decompress(codec, memoryview(compress(codec, memoryview(data))), len(data)) == data


@each_codec
@pytest.mark.parametrize("size_bytes", [0, 1, 32 * 1024, 32 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, MIB])
def test_every_size_up_to_a_mebibyte_comes_back(codec: int, size_bytes: int) -> None:
    for unit in (b"\0", b"a record of some kind, ", bytes(range(256)), crc32c_noise()):
        data = (unit * (size_bytes // len(unit) + 1))[:size_bytes]
        assert decompress(codec, compress(codec, data), size_bytes) == data


def crc32c_noise() -> bytes:
    """Bytes that no codec makes smaller."""
    return b"".join(struct.pack("<I", crc32c(struct.pack("<I", number))) for number in range(MIB // 4))


@each_codec
def test_every_level_that_kafka_has_is_taken_and_comes_back(codec: int) -> None:
    if codec not in compression.LEVELS:
        return
    levels = compression.LEVELS[codec]
    data = b"".join(b"%d,EWR,%d;" % (number, number * number) for number in range(3000))
    for level in {levels.lowest, -5, -1, 1, 2, 3, 6, 9, 12, 17, 19, levels.highest, levels.default}:
        if levels.lowest <= level <= levels.highest and (codec, level) != (GZIP, -5):
            assert decompress(codec, compress(codec, data, level), len(data)) == data
    assert compress(codec, data) == compress(codec, data, levels.default)


def test_a_higher_level_makes_less_of_it() -> None:
    data = b"".join(b"%d,EWR,%d;" % (number, number * number) for number in range(3000))
    for codec, low, high in ((GZIP, 1, 9), (LZ4, 9, 12), (ZSTD, -50, 19)):
        assert len(compress(codec, data, high)) < len(compress(codec, data, low))


def test_lz4_frames_are_of_the_kind_that_kafka_reads() -> None:
    frame = compress(LZ4, b"abc" * 100_000)
    version_is_1, blocks_are_independent, reserved = frame[4] >> 6 == 1, frame[4] & 0x20, frame[4] & 0x03
    assert version_is_1
    assert blocks_are_independent
    assert not reserved


@each_codec
def test_more_than_the_limit_is_refused_whatever_the_stream_says(codec: int) -> None:
    bomb = compress(codec, bytes(8 * MIB))
    assert len(bomb) < 600_000
    assert len(decompress(codec, bomb, 8 * MIB)) == 8 * MIB
    with pytest.raises(CorruptRecordError, match=f"more than {8 * MIB - 1} bytes, the most a batch may have"):
        decompress(codec, bomb, 8 * MIB - 1)


@each_codec
@given(data=st.data())
@settings(max_examples=300)
def test_damage_is_an_error_or_harmless_never_anything_else(codec: int, data: st.DataObject) -> None:
    whole = bytearray(compress(codec, b"0123456789" * 40 + bytes(range(200))))
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["cut", "change", "noise", "follow"]))
    if kind == "cut":
        del whole[at:]
    elif kind == "change":
        whole[at] = data.draw(st.integers(0, 255))
    elif kind == "noise":
        whole = bytearray(data.draw(st.binary(max_size=100)))
    else:
        whole += data.draw(st.binary(min_size=1, max_size=8))
    with suppress(CorruptRecordError):
        assert len(decompress(codec, bytes(whole), 1000)) <= 1000


@each_library_codec
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = compress(codec, b"x")
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(UnsupportedCompressionTypeError, match="cramjam.*-m pip install cramjam"):
        compress(codec, b"x")
    with pytest.raises(UnsupportedCompressionTypeError, match="cramjam.*-m pip install cramjam"):
        decompress(codec, compressed, 10)
    assert decompress(GZIP, compress(GZIP, b"x"), 10) == b"x"


def test_codecs_of_the_future_are_refused_by_their_number() -> None:
    with pytest.raises(UnsupportedCompressionTypeError, match="codec 5 is none that"):
        decompress(5, b"", 10)


def test_snappy_without_xerials_header_is_one_block() -> None:
    assert decompress(SNAPPY, bytes(cramjam.snappy.compress_raw(b"abc" * 100)), 300) == b"abc" * 100


@pytest.mark.parametrize("length", [-1, 0, 6, 1 << 30])
def test_a_snappy_block_that_claims_bytes_that_are_not_there_is_damage(length: int) -> None:
    whole = bytearray(compress(SNAPPY, b"abc"))
    whole[16:20] = struct.pack(">i", length)
    with pytest.raises(CorruptRecordError, match="snappy"):
        decompress(SNAPPY, bytes(whole), 100)


def test_what_follows_a_gzip_stream_is_damage() -> None:
    with pytest.raises(CorruptRecordError, match="3 bytes follow its end"):
        decompress(GZIP, zlib.compress(b"abc", wbits=31) + b"def", 100)


# --- batches ----------------------------------------------------------------------------------------------------------


@each_codec
def test_a_compressed_batch_reads_as_the_plain_one(codec: int) -> None:
    assert len(batch_of(codec, 40)) < len(batch_of(NONE, 40))
    assert decode_records(batch_of(codec, 40)) == decode_records(batch_of(NONE, 40))
    plain, _ = expand(batch_of(codec, 40), "t-3", NO_LIMIT)
    assert plain == batch_of(NONE, 40)
    assert decode_records(b"before" + batch_of(codec, 40), 6) == decode_records(batch_of(NONE, 40))


def test_a_chunk_without_compressed_batches_is_handed_through() -> None:
    chunk = batch_of(NONE, 0) + batch_of(NONE, 3) + WORKED_MARKER + b"half a batch"
    assert expand(chunk, "t-3", 1) == (chunk, len(chunk))
    assert expand(chunk, "t-3", 1)[0] is chunk
    assert expand(b"", "t-3", 1) == (b"", 0)


@given(st.lists(st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]), min_size=1, max_size=6), st.integers(0, 4000))
def test_batches_of_all_codecs_mixed_are_read_in_pieces_of_any_size(codecs: list[int], max_bytes: int) -> None:
    batches = [batch_of(codec, 3 * number) for number, codec in enumerate(codecs)]
    expected = b"".join(batch_of(NONE, 3 * number) for number in range(len(codecs)))
    chunk, found = b"".join(batches) + b"tail", b""
    while chunk:
        plain, done = expand(chunk, "t-3", max_bytes)
        assert done
        found, chunk = found + plain, chunk[done:]
    assert found == expected + b"tail"


def test_expanding_stops_once_there_is_enough_but_never_before_one_batch() -> None:
    one = batch_of(ZSTD, 0)
    chunk = one + batch_of(ZSTD, 3) + batch_of(NONE, 6)
    assert expand(chunk, "t-3", 1) == (batch_of(NONE, 0), len(one))
    assert expand(chunk, "t-3", len(batch_of(NONE, 0)) + 1)[1] == 2 * len(one)


def test_control_batches_and_what_is_no_batch_are_left_to_the_decoder() -> None:
    marker = bytearray(WORKED_MARKER)
    marker[22] |= ZSTD
    torn = batch_of(ZSTD)[:-1]
    for chunk in (bytes(marker), torn, b"x" * 100):
        assert find_compressed(chunk, 0) == len(chunk)
        assert expand(chunk, "t-3", 1) == (chunk, len(chunk))
    assert find_compressed(batch_of(NONE) + batch_of(GZIP, 3), 0) == len(batch_of(NONE))


@each_codec
def test_a_wrong_checksum_is_noticed_before_anything_is_decompressed(codec: int) -> None:
    damaged = bytearray(batch_of(codec, 40))
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="t-3: the checksum of the batch at offset 40 is wrong; seek past it"):
        expand(bytes(damaged), "t-3", NO_LIMIT)


@each_codec
def test_damage_behind_a_right_checksum_names_codec_offset_and_remedy(codec: int) -> None:
    with pytest.raises(CorruptRecordError, match=rf"t-3: the {compression.name_of(codec)} batch at offset 40 .*; seek"):
        expand(with_records(b"this is not compressed", codec), "t-3", NO_LIMIT)


@each_codec
def test_a_bomb_is_refused_and_the_limit_named(codec: int) -> None:
    bomb = with_records(compress(codec, bytes(RECORDS_BYTES_MAX + 1)), codec)
    with pytest.raises(CorruptRecordError, match=f"offset 40 .* more than {RECORDS_BYTES_MAX} bytes, the most a batch"):
        expand(bomb, "t-3", NO_LIMIT)


@each_codec
def test_bytes_that_decompress_to_no_records_are_refused_by_the_decoder(codec: int) -> None:
    lying = with_records(compress(codec, b"\x50" + bytes(100)), codec)
    plain, _ = expand(lying, "t-3", NO_LIMIT)
    with pytest.raises(CorruptRecordError, match="the batch at offset 40"):
        decode_batches(plain, "t", 3, 0, NO_LIMIT, 10)
    with pytest.raises(CorruptRecordError):
        decode_records(lying)


def test_good_batches_before_a_bad_one_come_first_and_then_the_error() -> None:
    good, bad = batch_of(LZ4, 37), with_records(b"rubbish", LZ4)
    plain, done = expand(good + bad, "t-3", NO_LIMIT)
    assert (plain, done) == (batch_of(NONE, 37), len(good))
    with pytest.raises(CorruptRecordError, match="offset 40"):
        expand((good + bad)[done:], "t-3", NO_LIMIT)


def test_a_library_that_is_missing_stops_nobody_who_does_not_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = batch_of(GZIP, 0) + batch_of(NONE, 3) + batch_of(SNAPPY, 6)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    plain, done = expand(chunk, "t-3", NO_LIMIT)
    assert plain == batch_of(NONE, 0) + batch_of(NONE, 3)
    with pytest.raises(UnsupportedCompressionTypeError, match="t-3: the snappy batch at offset 6 cannot be read here"):
        expand(chunk[done:], "t-3", NO_LIMIT)


@each_codec
def test_unchecked_reading_of_a_damaged_batch_ends_in_an_error_or_in_records(codec: int) -> None:
    whole = batch_of(codec, 0)
    for at in range(layout.HEADER_BYTES, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        with suppress(CorruptRecordError):
            plain, _ = expand(bytes(damaged), "t-3", NO_LIMIT, check_crcs=False)
            decode_batches(plain, "t", 3, 0, NO_LIMIT, 10, False)


@each_codec
def test_reading_may_begin_in_the_middle_of_a_compressed_batch(codec: int) -> None:
    assert [record.offset for record in read(batch_of(codec, 40), from_offset=41)] == [41, 42]

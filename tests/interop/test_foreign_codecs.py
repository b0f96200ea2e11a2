"""kafka-python and aiokafka as independent judges of our batches and segments, in both directions.

The native decoder is judged by them, and by the reference decoder that they judge too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import CorruptRecordError
from shmlog.log.cold import ColdReader
from shmlog.log.dump import verify
from shmlog.log.partition_log import PartitionLog
from shmlog.model import OffsetAndTimestamp
from shmlog.native.columns import decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.record.batch import NewRecord, StoredRecord, decode_records, encode_batch
from shmlog.record.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD, name_of
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.expansion import expand
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.worked_batches import WORKED_BATCH, WORKED_MARKER

kafka_records = pytest.importorskip("kafka.record", reason="needs kafka-python, from the extra test")
aiokafka_memory = pytest.importorskip("aiokafka.record.memory_records", reason="needs aiokafka, from the extra test")
aiokafka_default = pytest.importorskip("aiokafka.record.default_records", reason="needs aiokafka, from the extra test")
kafka_default = pytest.importorskip("kafka.record.default_records", reason="needs kafka-python, from the extra test")

NO_LIMIT = 2**62
PATCHED_BYTES = 16
"""Base offset, length and leader epoch: clients leave the first and the last to the broker."""


@dataclass(frozen=True)
class Library:
    """One foreign codec: its reader over bytes and its builder."""

    name: str
    reader: Callable[[bytes], Any]
    builder: Callable[..., Any]

    def batches(self, data: bytes) -> Iterator[Any]:
        records = self.reader(data)
        while records.has_next():
            batch = records.next_batch()
            assert batch.validate_crc()
            yield batch

    def decode(self, data: bytes) -> list[StoredRecord]:
        return [
            StoredRecord(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
            for batch in self.batches(data)
            for record in batch
        ]

    def encode(
        self, records: list[NewRecord], producer_id: int, producer_epoch: int, base_sequence: int, codec: int = NONE
    ) -> bytes:
        builder = self.builder(
            magic=2,
            compression_type=codec,
            is_transactional=0,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            batch_size=1 << 30,
        )
        for number, record in enumerate(records):
            appended = builder.append(
                number,
                timestamp=record.timestamp_ms,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
            )
            assert appended is not None
        return bytes(builder.build())


LIBRARIES = [
    Library("kafka-python", kafka_records.MemoryRecords, kafka_default.DefaultRecordBatchBuilder),
    Library("aiokafka", aiokafka_memory.MemoryRecords, aiokafka_default.DefaultRecordBatchBuilder),
]
each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
each_codec = pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD], ids=name_of)

names = st.text(st.characters(codec="utf-8"), max_size=8)
contents = st.none() | st.binary(max_size=200)
batches_of_records = st.lists(
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
producers = st.one_of(
    st.just((-1, -1, -1)), st.tuples(st.integers(0, 2**62), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1))
)


def stored(records: list[NewRecord], base_offset: int) -> list[StoredRecord]:
    return [
        StoredRecord(base_offset + number, record.timestamp_ms, record.key, record.value, record.headers)
        for number, record in enumerate(records)
    ]


# --- the reference codec ----------------------------------------------------------------------------------------------


@each_library
@given(records=batches_of_records, producer=producers, base_offset=st.integers(0, 2**62))
def test_they_decode_what_we_encode(
    library: Library, records: list[NewRecord], producer: tuple[int, int, int], base_offset: int
) -> None:
    producer_id, producer_epoch, base_sequence = producer
    ours = encode_batch(
        records,
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )
    assert library.decode(ours) == stored(records, base_offset)
    (batch,) = library.batches(ours)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == producer
    assert batch.max_timestamp == max(record.timestamp_ms for record in records)
    assert batch.next_offset == base_offset + len(records)


@each_library
@given(records=batches_of_records, producer=producers)
def test_we_decode_what_they_encode_and_would_have_encoded_the_same_bytes(
    library: Library, records: list[NewRecord], producer: tuple[int, int, int]
) -> None:
    producer_id, producer_epoch, base_sequence = producer
    theirs = library.encode(records, *producer)
    assert decode_records(theirs) == stored(records, 0)
    ours = encode_batch(
        records,
        base_offset=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
    )
    assert ours[PATCHED_BYTES:] == theirs[PATCHED_BYTES:]
    assert len(ours) == len(theirs) == BatchHeader.parse(theirs).size_bytes


@each_library
def test_they_read_the_worked_batch_and_marker_as_the_design_says(library: Library) -> None:
    assert library.decode(WORKED_BATCH) == [
        StoredRecord(100, 1_700_000_000_000, b"k1", b"v1", (("h", b"x"),)),
        StoredRecord(101, 1_700_000_000_005, b"k2", None),
    ]
    (marker,) = library.batches(WORKED_MARKER)
    assert marker.is_control_batch
    assert marker.is_transactional
    assert (marker.producer_id, marker.producer_epoch, marker.next_offset) == (7, 3, 103)


@each_library
@pytest.mark.parametrize("kind", list(MarkerType))
def test_they_take_our_markers_for_control_batches(library: Library, kind: MarkerType) -> None:
    ours = encode_marker(Marker(kind, 9), base_offset=50, producer_id=3, producer_epoch=1, timestamp_ms=77)
    (batch,) = library.batches(ours)
    assert batch.is_control_batch
    (record,) = list(batch)
    assert record.key == b"\0\0" + kind.to_bytes(2, "big")
    assert record.offset == 50


@each_library
def test_they_notice_every_flipped_bit_under_the_checksum_as_we_do(library: Library) -> None:
    for byte in range(21, len(WORKED_BATCH)):
        damaged = bytearray(WORKED_BATCH)
        damaged[byte] ^= 1
        reader = library.reader(bytes(damaged))
        assert not reader.next_batch().validate_crc()
        assert not BatchHeader.parse(damaged).crc_is_valid(damaged)


# --- compression ------------------------------------------------------------------------------------------------------


@each_library
@each_codec
@given(records=batches_of_records, repeated=st.integers(1, 2000))
def test_they_read_what_we_compress(library: Library, codec: int, records: list[NewRecord], repeated: int) -> None:
    records = [*records, NewRecord(b"x,y;" * repeated, b"key", 1000)]
    ours = encode_batch(records, base_offset=70, producer_id=7, producer_epoch=3, base_sequence=5, codec=codec)
    (batch,) = library.batches(ours)
    assert batch.compression_type == codec
    assert library.decode(ours) == stored(records, 70)


@each_library
@each_codec
@given(records=batches_of_records, repeated=st.integers(200, 60_000))
def test_we_read_what_they_compress(library: Library, codec: int, records: list[NewRecord], repeated: int) -> None:
    records = [*records, NewRecord(b"x,y;" * repeated, b"key", 1000)]
    theirs = library.encode(records, 7, 3, 5, codec)
    assert BatchHeader.parse(theirs).codec == name_of(codec)
    assert decode_records(theirs) == stored(records, 0)
    plain, done = expand(theirs, "t-3", 1)
    assert done == len(theirs)
    assert decode_batches(plain, "t", 3, 0, NO_LIMIT, 1000)[:3] == (decoded(records, 0), len(records), len(plain))
    assert plain[PATCHED_BYTES:] == library.encode(records, 7, 3, 5)[PATCHED_BYTES:]


@each_codec
def test_segments_with_batches_of_a_codec_are_recovered_searched_and_read(codec: int, tmp_path: Path) -> None:
    directory = str(tmp_path / "flights-0")
    config = dataclasses.replace(TopicConfig.from_mapping({}), segment_bytes=4000, index_interval_bytes=200)
    log = PartitionLog.open(directory, config, topic_id="A" * 22)
    expected: list[StoredRecord] = []
    for number in range(60):
        records = [NewRecord(b"value %d " % number * 40, b"key", 1000 + 2 * number + k) for k in range(2)]
        theirs = LIBRARIES[number % 2].encode(records, 7, 0, 2 * number, codec)
        batch = log.log_end_offset.to_bytes(8, "big") + theirs[8:]
        expected += stored(records, log.log_end_offset)
        if log.should_roll(0, len(batch)):
            log.roll(log.log_end_offset)
        log.append(batch)
    log.close(clean=False)  # so that the next start has to scan
    log = PartitionLog.open(directory, config, topic_id="A" * 22)
    assert log.log_end_offset == len(expected)
    paths = [segment.path for segment in log.segments()]
    assert len(paths) > 1
    assert [record for path in paths for record in LIBRARIES[0].decode(Path(path).read_bytes())] == expected
    log.close(clean=True)
    for path in paths:
        for suffix in (".log", ".index", ".timeindex"):
            verdict = verify(path.removesuffix(".log") + suffix)
            assert verdict.sound, verdict.summary
    reader = ColdReader(directory)
    assert reader.offset_for_timestamp(1061, NO_LIMIT) == OffsetAndTimestamp(61, 1061)
    chunk = reader.read(61, 1, NO_LIMIT)
    assert chunk is not None
    plain, _ = expand(chunk, "flights-0", 1)
    assert [record.offset for record in decode_batches(plain, "t", 3, 61, NO_LIMIT, 9)[0]] == [61]
    reader.close()


# --- segments ---------------------------------------------------------------------------------------------------------


@each_library
def test_they_read_our_segments_record_for_record(library: Library, tmp_path: Path) -> None:
    config = dataclasses.replace(TopicConfig.from_mapping({}), segment_bytes=4000)
    log = PartitionLog.open(str(tmp_path / "flights-0"), config, topic_id="A" * 22)
    expected: list[StoredRecord] = []
    for number in range(60):
        records = [
            NewRecord(b"value %d" % number * 10, b"key", 1000 + number, (("n", b"%d" % number),)),
            NewRecord(None, b"gone", 999 + number),
        ]
        base_offset = log.log_end_offset
        batch = encode_batch(records, base_offset=base_offset, leader_epoch=4)
        if log.should_roll(0, len(batch)):
            log.roll(base_offset)
        log.append(batch)
        expected += stored(records, base_offset)
    paths = [Path(segment.path) for segment in log.segments()]
    log.close(clean=True)
    assert len(paths) > 2
    assert [record for path in paths for record in library.decode(path.read_bytes())] == expected
    assert [path.name for path in paths] == [
        f"{min(r.offset for r in library.decode(path.read_bytes())):020d}.log" for path in paths
    ]


@each_library
@given(records=batches_of_records)
def test_batches_that_they_encoded_lie_in_our_log_unchanged(
    library: Library, tmp_path_factory: pytest.TempPathFactory, records: list[NewRecord]
) -> None:
    log = PartitionLog.open(
        str(tmp_path_factory.mktemp("log") / "t-0"), TopicConfig.from_mapping({}), topic_id="A" * 22
    )
    theirs = library.encode(records, -1, -1, -1)
    log.append(theirs)
    patched = len(records).to_bytes(8, "big") + theirs[8:]  # the broker sets the base offset, outside the checksum
    log.append(patched)
    assert b"".join(log.batches()) == theirs + patched
    assert library.decode(b"".join(log.batches())) == stored(records, 0) + stored(records, len(records))
    log.close(clean=False)


# --- the native decoder -----------------------------------------------------------------------------------------------


def decoded(records: list[NewRecord], base_offset: int) -> list[Record]:
    return [
        Record("t", 3, base_offset + number, record.timestamp_ms, record.key, record.value, record.headers)
        for number, record in enumerate(records)
    ]


@each_library
@given(records=batches_of_records)
def test_the_native_decoder_decodes_what_they_encode(library: Library, records: list[NewRecord]) -> None:
    theirs = library.encode(records, -1, -1, -1)
    assert decode_batches(theirs, "t", 3, 0, NO_LIMIT, 1000)[:3] == (decoded(records, 0), len(records), len(theirs))
    columns, *rest, _ = decode_columns(theirs, "t", 3, 0, NO_LIMIT, 1000)
    assert (list(columns), rest) == (decoded(records, 0), [len(records), len(theirs)])
    assert (columns.values(), columns.keys()) == ([r.value for r in records], [r.key for r in records])


@given(batches=st.lists(batches_of_records, min_size=1, max_size=5), from_offset=st.integers(0, 30))
def test_the_native_decoder_agrees_with_the_reference_over_several_batches(
    batches: list[list[NewRecord]], from_offset: int
) -> None:
    chunk, wanted, offset = b"", [], 0
    for records in batches:
        chunk += encode_batch(records, base_offset=offset)
        wanted += decoded(records, offset)
        offset += len(records)
    found, next_offset, consumed, _ = decode_batches(chunk, "t", 3, from_offset, NO_LIMIT, 1000)
    assert found == wanted[from_offset:]
    assert consumed == len(chunk)
    assert next_offset >= offset


def test_the_native_decoder_steps_over_a_marker_and_stops_before_the_limit() -> None:
    marker = encode_marker(Marker(MarkerType.COMMIT, 1), base_offset=1, producer_id=7, producer_epoch=0, timestamp_ms=5)
    chunk = encode_batch([NewRecord(b"a")], base_offset=0) + marker + encode_batch([NewRecord(b"b")], base_offset=2)
    records, next_offset, consumed, _ = decode_batches(chunk, "t", 3, 0, NO_LIMIT, 1000)
    assert ([record.value for record in records], next_offset, consumed) == ([b"a", b"b"], 3, len(chunk))
    records, next_offset, *_ = decode_batches(chunk, "t", 3, 0, 2, 1000)
    assert ([record.value for record in records], next_offset) == ([b"a"], 2)


@given(records=batches_of_records, data=st.data())
def test_the_native_decoder_refuses_every_flipped_bit_that_the_reference_refuses(
    records: list[NewRecord], data: st.DataObject
) -> None:
    batch = bytearray(encode_batch(records, base_offset=0))
    byte = data.draw(st.integers(16, len(batch) - 1))
    batch[byte] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRecordError):
        decode_records(bytes(batch))
    with pytest.raises(CorruptRecordError):
        decode_batches(bytes(batch), "t", 3, 0, NO_LIMIT, 1000)


def test_the_header_of_a_batch_that_the_native_decoder_left_is_where_it_says() -> None:
    first = encode_batch([NewRecord(b"a")] * 3, base_offset=0)
    chunk = first + encode_batch([NewRecord(b"b")] * 3, base_offset=3)
    _, next_offset, consumed, _ = decode_batches(chunk, "t", 3, 0, NO_LIMIT, 3)
    assert (next_offset, consumed) == (3, len(first))
    assert BatchHeader.parse(chunk, consumed).base_offset == 3

"""kafka-python and aiokafka as independent judges of our batches and segments, in both directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from shmlog.log.partition_log import PartitionLog
from shmlog.record.batch import NewRecord, StoredRecord, decode_records, encode_batch
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig

kafka_records = pytest.importorskip("kafka.record", reason="needs kafka-python, from the extra test")
aiokafka_memory = pytest.importorskip("aiokafka.record.memory_records", reason="needs aiokafka, from the extra test")
aiokafka_default = pytest.importorskip("aiokafka.record.default_records", reason="needs aiokafka, from the extra test")
kafka_default = pytest.importorskip("kafka.record.default_records", reason="needs kafka-python, from the extra test")

PATCHED_BYTES = 16
"""Base offset, length and leader epoch: clients leave the first and the last to the broker."""

WORKED_BATCH = bytes.fromhex(
    "000000000000006400000049000000000236752d040000000000010000018bcfe568000000018bcfe568050000000000"
    "000007000300000000000000021c000000046b31047631020268027810000a02046b320100"
)
WORKED_MARKER = bytes.fromhex(
    "0000000000000066000000420000000002f602d8e10030000000000000018bcfe5680a0000018bcfe5680a0000000000"
    "0000070003ffffffff000000012000000008000000010c00000000000500"
)


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

    def encode(self, records: list[NewRecord], producer_id: int, producer_epoch: int, base_sequence: int) -> bytes:
        builder = self.builder(
            magic=2,
            compression_type=0,
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

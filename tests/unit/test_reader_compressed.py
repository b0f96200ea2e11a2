"""Reading a partition whose batches are compressed: all of it, in bounded pieces, and never anything wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shmlog.cli import main as cli
from shmlog.errors import CorruptRecordError, UnsupportedCompressionTypeError
from shmlog.log.segment import segment_path
from shmlog.model import TopicPartition
from shmlog.partition.reader import PartitionReader
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD
from shmlog.testing.damage import flip_in_the_last_entry
from shmlog.testing.fake_partition import FakePartition

CHUNK = 1 << 20
CODECS = (ZSTD, NONE, LZ4, GZIP, SNAPPY)


def batch(codec: int, offset: int, pad_bytes: int = 100) -> bytes:
    """Two records whose values are their offsets and some padding."""
    records = [NewRecord(b"%d" % number + b" " * pad_bytes) for number in (offset, offset + 1)]
    return encode_batch(records, base_offset=offset, codec=codec)


def partition_of(*codecs: int, pad_bytes: int = 100) -> FakePartition:
    partition = FakePartition()
    for codec in codecs:
        partition.append_batch(batch(codec, partition.page.log_end_offset, pad_bytes))
    return partition


def reader_of(partition: FakePartition, position: int = 0) -> PartitionReader:
    return PartitionReader(TopicPartition("flights", 3), partition.attach, partition.segments, position)


def offsets(reader: PartitionReader, max_bytes: int = CHUNK) -> list[list[int]]:
    """What each fetch gave, until there is nothing."""
    fetches = []
    while records := reader.fetch(max_bytes):
        assert [record.offset for record in records] == [int(record.value) for record in records]
        fetches.append([record.offset for record in records])
    return fetches


def flat(fetches: list[list[int]]) -> list[int]:
    return [offset for fetch in fetches for offset in fetch]


@pytest.mark.parametrize("ring_from", [0, 6, 10], ids=["ring", "both", "files"])
def test_every_codec_is_read_from_ring_and_files(ring_from: int) -> None:
    partition = partition_of(*CODECS)
    partition.overrun(ring_from)
    reader = reader_of(partition)
    assert flat(offsets(reader)) == list(range(10))
    assert (reader.position, reader.has_data()) == (10, False)
    partition.append_batch(batch(LZ4, 10))
    assert offsets(reader) == [[10, 11]]


def test_a_fetch_gives_about_as_many_bytes_as_were_asked_for_however_well_they_are_compressed() -> None:
    partition = partition_of(*[ZSTD] * 10, pad_bytes=5000)
    assert sum(map(len, partition.batches)) < 5000
    reader = reader_of(partition)
    assert offsets(reader, 25_000) == [list(range(start, min(start + 6, 20))) for start in range(0, 20, 6)]
    assert (reader.ring_chunks, partition.segment_reads) == (1, 0), "what was fetched and not expanded is kept"


def test_a_reader_that_begins_in_the_middle_of_a_compressed_batch_gets_no_earlier_record() -> None:
    assert offsets(reader_of(partition_of(*CODECS), position=7)) == [[7, 8, 9]]


def test_seeking_forgets_what_was_fetched_and_not_expanded() -> None:
    reader = reader_of(partition_of(*[GZIP] * 10, pad_bytes=5000), position=10)
    assert [record.offset for record in reader.fetch(1)] == [10, 11]
    reader.seek(3)
    assert flat(offsets(reader, 1)) == list(range(3, 20))


@pytest.mark.parametrize("ring_from", [0, 8], ids=["ring", "files"])
def test_records_before_a_damaged_batch_come_first_then_its_error_each_time_and_seeking_past_it_helps(
    ring_from: int,
) -> None:
    partition = partition_of(LZ4, ZSTD, LZ4, LZ4)
    damaged = bytearray(partition.batches[2])
    damaged[-3] ^= 1
    partition.batches[2] = bytes(damaged)
    partition.overrun(ring_from)
    reader = reader_of(partition)
    assert [record.offset for record in reader.fetch(CHUNK)] == [0, 1, 2, 3]
    for _ in range(2):
        with pytest.raises(CorruptRecordError, match="flights-3: the checksum of the batch at offset 4 is wrong; seek"):
            reader.fetch(CHUNK)
        assert reader.position == 4
    reader.seek(6)
    assert offsets(reader) == [[6, 7]]


def test_columns_are_read_from_compressed_batches_too() -> None:
    reader = reader_of(partition_of(*CODECS))
    found: list[int] = []
    while columns := reader.fetch_columns(300):
        assert [int(value or b"") for value in columns.values()] == list(columns.offsets)
        found += list(columns.offsets)
    assert found == list(range(10))


def test_without_the_library_a_reader_says_what_to_install_and_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = reader_of(partition_of(GZIP, ZSTD))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cramjam", None)
        assert [record.offset for record in reader.fetch(CHUNK)] == [0, 1]
        for _ in range(2):
            with pytest.raises(UnsupportedCompressionTypeError, match="flights-3: the zstd batch at offset 2 .* pip"):
                reader.fetch(CHUNK)
    assert offsets(reader) == [[2, 3]]


def test_segment_dump_and_verify_know_compressed_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "flights-3").mkdir()
    file = Path(segment_path(str(tmp_path / "flights-3"), 0, ".log"))
    file.write_bytes(b"".join(batch(codec, 2 * number) for number, codec in enumerate(CODECS)))
    assert cli.run(["segment", "verify", str(file)]) == 0
    assert "sound, 5 batches, 10 records" in capsys.readouterr().out
    assert cli.run(["segment", "dump", str(file)]) == 0
    table = capsys.readouterr().out
    assert all(codec in table for codec in ("zstd", "none", "lz4", "gzip", "snappy"))
    assert cli.run(["segment", "dump", "--records", str(file)]) == 0
    assert capsys.readouterr().out.count('"offset"') == 10
    flip_in_the_last_entry(file)
    assert cli.run(["segment", "verify", str(file)]) == 1

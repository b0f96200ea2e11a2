"""`shmlog.open_log`: what stands in a partition's directory, whoever wrote it, and whatever state it was left in.

What a real broker leaves is read in tests/interop/kafka.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from pathlib import Path

import pytest

import shmlog
from shmlog.log.checkpoint import RECOVERY_POINT
from shmlog.log.kafka_directory import LOG_START_OFFSETS, is_kafkas
from shmlog.log.log_start import write_log_start
from shmlog.log.segment import segment_path
from shmlog.log.snapshot import encode_snapshot
from shmlog.log.storage import OsStorage
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.compression import GZIP
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.testing.known_log import append, log_file, open_log, write_log

RESERVED = bytes(4096)


def offsets(log: shmlog.LogReader, from_offset: int | None = None) -> list[int]:
    return [record.offset for record in log.records(from_offset)]


def kafkas(directory: Path, *batches: bytes, base_offset: int = 0) -> Path:
    """A directory with one segment and nothing of ours."""
    directory.mkdir(exist_ok=True)
    log_file(directory, base_offset).write_bytes(b"".join(batches))
    return directory


def plain(base_offset: int, *values: bytes, timestamp_ms: int = 1000) -> bytes:
    return encode_batch([NewRecord(value, b"key", timestamp_ms) for value in values], base_offset=base_offset)


def transactional(base_offset: int, producer_id: int, *values: bytes, sequence: int = 0) -> bytes:
    return encode_batch(
        [NewRecord(value) for value in values],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=0,
        base_sequence=sequence,
        transactional=True,
    )


def marker(base_offset: int, producer_id: int, kind: MarkerType) -> bytes:
    return encode_marker(
        Marker(kind, 1), base_offset=base_offset, producer_id=producer_id, producer_epoch=0, timestamp_ms=0
    )


# --- our logs ---------------------------------------------------------------------------------------------------------


def test_a_log_reads_from_any_offset_over_all_its_segments(tmp_path: Path) -> None:
    write_log(tmp_path / "orders-3", [3, 2, 4], clean=True)
    log = shmlog.open_log(tmp_path / "orders-3")
    assert (log.topic, log.partition, log.topic_id) == ("orders", 3, "A" * 22)
    assert (log.start_offset, log.end_offset) == (0, 18)
    for first in range(19):
        assert offsets(log, first) == list(range(first, 18))
        assert [offset for piece in log.columns(first) for offset in piece.offsets] == list(range(first, 18))
    assert [record.topic for record in log.records(end_offset=1)] == ["orders"]
    for end in range(19):
        assert [record.offset for record in log.records(end_offset=end)] == list(range(end))
    for outside in (-1, 19):
        with pytest.raises((shmlog.OffsetOutOfRangeError, shmlog.InvalidArgumentError)):
            log.records(outside)


def test_a_log_that_is_being_written_reads_up_to_what_is_whole(tmp_path: Path) -> None:
    log = open_log(tmp_path / "t-0")
    reader = shmlog.open_log(tmp_path / "t-0")
    assert (list(reader), reader.end_offset) == ([], 0)
    append(log, 5)
    assert offsets(reader) == list(range(10))
    with log_file(tmp_path / "t-0", 0).open("ab") as file:
        file.write(plain(10, b"half of it is there")[:70])
    assert offsets(reader) == list(range(10))
    log.close(clean=False)


def test_times_lead_to_the_first_record_that_is_young_enough(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "t-0", *(plain(k, b"v", timestamp_ms=1000 + 10 * k) for k in range(9)))
    log = shmlog.open_log(directory)
    assert log.offset_for_timestamp(1041) == shmlog.OffsetAndTimestamp(5, 1050)
    assert [record.offset for record in log.records(from_timestamp_ms=1041)] == [5, 6, 7, 8]
    assert log.offset_for_timestamp(1081) is None
    assert list(log.records(from_timestamp_ms=1081)) == []
    with pytest.raises(shmlog.InvalidArgumentError, match="not both"):
        log.records(0, from_timestamp_ms=0)


def test_a_hole_in_our_log_is_damage_and_in_kafkas_it_is_none(tmp_path: Path) -> None:
    write_log(tmp_path / "t-0", [3, 3, 3], clean=True)
    log_file(tmp_path / "t-0", 6).unlink()
    with pytest.raises(shmlog.CorruptRecordError, match="offset 6 is nowhere before it"):
        list(shmlog.open_log(tmp_path / "t-0"))
    for name in os.listdir(tmp_path / "t-0"):
        if name in (RECOVERY_POINT, "clean-shutdown"):
            (tmp_path / "t-0" / name).unlink()
    assert offsets(shmlog.open_log(tmp_path / "t-0")) == [*range(6), *range(12, 18)]


def test_what_was_deleted_on_request_is_before_the_start(tmp_path: Path) -> None:
    write_log(tmp_path / "t-0", [3, 3], clean=True)
    write_log_start(OsStorage(), str(tmp_path / "t-0"), 3)
    log = shmlog.open_log(tmp_path / "t-0")
    assert (log.start_offset, offsets(log)) == (3, list(range(3, 12)))
    assert log.offset_for_timestamp(0) == shmlog.OffsetAndTimestamp(3, next(iter(log)).timestamp_ms)
    with pytest.raises(shmlog.OffsetOutOfRangeError):
        log.records(2)


def test_damage_raises_once_everything_before_it_was_read(tmp_path: Path) -> None:
    write_log(tmp_path / "t-0", [4], clean=True)
    path = log_file(tmp_path / "t-0", 0)
    with path.open("ab") as file:
        file.write(b"no batch " * 20)
    log = shmlog.open_log(tmp_path / "t-0")
    assert log.end_offset == 8
    found: list[int] = []
    with pytest.raises(shmlog.CorruptRecordError, match=str(path)):
        found += (record.offset for record in log)
    records = log.records()
    assert [next(records).offset for _ in range(8)] == list(range(8))
    assert [record.offset for record in log.records(end_offset=7)] == list(range(7))


@pytest.mark.parametrize("name", ["nowhere-0", "empty-0", "file-0"])
def test_what_is_no_log_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty-0").mkdir()
    (tmp_path / "file-0").touch()
    with pytest.raises(shmlog.InvalidArgumentError, match=name):
        shmlog.open_log(tmp_path / name)
    with pytest.raises(shmlog.InvalidArgumentError, match="isolation_level must be"):
        shmlog.open_log(tmp_path, isolation_level="serializable")  # type: ignore[arg-type]  # wrong on purpose


# --- what Kafka leaves ------------------------------------------------------------------------------------------------


def test_room_that_was_reserved_is_no_damage(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "t-0", plain(0, b"a", b"b"), plain(2, b"c"), RESERVED)
    entry = struct.pack(">ii", 2, len(plain(0, b"a", b"b")))
    Path(segment_path(str(directory), 0, ".index")).write_bytes(entry + RESERVED)
    Path(segment_path(str(directory), 0, ".timeindex")).write_bytes(struct.pack(">qi", 1000, 1) + RESERVED)
    log = shmlog.open_log(directory)
    assert (offsets(log), log.end_offset) == ([0, 1, 2], 3)
    assert log.offset_for_timestamp(1000) == shmlog.OffsetAndTimestamp(0, 1000)
    assert log.offset_for_timestamp(1001) is None


def test_files_that_wait_for_deletion_or_were_being_cleaned_are_no_part_of_the_log(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "t-0", plain(10, b"a"), base_offset=10)
    for name in ("0" * 20 + ".log.deleted", "0" * 20 + ".log.cleaned", "1".zfill(20) + ".snapshot.deleted"):
        (directory / name).write_bytes(plain(0, b"not this"))
    assert offsets(shmlog.open_log(directory)) == [10]


def test_a_cleaned_segment_counts_if_a_broker_died_before_it_had_its_name(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "t-0", plain(9, b"c"), base_offset=9)
    swap = Path(segment_path(str(directory), 0, ".log.swap"))
    swap.write_bytes(plain(3, b"a"))
    assert offsets(shmlog.open_log(directory)) == [3, 9]
    log_file(directory, 0).write_bytes(plain(2, b"z") + plain(3, b"a"))
    assert offsets(shmlog.open_log(directory)) == [2, 3, 9]


def test_the_log_starts_where_the_checkpoint_beside_it_says(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "a-b-0", plain(0, b"a", b"b", b"c"), plain(3, b"d"))
    checkpoint = tmp_path / LOG_START_OFFSETS
    checkpoint.write_text("0\n2\nb 0 1\na-b 0 2\n")
    log = shmlog.open_log(directory)
    assert (log.start_offset, offsets(log)) == (2, [2, 3])
    assert log.offset_for_timestamp(0) == shmlog.OffsetAndTimestamp(2, 1000)
    checkpoint.write_text("0\n1\nb 0 1\n")
    assert log.start_offset == 0


def test_a_directory_is_kafkas_unless_something_says_that_it_is_ours(tmp_path: Path) -> None:
    directory = kafkas(tmp_path / "t-0", plain(0, b"a"))
    assert is_kafkas(OsStorage(), str(directory))
    (tmp_path / "meta.properties").write_text("version=1\ncluster.id=x\ndirectory.id=y\n")
    assert not is_kafkas(OsStorage(), str(directory))
    (tmp_path / "meta.properties").write_text("version=1\nnode.id=1\ndirectory.id=y\n")
    assert is_kafkas(OsStorage(), str(directory))
    (directory / RECOVERY_POINT).write_text("0\n0\n")
    assert not is_kafkas(OsStorage(), str(directory))


# --- transactions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def transactions(tmp_path: Path) -> Path:
    """Two producers: what each of them aborted, committed and left open."""
    directory = kafkas(
        tmp_path / "t-0",
        transactional(0, 7, b"aborted", b"aborted"),
        transactional(2, 8, b"committed"),
        plain(3, b"plain"),
        marker(4, 7, MarkerType.ABORT),
        marker(5, 8, MarkerType.COMMIT),
        transactional(6, 7, b"committed later", sequence=2),
        marker(7, 7, MarkerType.COMMIT),
        transactional(8, 8, b"open", sequence=1),
        plain(9, b"plain behind it"),
    )
    aborted = struct.pack(">hqqqq", 0, 7, 0, 4, 2)
    Path(segment_path(str(directory), 0, ".txnindex")).write_bytes(aborted + aborted[:20])
    return directory


def test_markers_are_never_shown(transactions: Path) -> None:
    assert offsets(shmlog.open_log(transactions)) == [0, 1, 2, 3, 6, 8, 9]


def test_committed_is_what_was_not_taken_back_up_to_what_is_undecided(transactions: Path) -> None:
    log = shmlog.open_log(transactions, isolation_level="read_committed")
    assert [(record.offset, record.value) for record in log] == [
        (2, b"committed"),
        (3, b"plain"),
        (6, b"committed later"),
    ]
    assert log.end_offset == 8
    assert offsets(log, 1) == [2, 3, 6]
    assert sum(len(piece) for piece in log.columns()) == 3
    assert [(one.producer_id, one.first_offset, one.last_offset) for one in log.aborted_transactions()] == [(7, 0, 4)]


def test_a_snapshot_says_what_was_open_before_it(transactions: Path) -> None:
    log = shmlog.open_log(transactions, isolation_level="read_committed")
    before = log.producers()
    earlier = [dataclasses.replace(one, transaction_first_offset=6) for one in before if one.producer_id == 8]
    Path(segment_path(str(transactions), 9, ".snapshot")).write_bytes(encode_snapshot(earlier))
    assert (log.producers(), log.end_offset) == (earlier, 6)
    Path(segment_path(str(transactions), 10, ".snapshot")).write_bytes(b"damaged")
    assert log.end_offset == 6
    Path(segment_path(str(transactions), 10, ".snapshot")).write_bytes(encode_snapshot(before))
    assert (log.producers(), log.end_offset) == (before, 8)


def test_compressed_batches_that_were_taken_back_are_left_out_too(tmp_path: Path) -> None:
    batch = encode_batch(
        [NewRecord(b"aborted" * 9)] * 3,
        base_offset=0,
        producer_id=7,
        producer_epoch=0,
        base_sequence=0,
        transactional=True,
        codec=GZIP,
    )
    directory = kafkas(tmp_path / "t-0", batch, marker(3, 7, MarkerType.ABORT), plain(4, b"x"))
    Path(segment_path(str(directory), 0, ".txnindex")).write_bytes(struct.pack(">hqqqq", 0, 7, 0, 3, 4))
    assert offsets(shmlog.open_log(directory, isolation_level="read_committed")) == [4]
    assert offsets(shmlog.open_log(directory)) == [0, 1, 2, 4]


def test_a_transaction_index_that_cannot_be_is_an_error_and_hides_nothing(transactions: Path) -> None:
    index = Path(segment_path(str(transactions), 0, ".txnindex"))
    index.write_bytes(struct.pack(">hqqqq", 0, 7, 5, 4, 2))
    log = shmlog.open_log(transactions, isolation_level="read_committed")
    with pytest.raises(shmlog.CorruptRecordError, match="txnindex"):
        log.records()
    index.write_bytes(struct.pack(">hqqqq", 1, 7, 0, 4, 2))
    with pytest.raises(shmlog.ForeignVersionError, match="version 1"):
        log.records()

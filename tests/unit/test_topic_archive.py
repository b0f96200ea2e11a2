"""Archives of topics, and logs that are made of them: everything comes back where it was, or nothing does."""

from __future__ import annotations

import dataclasses
import tarfile
from contextlib import closing
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.errors import CorruptRecordError, ForeignVersionError, InvalidRequestError, StorageError
from shmlog.log.archive import END, MANIFEST, ArchivedPartition, ArchiveReader, ArchiveWriter, Manifest
from shmlog.log.checkpoint import EpochStart
from shmlog.log.compaction_checkpoint import COMPACTION_CHECKPOINT
from shmlog.log.imported_log import ImportedLog
from shmlog.log.partition_log import PartitionLog
from shmlog.record.batch import NewRecord, decode_records, encode_batch
from shmlog.record.compression import GZIP
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.foreign_batches import without_producers
from shmlog.record.header import BatchHeader
from shmlog.settings import TopicConfig
from shmlog.testing.known_log import batch_at

MANIFEST_OF_TWO = Manifest(
    "orders",
    {"retention.ms": "-1"},
    [ArchivedPartition(0, 4, 12, [[0, 0], [3, 6]]), ArchivedPartition(1, 0, 0)],
    1_700_000_000_000,
    "0.1.0",
)
CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), segment_bytes=1000)
TOPIC_ID = "A" * 22


def produced(base_offset: int, *values: bytes, codec: int = 0) -> bytes:
    """A batch of an idempotent producer, whose last record is gone."""
    return encode_batch(
        [NewRecord(value, b"key", 1000 + base_offset, (("h", None),)) for value in values],
        base_offset=base_offset,
        producer_id=7,
        producer_epoch=1,
        base_sequence=base_offset,
        leader_epoch=3,
        codec=codec,
    )


# --- the archive ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["orders.tar", "orders.tar.gz", "orders.tgz"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return written(tmp_path / request.param)


def written(path: Path) -> Path:
    """An archive with MANIFEST_OF_TWO and all that belongs to it."""
    with ArchiveWriter(str(path), MANIFEST_OF_TWO) as writer:
        for offset in range(4, 12, 2):
            writer.add(0, offset, batch_at(offset))
        assert writer.finish() == path.stat().st_size
    return path


def test_what_goes_into_an_archive_comes_out_of_it_in_order(archive: Path) -> None:
    with closing(ArchiveReader(str(archive))) as reader:
        assert reader.manifest == MANIFEST_OF_TWO
        assert list(reader.batches()) == [(0, batch_at(offset)) for offset in range(4, 12, 2)]
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_an_archive_that_was_not_finished_is_not_there(tmp_path: Path) -> None:
    with ArchiveWriter(str(tmp_path / "a.tar"), MANIFEST_OF_TWO) as writer:
        writer.add(0, 4, batch_at(4))
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_ends_anywhere_else_is_noticed(archive: Path) -> None:
    content = archive.read_bytes()
    end = content.rindex(b"}") if archive.suffix == ".tar" else len(content) - 100  # zeros fill up the last record
    cut = archive.with_name("cut" + "".join(archive.suffixes))
    for size in range(0, end, 97):
        cut.write_bytes(content[:size])
        with pytest.raises((CorruptRecordError, InvalidRequestError)), closing(ArchiveReader(str(cut))) as reader:
            list(reader.batches())


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    archive = written(tmp_path / "orders.tar")
    content = bytearray(archive.read_bytes())
    content[content.index(b"value 0000") + 3] ^= 1
    archive.write_bytes(content)
    with closing(ArchiveReader(str(archive))) as reader, pytest.raises(CorruptRecordError, match="does not hold what"):
        list(reader.batches())


def members_of(path: Path, *members: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            file = path.with_name("member")
            file.write_bytes(content)
            tar.add(file, name)
    return str(path)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.tar"
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(InvalidRequestError, match=r"other\.tar is no archive of a topic"):
        ArchiveReader(str(path))
    with pytest.raises(InvalidRequestError, match="does not begin with manifest"):
        ArchiveReader(members_of(path, ("README", b"hello")))
    with pytest.raises(InvalidRequestError, match="is something else's"):
        ArchiveReader(members_of(path, (MANIFEST, b"{}")))
    manifest = {"format": "shmlog topic", "version": 2}
    with pytest.raises(ForeignVersionError, match="version 2"):
        ArchiveReader(members_of(path, (MANIFEST, orjson.dumps(manifest))))
    with pytest.raises(CorruptRecordError, match=r"manifest\.json is damaged"):
        ArchiveReader(members_of(path, (MANIFEST, orjson.dumps(manifest | {"version": 1}))))


def test_a_member_of_no_partition_is_refused(tmp_path: Path) -> None:
    manifest = {"format": "shmlog topic", "version": 1, **dataclasses.asdict(MANIFEST_OF_TWO)}
    for name in ("2/0.batches", "../0.batches", "0/0.other", "/etc/passwd"):
        path = members_of(tmp_path / "a.tar", (MANIFEST, orjson.dumps(manifest)), (name, b""), (END, b"{}"))
        with closing(ArchiveReader(path)) as reader, pytest.raises(CorruptRecordError, match="belongs to no topic"):
            list(reader.batches())


# --- batches of others ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [0, GZIP])
def test_batches_lose_their_producer_and_nothing_else(codec: int) -> None:
    batches = produced(4, b"a", b"b", codec=codec) + produced(9, b"c", codec=codec)
    made, headers = without_producers(batches, "here")
    assert [header.base_offset for header in headers] == [4, 9]
    for at in (0, headers[0].size_bytes):
        before, after = BatchHeader.parse(batches, at), BatchHeader.parse(made, at)
        assert (after.producer_id, after.producer_epoch, after.base_sequence) == (-1, -1, -1)
        assert after == dataclasses.replace(before, producer_id=-1, producer_epoch=-1, base_sequence=-1, crc=after.crc)
        assert decode_records(bytes(made), at) == decode_records(batches, at)


def test_batches_of_nobody_stay_byte_for_byte() -> None:
    assert without_producers(batch_at(4) + batch_at(6), "here")[0] == batch_at(4) + batch_at(6)


def test_damaged_batches_and_transactions_are_refused_by_offset() -> None:
    damaged = bytearray(batch_at(4) + batch_at(6))
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="here: the batch at offset 6 is damaged"):
        without_producers(bytes(damaged), "here")
    marker = encode_marker(Marker(MarkerType.COMMIT, 1), base_offset=4, producer_id=7, producer_epoch=0, timestamp_ms=0)
    with pytest.raises(InvalidRequestError, match="offset 4 is part of a transaction"):
        without_producers(marker, "here")


# --- logs -------------------------------------------------------------------------------------------------------------


def imported(directory: Path, start_offset: int, end_offset: int, *batches: bytes) -> ImportedLog:
    log = ImportedLog(str(directory), CONFIG, topic_id=TOPIC_ID, start_offset=start_offset, end_offset=end_offset)
    for batch in batches:
        log.append(batch)
    return log


def test_a_dense_log_begins_where_it_began_and_is_like_any_other(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    log = imported(directory, 1000, 1040, *(batch_at(offset) for offset in range(1000, 1040, 2)))
    log.finish([EpochStart(2, 0), EpochStart(5, 1010)])
    assert (log.records, log.leader_epoch) == (40, 0)
    assert not (directory / COMPACTION_CHECKPOINT).exists()
    opened = PartitionLog.open(str(directory), CONFIG, topic_id=TOPIC_ID)
    assert opened.recovered == ""
    assert (opened.log_start_offset, opened.log_end_offset) == (1000, 1040)
    assert len(list(opened.segments())) > 2
    assert opened.leader_epochs == [EpochStart(2, 0), EpochStart(5, 1010)]
    assert b"".join(opened.batches()) == b"".join(batch_at(offset) for offset in range(1000, 1040, 2))
    opened.append(batch_at(1040))
    opened.close(clean=True)


def test_holes_stay_holes(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    whole = produced(30, b"x", b"y", b"z")
    log = imported(directory, 4, 60, produced(10, b"a", b"b"), produced(20, b"c" * 900), whole)
    log.finish([EpochStart(3, 0)])
    opened = PartitionLog.open(str(directory), CONFIG, topic_id=TOPIC_ID)
    assert (opened.recovered, opened.log_start_offset, opened.log_end_offset) == ("", 4, 60)
    assert not opened.latest_snapshot()[1]
    opened.close(clean=True)
    found = list(shmlog.open_log(directory))
    assert [(record.offset, record.leader_epoch) for record in found] == [(n, 3) for n in (10, 11, 20, 30, 31, 32)]
    assert found[0].headers == (("h", None),)
    assert shmlog.open_log(directory).end_offset == 60


def test_a_log_may_begin_within_its_first_batch(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    imported(directory, 5, 8, batch_at(4), batch_at(6)).finish([])
    assert [record.offset for record in shmlog.open_log(directory)] == [5, 6, 7]
    assert shmlog.open_log(directory).start_offset == 5
    opened = PartitionLog.open(str(directory), CONFIG, topic_id=TOPIC_ID)
    assert (opened.recovered, opened.log_start_offset, opened.log_end_offset) == ("", 5, 8)
    opened.close(clean=True)


def test_an_empty_log_begins_at_its_end(tmp_path: Path) -> None:
    imported(tmp_path / "t-0", 70, 70).finish([])
    opened = PartitionLog.open(str(tmp_path / "t-0"), CONFIG, topic_id=TOPIC_ID)
    assert (opened.log_start_offset, opened.log_end_offset) == (70, 70)
    opened.close(clean=True)


@pytest.mark.parametrize("offset", [0, 2, 6, 12])
def test_a_batch_that_is_not_in_its_place_is_refused(tmp_path: Path, offset: int) -> None:
    log = imported(tmp_path / "t-0", 4, 12, batch_at(4), batch_at(6))
    with pytest.raises(CorruptRecordError, match="is not in its place, which is from 8 to 11"):
        log.append(batch_at(offset))
    log.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t-0").mkdir()
    with pytest.raises(StorageError, match="t-0 is there already"):
        imported(tmp_path / "t-0", 0, 0)
    assert (tmp_path / "t-0").is_dir()

"""Kafka's own `DumpLogSegments` over logs that a cluster of ours wrote: all of it valid, nothing else in it."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import shmlog
from shmlog.log.checkpoint import read_leader_epochs
from shmlog.log.dump import dump_snapshot
from shmlog.log.storage import OsStorage
from shmlog.record.layout import CODEC_NAMES
from tests.interop.kafka.dumped_log import Dump, DumpedBatch, DumpedFile, DumpedRecord, dump_files, files_of
from tests.interop.kafka.java_classes import KafkaClasses
from tests.interop.kafka.our_logs import LIVES, LOGS, START_MS

pytestmark = pytest.mark.slow

each_log = pytest.mark.parametrize("name", LOGS)
WHOLE, COMPACTED = ([name for name, log in LOGS.items() if log.is_compacted == wanted] for wanted in (False, True))
each_whole_log = pytest.mark.parametrize("name", WHOLE)
each_compacted_log = pytest.mark.parametrize("name", COMPACTED)


@dataclass(frozen=True, slots=True)
class Judged:
    """What we wrote, and what Kafka says about it."""

    data: Path
    dump: Dump
    """With what the tool complains of in logs that were not compacted."""

    def directory(self, name: str) -> Path:
        return self.data / f"{name}-0"

    def files(self, name: str, suffix: str) -> list[DumpedFile]:
        return [self.dump.files[path] for path in sorted(self.directory(name).glob(f"*{suffix}"))]

    def batches(self, name: str) -> list[DumpedBatch]:
        return [batch for file in self.files(name, ".log") for batch in file.batches]

    def records(self, name: str) -> list[DumpedRecord]:
        return [record for file in self.files(name, ".log") for record in file.records]


@pytest.fixture(scope="module")
def judged(kafka_classes: KafkaClasses, our_logs: Path) -> Judged:
    whole, compacted = (
        [path for name in names for path in files_of(our_logs / f"{name}-0")] for names in (WHOLE, COMPACTED)
    )
    dump = dump_files(kafka_classes, whole, "--print-data-log")
    files = dump.files | dump_files(kafka_classes, compacted, "--print-data-log").files
    return Judged(our_logs, Dump(files, dump.complaints))


def text(content: bytes | None) -> str | None:
    return None if content is None else content.decode()


# --- the claims -------------------------------------------------------------------------------------------------------


@each_log
def test_every_batch_is_valid(judged: Judged, name: str) -> None:
    assert judged.batches(name)
    assert all(batch.is_valid for batch in judged.batches(name))


@each_whole_log
def test_every_record_is_there_as_it_was_sent(judged: Judged, name: str) -> None:
    log, files = LOGS[name], judged.files(name, ".log")
    assert len(files) >= log.segments
    sent = log.records() * LIVES
    expected = [
        DumpedRecord(
            offset,
            START_MS + offset % (len(sent) // LIVES),
            text(record.key),
            text(record.value),
            tuple(header for header, _ in record.headers),
        )
        for offset, record in enumerate(sent)
    ]
    found = judged.records(name)
    if log.is_append_time:
        assert {batch.timestamp_type for batch in judged.batches(name)} == {"LogAppendTime"}
        assert min(record.timestamp_ms for record in found) > START_MS + len(sent)
        times = {record.offset: record.timestamp_ms for record in shmlog.open_log(judged.directory(name))}
        expected = [dataclasses.replace(record, timestamp_ms=times[record.offset]) for record in expected]
    assert found == expected


@each_compacted_log
def test_of_a_compacted_log_the_newest_record_of_each_key_is_there(judged: Judged, name: str) -> None:
    sent, found = LOGS[name].records() * LIVES, judged.records(name)
    assert len(found) < len(sent)
    newest = {text(record.key): text(record.value) for record in sent}
    assert {record.key: record.value for record in found} == newest
    assert found == [
        DumpedRecord(
            record.offset,
            record.timestamp_ms,
            text(record.key),
            text(record.value),
            tuple(header for header, _ in record.headers),
        )
        for record in shmlog.open_log(judged.directory(name))
    ]
    assert "OptionalLong.empty" in {batch.delete_horizon for batch in judged.batches(name)}
    assert any(batch.delete_horizon.startswith("OptionalLong[") for batch in judged.batches(name))


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_batches_carry_the_codec_that_their_topic_asks_for(judged: Judged, codec: str) -> None:
    name = "uncompressed" if codec == "none" else codec
    found = {batch.codec for batch in judged.batches(name)}
    assert {codec} <= found <= {codec, "none"}  # a batch that does not get smaller stays as it is


@each_log
def test_batches_carry_their_leader_epoch_as_the_checkpoint_has_it(judged: Judged, name: str) -> None:
    starts = read_leader_epochs(OsStorage(), str(judged.directory(name)))
    assert len(starts) == LIVES
    for batch in judged.batches(name):
        assert batch.leader_epoch == max(s.epoch for s in starts if s.start_offset <= batch.base_offset)


def test_kafka_complains_about_nothing(judged: Judged) -> None:
    assert judged.dump.complaints == []
    entries = [line for name in LOGS for file in judged.files(name, ".index") for line in file.lines]
    assert any(line.startswith("offset: ") for line in entries)


def test_every_index_passes_the_sanity_check(kafka_classes: KafkaClasses, judged: Judged) -> None:
    indexes = [path for name in LOGS for path in files_of(judged.directory(name)) if path.suffix.endswith("index")]
    checked = dump_files(kafka_classes, indexes, "--index-sanity-check")
    assert checked.complaints == []
    for path in indexes:
        lines = checked.files[path].lines
        assert lines in ([f"{path} passed sanity check."], [f"{path} is empty."]), path


@each_log
def test_snapshots_hold_every_producers_last_batch(judged: Judged, name: str) -> None:
    snapshots = sorted(judged.directory(name).glob("*.snapshot"))
    assert snapshots
    for path in snapshots:
        assert judged.dump.files[path].producers == {
            entry.producer_id: (entry.producer_epoch, entry.timestamp_ms, entry.last_offset)
            for entry in dump_snapshot(str(path))
        }
    last = {batch.producer_id: batch for batch in judged.batches(name)}
    assert judged.dump.files[snapshots[-1]].producers == {
        producer_id: (batch.producer_epoch, batch.max_timestamp_ms, batch.last_offset)
        for producer_id, batch in last.items()
    }


def test_the_judge_notices_a_damaged_batch_and_a_damaged_index(
    kafka_classes: KafkaClasses, judged: Judged, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(judged.directory("long"), tmp_path / "long-0"))
    log, index = (copy / f"{0:020d}{suffix}" for suffix in (".log", ".index"))
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    entries = bytearray(index.read_bytes())
    entries[11] ^= 1
    index.write_bytes(entries)
    dump = dump_files(kafka_classes, [log, index], "--deep-iteration")
    assert [batch.is_valid for batch in dump.files[log].batches].count(False) == 1
    assert any("Mismatches in" in line for line in dump.complaints)

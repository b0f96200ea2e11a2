"""What a real broker wrote reads with `shmlog.open_log` as the broker serves it, and a broker goes on in what we wrote.

A topic that is to be read, too, is one more entry of kafka_clients.TOPICS, and what `write_all` sends to it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import shmlog
from shmlog import Record
from shmlog.cli import main as cli
from shmlog.control.offsets_topic import decode
from shmlog.log.checkpoint import PARTITION_METADATA
from shmlog.log.dump import verify
from shmlog.log.kafka_directory import LOG_START_OFFSETS
from shmlog.log.log_reader import IsolationLevel, LogReader
from shmlog.log.storage import OsStorage
from shmlog.machines.group.records import OffsetCommitted
from shmlog.testing import wait_until
from tests.interop.kafka.broker import INDEX_BYTES, Broker
from tests.interop.kafka.dumped_log import complaint_kinds, dump_files, files_of
from tests.interop.kafka.java_classes import KafkaClasses
from tests.interop.kafka.kafka_clients import (
    COMMITTED,
    GROUP,
    ONE_MORE,
    SHORTENED_AT,
    TOPICS,
    create_topics,
    read_all,
    send_and_read,
    write_all,
)
from tests.interop.kafka.our_logs import LOGS, TURNS, changes

pytestmark = pytest.mark.slow

CLEANED_TIMEOUT_S = 30.0

each_state = pytest.mark.parametrize("state", ["running", "stopped"])
each_topic = pytest.mark.parametrize("topic", TOPICS)
each_level = pytest.mark.parametrize("level", ["read_uncommitted", "read_committed"])


@dataclass(slots=True)
class Written:
    """A broker's data directory, copied while it ran and after it was stopped, and what it served then."""

    directories: dict[str, Path]
    served: dict[str, dict[tuple[str, str], list[Record]]]
    repair_exit_code: int = -1
    """Of `segment repair` while the broker ran."""

    def log(self, state: str, topic: str, level: IsolationLevel = "read_uncommitted") -> shmlog.LogReader:
        return shmlog.open_log(self.directories[state] / f"{topic}-0", isolation_level=level)


@pytest.fixture(scope="module")
def broker(kafka_classes: KafkaClasses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    made = Broker(kafka_classes, tmp_path_factory.mktemp("broker"))
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def written(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Written:
    copies = tmp_path_factory.mktemp("copies")
    found = Written({state: copies / state for state in ("running", "stopped")}, {})

    async def while_undecided() -> None:
        wait_until(lambda: is_compacted(broker.data), timeout_s=CLEANED_TIMEOUT_S)
        found.served["running"] = await read_all(broker.address)
        wait_until(lambda: f"shortened 0 {SHORTENED_AT}" in (broker.data / LOG_START_OFFSETS).read_text())
        found.repair_exit_code = cli.run(["segment", "repair", str(broker.data)])
        passing = shutil.ignore_patterns("*.tmp")  # checkpoints that are being written, ten times a second
        shutil.copytree(broker.data, found.directories["running"], ignore=passing)

    broker.start()
    create_topics(broker.address, TOPICS | {adopted(name): {} for name in LOGS})
    asyncio.run(write_all(broker.address, while_undecided))
    found.served["stopped"] = asyncio.run(read_all(broker.address))
    broker.stop()
    shutil.copytree(broker.data, found.directories["stopped"])
    return found


def is_compacted(data: Path) -> bool:
    """Whether the broker's cleaner has been over everything in front of the active segment."""
    active = max((data / "compacted-0").glob("*.log"))
    return f"compacted 0 {int(active.stem)}" in (data / "cleaner-offset-checkpoint").read_text().splitlines()


# --- what Kafka wrote -------------------------------------------------------------------------------------------------


@each_state
@each_topic
@each_level
def test_every_record_reads_as_the_broker_serves_it(
    written: Written, state: str, topic: str, level: IsolationLevel
) -> None:
    served = written.served[state][topic, level]
    assert served
    log = written.log(state, topic, level)
    assert list(log) == served
    columns = list(log.columns())
    assert [record for piece in columns for record in piece] == served


@each_state
@each_topic
def test_reading_begins_at_any_offset_and_time(written: Written, state: str, topic: str) -> None:
    served, log = written.served[state][topic, "read_uncommitted"], written.log(state, topic)
    for first in (*served[:: max(1, len(served) // 20)], served[-1]):
        assert next(log.records(first.offset)) == first
        young = [record for record in served if record.timestamp_ms >= first.timestamp_ms]
        assert list(log.records(from_timestamp_ms=first.timestamp_ms)) == served[served.index(young[0]) :]
    later = max(record.timestamp_ms for record in served) + 1
    assert log.offset_for_timestamp(later) is None
    assert list(log.records(from_timestamp_ms=later)) == []


@each_state
def test_deleted_records_are_before_the_start(written: Written, state: str) -> None:
    log = written.log(state, "shortened")
    assert log.start_offset == SHORTENED_AT
    with pytest.raises(shmlog.OffsetOutOfRangeError, match=f"offsets {SHORTENED_AT} to"):
        log.records(SHORTENED_AT - 1)


@each_state
def test_ids_epochs_and_producers_are_those_of_the_broker(written: Written, state: str) -> None:
    log = written.log(state, "codecs")
    assert log.topic_id is not None
    assert [(one.epoch, one.start_offset) for one in log.leader_epochs()] == [(0, 0)]
    assert len({one.producer_id for one in log.producers()}) == 5
    assert max(one.last_offset for one in log.producers()) == log.end_offset - 1


def test_aborted_transactions_are_listed_and_an_open_one_holds_back_what_is_committed(written: Written) -> None:
    log = written.log("running", "transactions")
    committed = written.log("running", "transactions", "read_committed")
    assert len(log.aborted_transactions()) == 4
    undecided = next(record for record in log if record.value == b"undecided")
    assert committed.end_offset == undecided.offset < log.end_offset
    later = written.log("stopped", "transactions", "read_committed")
    assert list(later)[-1].value == b"plain, behind what is undecided"
    assert len(later.aborted_transactions()) == 5


def test_what_a_group_has_committed_at_the_broker_is_read(written: Written) -> None:
    log = written.log("stopped", "__consumer_offsets")
    found = [decode(record.key, record.value) for record in log if record.key is not None]
    (committed,) = [one for one in found if isinstance(one, OffsetCommitted)]
    assert committed == OffsetCommitted(
        GROUP,
        "codecs",
        0,
        COMMITTED,
        leader_epoch=-1,
        metadata="so far",
        commit_ms=committed.commit_ms,
        topic_id="",  # the client knows topics by name only
    )
    assert None in found  # the group itself is of the classic protocol


@each_state
@each_topic
def test_verify_finds_every_file_sound(written: Written, state: str, topic: str) -> None:
    directory = written.directories[state] / f"{topic}-0"
    suffixes = (".log", ".index", ".timeindex", ".snapshot")
    verdicts = [verify(str(path)) for path in sorted(directory.iterdir()) if path.suffix in suffixes]
    assert [verdict.summary for verdict in verdicts if not verdict.sound] == []
    assert sum(verdict.records for verdict in verdicts) >= len(list(written.log(state, topic)))


def test_repair_keeps_off_a_broker_that_runs_and_puts_right_what_one_has_left(
    written: Written, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written.repair_exit_code == 1
    data = Path(shutil.copytree(written.directories["stopped"], tmp_path / "data"))
    for index in data.glob("*-0/*.*index"):
        if not index.parent.name.startswith("__"):
            index.unlink()
    directories = [str(data / f"{topic}-0") for topic in TOPICS]
    assert cli.run(["segment", "repair", *directories]) == 0
    assert " left" in capsys.readouterr().out
    assert cli.run(["segment", "verify", *directories]) == 0
    for topic in TOPICS:
        assert list(shmlog.open_log(data / f"{topic}-0")) == written.served["stopped"][topic, "read_uncommitted"]


@each_state
def test_a_compacted_log_has_the_holes_that_the_cleaner_left_and_of_every_key_the_newest(
    written: Written, state: str
) -> None:
    log = written.log(state, "compacted")
    found = list(log)
    assert len(found) < log.end_offset - log.start_offset
    newest = {change.key: change.value for turn in range(TURNS) for change in changes(turn)}
    assert {record.key: record.value for record in found} == newest
    gone = sorted(set(range(log.end_offset)) - {record.offset for record in found})
    for offset in gone[:: len(gone) // 10]:
        assert next(log.records(offset)).offset == min(r.offset for r in found if r.offset > offset)


def test_kafkas_tool_says_of_our_compacted_logs_what_it_says_of_those_that_kafka_compacted(
    kafka_classes: KafkaClasses, written: Written, our_logs: Path
) -> None:
    ours = [our_logs / f"{name}-0" for name, log in LOGS.items() if log.is_compacted]
    theirs = written.directories["stopped"] / "compacted-0"
    kinds = {
        directory: complaint_kinds(dump_files(kafka_classes, files_of(directory), "--deep-iteration"))
        for directory in (theirs, *ours)
    }
    assert kinds[theirs] == {
        "Non-consecutive offsets in FILE",
        "  N is followed by N",
        "Found timestamp mismatch in :FILE",  # of batches that are empty, and kept as their producer's last
        "  Index timestamp: N, log timestamp: -1",
    }
    for directory in ours:
        assert kinds[directory] == kinds[theirs]


class CountingStorage(OsStorage):
    """Counts the bytes that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read_bytes = 0

    def pread(self, fd: int, size_bytes: int, position: int) -> bytes:
        self.read_bytes += size_bytes
        return super().pread(fd, size_bytes, position)

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        self.read_bytes += len(buffer)
        return super().pread_into(fd, buffer, position)


@each_state
def test_indexes_are_used_also_with_room_reserved_behind_their_entries(written: Written, state: str) -> None:
    directory = written.directories[state] / "several-0"
    active = max(directory.glob("*.log"))
    assert len(list(directory.glob("*.log"))) == 3
    assert (active.with_suffix(".index").stat().st_size == INDEX_BYTES) == (state == "running")
    storage = CountingStorage()
    last = written.served[state]["several", "read_uncommitted"][-1]
    assert list(LogReader(directory, storage=storage).records(last.offset)) == [last]
    assert storage.read_bytes < active.stat().st_size // 4
    storage.read_bytes = 0
    assert LogReader(directory, storage=storage).offset_for_timestamp(last.timestamp_ms) is not None


# --- what Kafka makes of ours -----------------------------------------------------------------------------------------


def adopted(name: str) -> str:
    """The broker's topic that gets the files of one of our logs."""
    return f"ours-{name}"


@pytest.fixture(scope="module")
def gone_on(written: Written, broker: Broker, our_logs: Path) -> dict[str, list[Record]]:
    """What a broker serves that was started over our files, and was sent one record more for each log."""
    for name in LOGS:
        directory = broker.data / f"{adopted(name)}-0"
        topic_id = (directory / PARTITION_METADATA).read_bytes()
        shutil.rmtree(directory)
        shutil.copytree(our_logs / f"{name}-0", directory)
        (directory / PARTITION_METADATA).write_bytes(topic_id)
    broker.start()
    found = asyncio.run(send_and_read(broker.address, [adopted(name) for name in LOGS]))
    broker.stop()
    return found


def fields(record: Record) -> tuple[object, ...]:
    """All but the topic's name."""
    return record.offset, record.timestamp_ms, record.key, record.value, record.headers


@pytest.mark.parametrize("name", LOGS)
def test_a_broker_goes_on_in_a_directory_that_we_wrote(
    gone_on: dict[str, list[Record]], broker: Broker, our_logs: Path, name: str
) -> None:
    topic, ours = adopted(name), shmlog.open_log(our_logs / f"{name}-0")
    *before, last = gone_on[topic]
    assert [fields(record) for record in ours] == [fields(record) for record in before]
    assert (last.offset, last.value) == (ours.end_offset, ONE_MORE)
    theirs = shmlog.open_log(broker.data / f"{topic}-0")
    assert list(theirs) == gone_on[topic]
    epochs = theirs.leader_epochs()
    assert epochs[: len(ours.leader_epochs())] == ours.leader_epochs()
    assert {one.producer_id for one in ours.producers()} <= {one.producer_id for one in theirs.producers()}

"""A log that is known by heart: every offset has one batch that can stand there, so what is missing shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from shmlog.log.dump import verify
from shmlog.log.partition_log import PartitionLog
from shmlog.log.recovery import WarmStart
from shmlog.log.segment import segment_path
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.storage import FaultyStorage

CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), index_interval_bytes=300)


def open_log(
    directory: Path, *, warm_from: WarmStart | None = None, storage: FaultyStorage | None = None
) -> PartitionLog:
    return PartitionLog.open(
        str(directory), CONFIG, topic_id="A" * 22, storage=storage or FaultyStorage(), warm_from=warm_from
    )


def look_at_segments(log: PartitionLog) -> str:
    """Look at all segments that opening believed by their names; returns what was found, with what opening did."""
    while log.sealed.check_next():
        pass
    return "; ".join(filter(None, (log.recovered, log.sealed.take_findings())))


def batch_at(offset: int) -> bytes:
    """The batch that always stands at an offset: two records, timestamps that go up and down."""
    records = [NewRecord(b"value %06d" % number, b"key", 1000 + number * 7 % 11) for number in (offset, offset + 1)]
    return encode_batch(records, base_offset=offset)


def append(log: PartitionLog, batches: int) -> None:
    """So many batches more."""
    for _ in range(batches):
        log.append(batch_at(log.log_end_offset))


def write_log(directory: Path, segments: list[int], *, clean: bool) -> list[bytes]:
    """A log whose segments have so many batches; returns the bytes of each segment's log."""
    log = open_log(directory)
    for number, batches in enumerate(segments):
        if number:
            log.roll(log.log_end_offset)
        append(log, batches)
    paths = [Path(info.path) for info in log.segments()]
    log.close(clean)
    return [path.read_bytes() for path in paths]


def contents(directory: Path) -> dict[str, bytes]:
    """The files of all segments by name."""
    return {path.name: path.read_bytes() for path in sorted(directory.glob("0*")) if path.suffix != ".snapshot"}


def log_file(directory: Path, base_offset: int) -> Path:
    """Where the segment with that base offset lies."""
    return Path(segment_path(str(directory), base_offset, ".log"))


def expected_log(batches: int) -> bytes:
    """The bytes of the first `batches` batches."""
    return b"".join(batch_at(2 * number) for number in range(batches))


def assert_it_goes_on(log: PartitionLog, directory: Path, batches: int) -> None:
    """After `batches` batches were kept: one more can be written, and everything is what an undisturbed log holds."""
    assert log.log_end_offset == 2 * batches
    append(log, 1)
    assert b"".join(log.batches()) == expected_log(batches + 1)
    log.close(clean=True)
    for name in contents(directory):
        if name.endswith(".damaged"):
            continue  # kept aside for a person
        assert verify(str(directory / name)).sound, name

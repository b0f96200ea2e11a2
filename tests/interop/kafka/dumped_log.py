"""What `kafka.tools.DumpLogSegments` says about files, read back into objects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.kafka.java_classes import KafkaClasses

_BATCH = re.compile(
    r"baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .*producerId: (-?\d+) producerEpoch: (-?\d+)"
    r" partitionLeaderEpoch: (\d+) .*deleteHorizonMs: (\S+) position: (\d+) (\w+): (-?\d+) size: (\d+) magic: 2"
    r" compresscodec: (\w+) crc: \d+ isvalid: (\w+)"
)
_RECORD = re.compile(
    r"\| offset: (\d+) (\w+): (-?\d+) keySize: (-?\d+) valueSize: (-?\d+)(?: sequence: -?\d+)? headerKeys: \[(.*?)\]"
    r"(?: key: (.*?))?(?: payload: (.*))?"
)
_PRODUCER = re.compile(r"producerId: (\d+) producerEpoch: (\d+) .*lastTimestamp: (-?\d+) .*lastOffset: (-?\d+) ")
COMPLAINT = re.compile(r"mismatch|not found|non-consecutive|out of order|corrupt|invalid|error", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DumpedBatch:
    base_offset: int
    last_offset: int
    count: int
    producer_id: int
    producer_epoch: int
    leader_epoch: int
    delete_horizon: str
    position: int
    timestamp_type: str
    max_timestamp_ms: int
    size_bytes: int
    codec: str
    is_valid: bool


@dataclass(frozen=True, slots=True)
class DumpedRecord:
    """A record; keys and values that are text, and names of headers only: the tool prints no more."""

    offset: int
    timestamp_ms: int
    key: str | None
    value: str | None
    header_names: tuple[str, ...]


@dataclass(slots=True)
class DumpedFile:
    lines: list[str] = field(default_factory=list)
    batches: list[DumpedBatch] = field(default_factory=list)
    records: list[DumpedRecord] = field(default_factory=list)
    producers: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Of a snapshot: id to epoch, largest timestamp of the last batch, last offset."""


@dataclass(slots=True)
class Dump:
    files: dict[Path, DumpedFile] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    """Lines that say that something is wrong, and those that no pattern here knows."""


def dump_files(classes: KafkaClasses, files: Iterable[Path], *options: str) -> Dump:
    """Run the tool over all files in one JVM."""
    names = ",".join(map(str, files))
    found, here = Dump(), DumpedFile()
    for line in classes.run("kafka.tools.DumpLogSegments", *options, "--files", names).splitlines():
        if line.startswith("Dumping "):
            here = found.files.setdefault(Path(line.removeprefix("Dumping ")), DumpedFile())
            continue
        here.lines.append(line)
        _read(line, here, found.complaints)
    return found


def _read(line: str, here: DumpedFile, complaints: list[str]) -> None:
    if (match := _BATCH.match(line)) is not None:
        base_offset, last_offset, count, producer_id, producer_epoch, leader_epoch = map(int, match.groups()[:6])
        here.batches.append(
            DumpedBatch(
                base_offset,
                last_offset,
                count,
                producer_id,
                producer_epoch,
                leader_epoch,
                delete_horizon=match[7],
                position=int(match[8]),
                timestamp_type=match[9],
                max_timestamp_ms=int(match[10]),
                size_bytes=int(match[11]),
                codec=match[12],
                is_valid=match[13] == "true",
            )
        )
    elif (match := _RECORD.fullmatch(line)) is not None:
        offset, timestamp_ms, key_bytes, value_bytes = (int(match[k]) for k in (1, 3, 4, 5))
        key = None if key_bytes < 0 else match[7] or ""
        value = None if value_bytes < 0 else match[8] or ""
        names = tuple(match[6].split(",")) if match[6] else ()
        here.records.append(DumpedRecord(offset, timestamp_ms, key, value, names))
    elif (match := _PRODUCER.match(line)) is not None:
        here.producers[int(match[1])] = (int(match[2]), int(match[3]), int(match[4]))
    elif COMPLAINT.search(line) or line.startswith(("|", "baseOffset", "producerId", "  ")):
        complaints.append(line)


def complaint_kinds(dump: Dump) -> set[str]:
    """What is complained of, whatever the file and the numbers."""
    return {re.sub(r"(?<!-)\b\d+", "N", re.sub(r"/\S+", "FILE", line)) for line in dump.complaints}


def files_of(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in (".log", ".index", ".timeindex", ".snapshot"))

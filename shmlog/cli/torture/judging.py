"""Judging a torture: the notes of all clients, the segments as plain Python decodes them, and the daemon's log."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from shmlog.cli.torture.membership import POLL_INTERVAL_MS
from shmlog.cli.torture.records import Recipe
from shmlog.cli.torture.times import time_complaints
from shmlog.errors import CorruptRecordError, ShmlogError
from shmlog.model import TopicPartition
from shmlog.record.batch import decode_records
from shmlog.record.header import BatchHeader
from shmlog.testing import History, Verdict, check_history
from shmlog.testing.group_checker import GroupVerdict, check_group
from shmlog.testing.group_history import read_notes
from shmlog.testing.history_file import load
from shmlog.testing.segments import StoredRecord, UndecodableSegmentError, read_partition

SEGMENTS = 1 << 16
"""The number under which the segments take part as a reader."""
DIED = re.compile(r": owner ([1-9]\d*) died$")  # 0 is one that the zygote was killed over, before it had a pid
KILLED = re.compile(r"the owner of (\S+) (?:does not react|\(process \d+\) does not come back): killing it$")
TRACE = "Traceback (most recent call last):"
CHAINED = ("The above exception was the direct cause", "During handling of the above exception")


def reference_decoder(batches: bytes) -> Iterator[StoredRecord]:
    """Our own decoder in plain Python, which the data path does not use; checksums are verified."""
    position = 0
    while position < len(batches):
        header = BatchHeader.parse(batches, position)
        for record in decode_records(batches, position):
            yield StoredRecord(record.offset, record.timestamp_ms, record.key, record.value, record.headers)
        position += header.size_bytes


def judge(histories: Path, recipe: Recipe, log_dirs: dict[TopicPartition, str], complaints: list[str]) -> Verdict:
    """The checker's verdict on everything. What cannot be decoded at all, or not be found by its time, is added to
    `complaints`.
    """
    history = History()
    places = recipe.places()
    history.partition_names = {number: str(place) for number, place in enumerate(places)}
    history.reader_names[SEGMENTS] = "the reader of segments"
    for file in sorted(histories.glob("producer-*")):
        load(history, file, 0, recipe.key_of)
    for file in sorted(histories.glob("consumer-*")):
        reader = int(file.name.rpartition("-")[2])
        history.reader_names[reader] = f"consumer {reader}"
        load(history, file, reader, recipe.key_of)
        for number in range(len(places)):
            history.finish(reader, number)
    for number, place in enumerate(places):
        if place in log_dirs:
            _read_segments(history, recipe, number, place, log_dirs[place], complaints)
            history.finish(SEGMENTS, number)
    return check_history(history)


def group_verdict(
    histories: Path, ends: Mapping[str, int], members: Iterable[str], down: Sequence[tuple[int, int]]
) -> GroupVerdict:
    """On the consumer group. `members`: those that were there to the end; `down`: as check_group()'s."""
    events = [event for file in sorted(histories.glob("member-*")) for event in read_notes(file)]
    return check_group(events, ends, poll_interval_ns=POLL_INTERVAL_MS * 1_000_000, last_members=members, down=down)


def _read_segments(
    history: History, recipe: Recipe, number: int, place: TopicPartition, log_dir: str, complaints: list[str]
) -> None:
    offsets, ids, times = array("q"), array("q"), array("q")
    try:
        for record in read_partition(log_dir, reference_decoder):
            offsets.append(record.offset)
            times.append(record.timestamp_ms)
            ids.append(recipe.identify(place.topic, record.offset, record.key, record.value))
    except (UndecodableSegmentError, CorruptRecordError, ShmlogError, OSError) as error:
        complaints.append(f"the segments of {place} cannot be decoded: {error}")
    else:
        complaints += time_complaints(place, log_dir, offsets, times)
    history.read_columns(SEGMENTS, number, offsets, ids)


def copy_complaints(place: TopicPartition, first: str, others: list[str]) -> list[str]:
    """Where replicas of a partition that was closed while all were in sync are not the same, byte for byte."""
    complaints = []
    logs = {path.name: path.read_bytes() for path in Path(first).glob("*.log")}
    for other in others:
        found = {path.name: path.read_bytes() for path in Path(other).glob("*.log")}
        if differ := sorted(name for name in {*logs, *found} if logs.get(name) != found.get(name)):
            complaints.append(f"the replicas of {place} are not the same: {differ[0]} in {first} and in {other}")
    return complaints


def log_complaints(log_file: Path, killed_owners: set[int]) -> list[str]:
    """What the daemon's log says that no fault explains: owners that died by themselves, and tracebacks."""
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return [f"there is no log {log_file}"]
    complaints = []
    stuck: set[str] = set()
    for at, line in enumerate(lines):
        if found := KILLED.search(line):
            stuck.add(found[1])
        elif (found := DIED.search(line)) and int(found[1]) not in killed_owners:
            title = line.rpartition(" WARNING ")[2].partition(":")[0]
            if title not in stuck:
                complaints.append(f"an owner died, and nobody killed it: {line}")
            stuck.discard(title)
        elif line == TRACE and (said := _exception_after(lines, at)):
            complaints.append(f"a traceback in the daemon's log, line {at + 1}: {said}")
    return complaints


def _exception_after(lines: list[str], trace: int) -> str:
    """What a traceback ends in; empty if another one follows that this one is only the cause of."""
    rest = enumerate(lines[trace + 1 :], trace + 1)
    at, said = next(((at, line) for at, line in rest if line and not line.startswith(" ")), (len(lines), "cut off"))
    return "" if any(line.startswith(CHAINED) for line in lines[at + 1 : at + 3]) else said

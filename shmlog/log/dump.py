"""Looking into the files of a segment, ours or Kafka's: what is there, whether it is sound, and what can still be read.

For people and tools, on files that nobody has to be writing. Nothing here changes a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from shmlog.errors import CorruptRecordError, InvalidRequestError
from shmlog.limits import MAX_MESSAGE_BYTES_MAX
from shmlog.log.kafka_directory import is_kafkas, sparse_until
from shmlog.log.offset_index import OffsetIndex, OffsetPosition
from shmlog.log.segment import INDEX_SUFFIX, LOG_SUFFIX, OFFSET_MAX, SNAPSHOT_SUFFIX, TIME_INDEX_SUFFIX, base_offset_of
from shmlog.log.snapshot import ProducerEntry, decode_snapshot
from shmlog.log.storage import OsStorage
from shmlog.log.time_index import TimeIndex, TimestampOffset
from shmlog.record.header import BatchHeader
from shmlog.record.layout import HEADER_BYTES, MAGIC, MAGIC_AT

BATCH_BYTES_MAX = MAX_MESSAGE_BYTES_MAX + HEADER_BYTES
"""A batch that claims more is taken for damage."""
SEARCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A sound batch and the byte where it begins."""

    position: int
    header: BatchHeader


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no sound batch. `resumes_at` is where the next sound one begins; None: there is none."""

    position: int
    expected_offset: int
    problem: str
    resumes_at: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found in one file. `next_offset` is one after the last sound batch before any damage."""

    path: str
    sound: bool
    entries: int
    """Sound batches of a log, entries of an index, producers of a snapshot."""
    records: int
    first_offset: int
    next_offset: int
    summary: str
    """One sentence: sound, or file, offset, byte, what is wrong, and what can be recovered."""


def dump_log(path: str) -> Iterator[BatchRow | Damage]:
    """The batches of a `.log` file in order, checksums checked; damage is a row of its own, then reading goes on."""
    base_offset = _base_offset(path, LOG_SUFFIX)
    dense_from_offset = sparse_until(OsStorage(), _directory(path))
    fd = os.open(path, os.O_RDONLY)
    try:
        size_bytes = os.fstat(fd).st_size
        position, expected = 0, base_offset
        while position < size_bytes:
            header, problem = _batch_at(fd, position, expected, max(expected, dense_from_offset))
            if header is None and _is_reserved(fd, position, size_bytes, path):
                return
            if header is None:
                resumes_at = next_sound(fd, position + 1, size_bytes, expected)
                yield Damage(position, expected, problem, resumes_at)
                if resumes_at is None:
                    return
                position = resumes_at
                header = BatchHeader.parse(os.pread(fd, HEADER_BYTES, position))
            yield BatchRow(position, header)
            position, expected = position + header.size_bytes, header.next_offset
    finally:
        os.close(fd)


def dump_offset_index(path: str) -> list[OffsetPosition]:
    """The entries of an `.index` file, as they stand there."""
    fd = os.open(path, os.O_RDONLY)
    try:
        index = OffsetIndex(fd, os.fstat(fd).st_size, _base_offset(path, INDEX_SUFFIX))
        return [index[number] for number in range(len(index))]
    finally:
        os.close(fd)


def dump_time_index(path: str) -> list[TimestampOffset]:
    """The entries of a `.timeindex` file, as they stand there."""
    fd = os.open(path, os.O_RDONLY)
    try:
        index = TimeIndex(fd, os.fstat(fd).st_size, _base_offset(path, TIME_INDEX_SUFFIX))
        return [index[number] for number in range(len(index))]
    finally:
        os.close(fd)


def dump_snapshot(path: str) -> list[ProducerEntry]:
    """The producers in a `.snapshot` file; raises CorruptRecordError or ForeignVersionError."""
    with open(path, "rb") as file:
        return decode_snapshot(file.read(), path)


def verify(path: str) -> Verdict:
    """Judge one file by its suffix. An index is compared with the log next to it.

    Raises InvalidRequestError for any other name, OSError when the file cannot be read.
    """
    if path.endswith(LOG_SUFFIX):
        return _verify_log(path)
    if path.endswith(TIME_INDEX_SUFFIX):
        return _verify_time_index(path)
    if path.endswith(INDEX_SUFFIX):
        return _verify_offset_index(path)
    if path.endswith(SNAPSHOT_SUFFIX):
        return _verify_snapshot(path)
    raise InvalidRequestError(f"{path} is none of .log, .index, .timeindex, .snapshot")


def _verify_log(path: str) -> Verdict:
    batches = records = sound_bytes = later_batches = later_records = 0
    first_offset = next_offset = _base_offset(path, LOG_SUFFIX)
    damages: list[Damage] = []
    for row in dump_log(path):
        if isinstance(row, Damage):
            damages.append(row)
        elif damages:
            later_batches += 1
            later_records += row.header.record_count
        else:
            batches += 1
            records += row.header.record_count
            next_offset = row.header.next_offset
            sound_bytes = row.position + row.header.size_bytes
    if not damages:
        held = f"{_count(batches, 'batch', 'batches')}, {_count(records, 'record')}"
        summary = f"{path}: sound, {held}, offsets {first_offset} to {next_offset - 1}"
        if not batches:
            summary = f"{path}: sound, empty"
        return Verdict(path, True, batches, records, first_offset, next_offset, summary)
    first = damages[0]
    summary = (
        f"{path}: corrupt at offset {first.expected_offset} (byte {first.position}): {first.problem}; recoverable: "
        f"{_count(records, 'record')} in the first {_count(sound_bytes, 'byte')}"
    )
    if later_batches:
        later = f"{_count(later_records, 'record')} in {_count(later_batches, 'sound batch', 'sound batches')}"
        summary += f", and {later} after the damage"
    return Verdict(path, False, batches + later_batches, records + later_records, first_offset, next_offset, summary)


def _verify_offset_index(path: str) -> Verdict:
    entries = dump_offset_index(path)
    ends = _batch_ends(path, INDEX_SUFFIX)
    problem = _odd_size(path, 8, len(entries))
    previous = -1
    for number, entry in enumerate(entries):
        header = ends.get(entry.offset)
        if entry.offset <= previous or header is None or header.position != entry.position:
            problem = problem or f"entry {number} names byte {entry.position} for offset {entry.offset}"
        previous = entry.offset
    return _index_verdict(path, INDEX_SUFFIX, len(entries), problem)


def _verify_time_index(path: str) -> Verdict:
    entries = dump_time_index(path)
    ends = _batch_ends(path, TIME_INDEX_SUFFIX)
    problem = _odd_size(path, 12, len(entries))
    previous = -1
    for number, entry in enumerate(entries):
        row = ends.get(entry.offset)
        if entry.timestamp_ms <= previous or row is None or row.header.max_timestamp_ms != entry.timestamp_ms:
            problem = problem or f"entry {number} names time {entry.timestamp_ms} for offset {entry.offset}"
        previous = entry.timestamp_ms
    return _index_verdict(path, TIME_INDEX_SUFFIX, len(entries), problem)


def _verify_snapshot(path: str) -> Verdict:
    offset = _base_offset(path, SNAPSHOT_SUFFIX)
    try:
        entries = dump_snapshot(path)
    except CorruptRecordError as error:
        return Verdict(path, False, 0, 0, offset, offset, f"{error}; an older snapshot or the log has the same")
    return Verdict(path, True, len(entries), 0, offset, offset, f"{path}: sound, {_count(len(entries), 'producer')}")


def _index_verdict(path: str, suffix: str, entries: int, problem: str) -> Verdict:
    base_offset = _base_offset(path, suffix)
    summary = f"{path}: sound, {_count(entries, 'entry', 'entries')}"
    if problem:
        summary = f"{path}: corrupt: {problem}, which its log does not bear out; recoverable: all of it, from the log"
    return Verdict(path, not problem, entries, 0, base_offset, base_offset, summary)


def _count(number: int, one: str, many: str = "") -> str:
    """ "1 batch", "2 batches"; without `many` an s is added."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _odd_size(path: str, entry_bytes: int, entries: int) -> str:
    """What is wrong with an index of that many entries; "" also for room that Kafka has reserved behind them."""
    size_bytes = os.path.getsize(path)
    if size_bytes % entry_bytes:
        return f"its {size_bytes} bytes are not whole entries of {entry_bytes}"
    if size_bytes > entries * entry_bytes and not is_kafkas(OsStorage(), _directory(path)):
        return f"zeros follow its {_count(entries, 'entry', 'entries')}"
    return ""


def _batch_ends(path: str, suffix: str) -> dict[int, BatchRow]:
    """The sound batches of the log beside an index, by their last offsets."""
    rows = dump_log(path.removesuffix(suffix) + LOG_SUFFIX)
    return {row.header.last_offset: row for row in rows if isinstance(row, BatchRow)}


def _batch_at(fd: int, position: int, expected_offset: int, offset_max: int) -> tuple[BatchHeader | None, str]:
    """The batch that begins at a byte, or None and why there is none.

    Its base offset is the expected one, or a later one up to `offset_max` where that is more, as recovery has it, too.
    """
    try:
        header = BatchHeader.parse(os.pread(fd, HEADER_BYTES, position))
    except CorruptRecordError as error:
        return None, str(error)
    if header.size_bytes > BATCH_BYTES_MAX:
        return None, f"the batch claims {header.size_bytes} bytes"
    if not expected_offset <= header.base_offset <= offset_max:
        return None, f"the batch claims offset {header.base_offset}"
    batch = os.pread(fd, header.size_bytes, position)
    if len(batch) < header.size_bytes:
        return None, f"the file ends inside a batch of {header.size_bytes} bytes"
    if not header.crc_is_valid(batch):
        return None, "the checksum is wrong"
    return header, ""


def next_sound(fd: int, position: int, size_bytes: int, expected_offset: int) -> int | None:
    """Where the next sound batch begins at or after a byte: tries wherever a magic byte stands."""
    while position + HEADER_BYTES <= size_bytes:
        window = os.pread(fd, SEARCH_BYTES + MAGIC_AT, position)
        found = window.find(MAGIC, MAGIC_AT)
        while found >= 0:
            candidate = position + found - MAGIC_AT
            if _batch_at(fd, candidate, expected_offset, OFFSET_MAX)[0] is not None:
                return candidate
            found = window.find(MAGIC, found + 1)
        position += SEARCH_BYTES
    return None


def _is_reserved(fd: int, position: int, size_bytes: int, path: str) -> bool:
    """Whether nothing but zeros follows, in a file that Kafka wrote: it may take room in advance."""
    while position < size_bytes:
        chunk = os.pread(fd, SEARCH_BYTES, position)
        if chunk.count(0) != len(chunk):
            return False
        position += len(chunk)
    return is_kafkas(OsStorage(), _directory(path))


def _directory(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _base_offset(path: str, suffix: str) -> int:
    """The base offset in a file's name; raises InvalidRequestError for a name that has none."""
    base_offset = base_offset_of(os.path.basename(path), suffix)
    if base_offset is None:
        raise InvalidRequestError(f"the name of {path} is not 20 digits and {suffix}")
    return base_offset

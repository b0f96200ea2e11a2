"""`shmlog.open_log`: a partition's directory as a log that can be read, without a cluster."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from typing import Final, Literal, TypeVar

from shmlog import arguments
from shmlog.errors import CorruptRecordError, InvalidArgumentError, OffsetOutOfRangeError, StorageError
from shmlog.log.checkpoint import EpochStart, read_leader_epochs, read_topic_id
from shmlog.log.cold import ColdReader
from shmlog.log.cold_segment import ColdSegment
from shmlog.log.isolation import CommittedView, last_stable_offset
from shmlog.log.kafka_directory import KafkaStorage, is_kafkas, read_log_start_offset
from shmlog.log.log_end import LogEnd, find_end
from shmlog.log.segment import OFFSET_MAX, SNAPSHOT_SUFFIX, list_base_offsets
from shmlog.log.snapshot import ProducerEntry, latest_snapshot, replay
from shmlog.log.storage import OsStorage, Storage
from shmlog.log.transaction_index import AbortedTransaction, read_aborted
from shmlog.model import OffsetAndTimestamp
from shmlog.native.columns import RecordColumns, decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.native.scan import check_batches
from shmlog.record.expansion import expand
from shmlog.record.header import headers_of

IsolationLevel = Literal["read_uncommitted", "read_committed"]
READ_BYTES: Final = 1 << 18
OPEN_ATTEMPTS: Final = 10
"""So often in a row retention may take away the segment that is about to be opened."""
_RECORDS_MAX: Final = 2**31 - 1
_DIRECTORY: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d{1,9})(\.r\d{1,9}|\.\w{32}-(delete|future|stray))?")
Decoded = TypeVar("Decoded", list[Record], RecordColumns)
Decode = Callable[[bytes, str, int, int, int, int], tuple[Decoded, int, int, int]]


def open_log(path: str | os.PathLike[str], *, isolation_level: IsolationLevel = "read_uncommitted") -> LogReader:
    """The partition whose directory is `path`, of a cluster of shmlog or of Kafka, which may be running or stopped.

    Nothing is ever written there. With "read_committed" records of transactions that were aborted are left out, and the
    log ends where the oldest transaction begins that is still open. Raises InvalidArgumentError if `path` has no
    segments in it.
    """
    return LogReader(path, isolation_level=isolation_level)


class LogReader:
    """The records in a partition's files. Holds nothing open but what an iterator is reading.

    Every call looks at the directory as it is then. Of a running cluster that is all that was written, also what
    followers do not have yet, so it may be ahead of what consumers are shown.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        isolation_level: IsolationLevel = "read_uncommitted",
        storage: Storage | None = None,
    ) -> None:
        """See open_log()."""
        if isolation_level not in ("read_uncommitted", "read_committed"):
            raise arguments.refusal("isolation_level", '"read_uncommitted" or "read_committed"', isolation_level)
        self.directory: Final = os.path.abspath(path)
        self.isolation_level: Final = isolation_level
        plain = storage if storage is not None else OsStorage()
        try:
            self._is_kafkas = is_kafkas(plain, self.directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InvalidArgumentError(f"{self.directory} cannot be opened as a log: {error.strerror}") from error
        self._storage: Storage = KafkaStorage() if storage is None and self._is_kafkas else plain
        named = _DIRECTORY.fullmatch(os.path.basename(self.directory))
        self.topic: Final = named["topic"] if named else os.path.basename(self.directory)
        self.partition: Final = int(named["partition"]) if named else 0
        self._base_offsets()

    def __repr__(self) -> str:
        return f"<the log in {self.directory}>"

    # --- what it holds ------------------------------------------------------------------------------------------------

    @property
    def topic_id(self) -> str | None:
        """As partition.metadata has it, 22 characters; None without that file."""
        return read_topic_id(self._storage, self.directory)

    @property
    def start_offset(self) -> int:
        """The first offset that counts: older ones were deleted, whatever is left of them in the first segment."""
        return max(self._base_offsets()[0], read_log_start_offset(self._storage, self.directory))

    @property
    def end_offset(self) -> int:
        """One after the last record, or the last stable offset for who reads what is committed.

        Where the newest segment is damaged, this is where the damage begins.
        """
        return self._visible_end(self._end().offset)

    def leader_epochs(self) -> list[EpochStart]:
        """Which leader epoch began at which offset, ascending, as the checkpoint beside the segments says."""
        return read_leader_epochs(self._storage, self.directory)

    def producers(self) -> list[ProducerEntry]:
        """The last batch of each idempotent or transactional producer, as of the log's end.

        The newest snapshot that can be read, and the headers of the batches after it.
        """
        return self._producers(self._end().offset)

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """Those whose abort marker is in the log, as Kafka's transaction indexes list them.

        Raises CorruptRecordError if one of those is damaged.
        """
        return read_aborted(self._storage, self.directory, self._base_offsets())

    # --- reading ------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def records(
        self,
        from_offset: int | None = None,
        *,
        from_timestamp_ms: int | None = None,
        end_offset: int | None = None,
    ) -> Iterator[Record]:
        """Every record from `from_offset` on, or from the first that is as young as `from_timestamp_ms`; else all.

        Ends at `end_offset`, which is not included, and by itself at the end that the log has now. Control markers are
        never shown, and offsets that compaction took away are passed over. Raises OffsetOutOfRangeError for an offset
        that is not in the log, or not any more; CorruptRecordError, naming the place, when it gets to damage;
        UnsupportedCompressionTypeError when the library of a codec is missing.
        """
        return chain.from_iterable(self._read(decode_batches, from_offset, from_timestamp_ms, end_offset))

    def columns(
        self,
        from_offset: int | None = None,
        *,
        from_timestamp_ms: int | None = None,
        end_offset: int | None = None,
    ) -> Iterator[RecordColumns]:
        """The same as arrays, some hundred kilobytes at a time, never none; see Consumer.poll_columns()."""
        return self._read(decode_columns, from_offset, from_timestamp_ms, end_offset)

    def batches(self, from_offset: int | None = None, *, end_offset: int | None = None) -> Iterator[bytes]:
        """The batches themselves as they lie in the files, whole ones, some hundred kilobytes at a time.

        The first holds or follows `from_offset`, the last begins before `end_offset`; markers and aborted batches are
        among them, whatever the isolation level. Checksums are verified. Raises as records() does.
        """
        end = self._end()
        last = self._visible_end(end.offset)
        limit = last if end_offset is None else min(last, arguments.integer(end_offset, "end_offset", 0))
        offset = self._begin(from_offset, None, last)
        assert offset is not None
        return self._verified(offset, limit, end.problem if limit == end.offset else "")

    def _verified(self, offset: int, limit: int, problem: str) -> Iterator[bytes]:
        for chunk in self._chunks(offset, limit):
            first = headers_of(chunk)[0].base_offset
            valid, at_offset, _, wrong = check_batches(chunk, first, 0, OFFSET_MAX)
            if valid < len(chunk):
                raise CorruptRecordError(f"{self.directory}: the batch at or after offset {at_offset}: {wrong}")
            yield chunk
        if problem:
            raise CorruptRecordError(problem)

    def offset_for_timestamp(self, timestamp_ms: int) -> OffsetAndTimestamp | None:
        """The first record that is as young as `timestamp_ms` or younger; None without one. Uses the time indexes."""
        arguments.timestamp_ms(timestamp_ms)
        start, end = self.start_offset, self.end_offset
        with closing(self._reader()) as reader:
            found = reader.offset_for_timestamp(timestamp_ms, end)
        if found is None or found.offset >= start:
            return found
        young = (record for record in self.records(start) if record.timestamp_ms >= timestamp_ms)
        return next((OffsetAndTimestamp(record.offset, record.timestamp_ms) for record in young), None)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _read(
        self, decode: Decode[Decoded], from_offset: int | None, from_timestamp_ms: int | None, end_offset: int | None
    ) -> Iterator[Decoded]:
        end = self._end()
        last = self._visible_end(end.offset)
        limit = last if end_offset is None else min(last, arguments.integer(end_offset, "end_offset", 0))
        offset = self._begin(from_offset, from_timestamp_ms, last)
        if offset is None:
            return iter(())
        aborted = self.aborted_transactions() if self.isolation_level == "read_committed" else []
        return self._decoded(decode, offset, limit, CommittedView(aborted), end.problem if limit == end.offset else "")

    def _decoded(
        self, decode: Decode[Decoded], offset: int, limit: int, view: CommittedView, problem: str
    ) -> Iterator[Decoded]:
        """`problem` is what is wrong with the bytes at the limit."""
        for chunk in self._chunks(offset, limit):
            rest = view.committed(chunk)
            while rest:
                plain, done = expand(rest, self.directory, READ_BYTES)
                found, *_ = decode(plain, self.topic, self.partition, offset, limit, _RECORDS_MAX)
                if len(found) and found[-1].offset >= limit:
                    found = found[: bisect_left(found, limit, key=_offset)]
                if len(found):
                    yield found
                rest = rest[done:]
        if problem:
            raise CorruptRecordError(problem)

    def _begin(self, from_offset: int | None, from_timestamp_ms: int | None, end: int) -> int | None:
        """Where to begin; None: nowhere."""
        if from_timestamp_ms is not None:
            if from_offset is not None:
                raise InvalidArgumentError("give from_offset or from_timestamp_ms, not both")
            found = self.offset_for_timestamp(from_timestamp_ms)
            return found.offset if found is not None else None
        start = self.start_offset
        offset = start if from_offset is None else arguments.integer(from_offset, "from_offset", 0)
        if from_offset is not None and not start <= offset <= end:
            raise OffsetOutOfRangeError(
                f"offset {offset} is not in the log in {self.directory}, which has offsets {start} to {end - 1}"
            )
        return offset

    def _chunks(self, offset: int, limit_offset: int) -> Iterator[bytes]:
        """Whole batches, the first one with `offset` in it or behind it."""
        with closing(self._reader()) as reader:
            while chunk := reader.read(offset, READ_BYTES, limit_offset):
                yield chunk
                offset = _next_offset(chunk)

    def _reader(self) -> ColdReader:
        return ColdReader(self.directory, self._storage, sparse_until=OFFSET_MAX if self._is_kafkas else 0)

    def _base_offsets(self) -> list[int]:
        try:
            found = list_base_offsets(self._storage, self.directory)
        except FileNotFoundError as error:
            raise StorageError(f"{self.directory} is gone: its topic was deleted") from error
        if not found:
            raise InvalidArgumentError(
                f"{self.directory} has no segment files in it: give a partition's directory, such as DATA/orders-0"
            )
        return found

    def _end(self) -> LogEnd:
        for _ in range(OPEN_ATTEMPTS):
            try:
                segment = ColdSegment(self._storage, self.directory, self._base_offsets()[-1])
            except FileNotFoundError:
                continue  # the log was cut or cleared meanwhile
            with closing(segment):
                return find_end(segment)
        raise StorageError(f"{self.directory}: segments vanish faster than they can be opened")

    def _visible_end(self, end_offset: int) -> int:
        if self.isolation_level == "read_uncommitted":
            return end_offset
        return last_stable_offset(self._producers(end_offset), end_offset)

    def _producers(self, end_offset: int) -> list[ProducerEntry]:
        snapshots = list_base_offsets(self._storage, self.directory, SNAPSHOT_SUFFIX)
        offset, entries = latest_snapshot(self._storage, self.directory, snapshots, end_offset)
        chunks = self._chunks(max(offset, self._base_offsets()[0]), end_offset)
        return replay(entries, (header for chunk in chunks for header in headers_of(chunk)))


def _offset(record: Record) -> int:
    return record.offset


def _next_offset(chunk: bytes) -> int:
    """The offset after the last batch."""
    return headers_of(chunk)[-1].next_offset

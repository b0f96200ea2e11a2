"""One assigned partition of a consumer: where it stands, where it begins, and what others see of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from shmlog.errors import LogTruncationError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from shmlog.memory.client_slot import NO_TOKEN, Slot
from shmlog.model import OffsetAndMetadata, TopicPartition
from shmlog.native.columns import RecordColumns
from shmlog.native.records import Record
from shmlog.partition.reader import PartitionReader

Reset = Literal["earliest", "latest", "none"]

_log = logging.getLogger("shmlog.consumer")


class Cursor:
    """Wraps the partition's reader with `auto_offset_reset` (`reset`), pause and the position that others can see.

    `start` says where to begin: it is resolved as soon as the partition's owner has said what there is.
    """

    def __init__(
        self, open_reader: Callable[[], PartitionReader], partition_id: int, *, start: Reset, reset: Reset
    ) -> None:
        self.open_another = open_reader
        """Of the same partition; whose it is who opens it."""
        self.reader = open_reader()
        self.partition_id = partition_id
        self.paused = False
        self.slot: Slot | None = None
        self.token = NO_TOKEN
        """Of the member of a group that reads it, or NO_TOKEN."""
        self.committed: OffsetAndMetadata | None = None
        """What the group has committed, as far as this consumer knows."""
        self.has_stored = False
        """Whether its slot has a commit."""
        self.outlives_topic = False
        """Whether a topic that was deleted is no error here, but one without more records."""
        self.resets = 0
        self._reset: Reset = reset
        self._start: Reset | None = start

    @property
    def partition(self) -> TopicPartition:
        return self.reader.partition

    @property
    def position(self) -> int:
        """The next offset that fetch() gives. Raises LeaderNotAvailableError while nobody knows the log's range."""
        self.resolve()
        return self.reader.position

    def resolve(self) -> None:
        """Turn "earliest" or "latest" into an offset."""
        if self._start is None:
            return
        if self._start == "none":
            raise OffsetOutOfRangeError(
                f"there is no position for {self.partition}, and auto.offset.reset is none: seek() first"
            )
        low, high = self.reader.watermarks()
        self.seek(low if self._start == "earliest" else high)

    def seek(self, offset: int, leader_epoch: int = -1) -> None:
        """As PartitionReader.seek()."""
        self._start = None
        self.reader.seek(offset, leader_epoch)

    def go_back(self, offset: int) -> None:
        """Read again from an offset that was read before, in the same log."""
        self.seek(offset, self.reader.leader_epoch)

    def seek_to(self, end: Literal["earliest", "latest"]) -> None:
        """Go to one end of the log: the end that it has now, if that is known now."""
        self._start = end
        if self.reader.ready:
            self.resolve()

    def has_data(self) -> bool:
        """Whether fetch() is worth a try: the second look before a sleep."""
        if self.paused:
            return False
        return self.reader.has_data() if self._start is None else self.reader.ready

    def fetch(self, max_bytes: int, *, check_crcs: bool, columns: bool = False) -> list[Record] | RecordColumns:
        """What the reader has next; a position that the log has lost is reset as `auto_offset_reset` says.

        Where the log was cut, and another one goes on, reading goes on, too, as it does in Kafka.
        """
        read = self.reader.fetch_columns if columns else self.reader.fetch
        if self._start is not None:
            if self._start != "none" and not self.reader.ready:
                return []
            self.resolve()
        first = self.reader.position
        try:
            records = read(max_bytes, check_crcs=check_crcs)
        except UnknownTopicOrPartitionError:
            if not self.outlives_topic:
                raise
            return []
        except LogTruncationError as error:
            if self._reset == "none":
                raise
            self.resets += 1
            self.go_back(error.divergent_offset)
            _log.warning("%s; going on at %d (auto.offset.reset=%s)", error, self.reader.position, self._reset)
            return self.fetch(max_bytes, check_crcs=check_crcs, columns=columns)
        except OffsetOutOfRangeError as error:
            if self._reset == "none":
                raise
            self.resets += 1
            self._start = self._reset
            self.resolve()
            _log.warning("%s; going on at %d (auto.offset.reset=%s)", error, self.reader.position, self._reset)
            return read(max_bytes, check_crcs=check_crcs)
        if self.reader.trace_stride and records and self.slot is not None:
            self.slot.note_read(self.reader.trace_stride, first, self.reader.position)
        return records

    def publish(self, position: int) -> None:
        """Let others see how far the application is."""
        if self.slot is not None:
            self.slot.store_position(position)

    # --- in a group ---------------------------------------------------------------------------------------------------

    @property
    def has_position(self) -> bool:
        """Whether `position` is known, or can be."""
        return self._start is None or (self._start != "none" and self.reader.ready)

    def begin_at(self, committed: OffsetAndMetadata) -> None:
        """Go on where the group has read up to."""
        self.seek(committed.offset, committed.leader_epoch)
        self.publish(committed.offset)
        self.committed = committed

    def commit(self, offset: int, leader_epoch: int) -> None:
        """Store it in the slot, where the coordinator finds it."""
        if self.slot is not None:
            self.slot.commit(offset, leader_epoch)
            self.has_stored = True
        self.committed = OffsetAndMetadata(offset, "", leader_epoch)

    def commit_again(self) -> None:
        """In a new slot."""
        if self.has_stored and self.committed is not None:
            self.commit(self.committed.offset, self.committed.leader_epoch)

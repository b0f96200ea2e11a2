"""The partitions that a consumer reads: opened, rung for, shown to others in slots, and let go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from shmlog.client.connection import Connection
from shmlog.client.cursor import Cursor, Reset
from shmlog.client.fetcher import Fetcher
from shmlog.client.subscription import Partitions
from shmlog.control.messages import PartitionDescription
from shmlog.errors import HandleClosedError
from shmlog.memory.client_slot import Slot
from shmlog.model import TopicPartition
from shmlog.partition.reader import PartitionReader

OpenReader = Callable[[TopicPartition, PartitionDescription], PartitionReader]


class Assigned:
    """Puts cursors into a fetcher and takes them out. `reset`: where a cursor goes whose position is not in the log."""

    def __init__(self, connection: Connection, open_reader: OpenReader, fetcher: Fetcher, reset: Reset) -> None:
        self._connection = connection
        self._open_reader = open_reader
        self._fetcher = fetcher
        self._reset: Reset = reset
        self._registrations = connection.registrations

    def take_up(self, partitions: Partitions, *, start: Reset) -> None:
        """Begin to read those of `partitions` that are new, at `start`. Waits for the supervisor."""
        fresh = {key: found for key, found in partitions.items() if key not in self._fetcher.cursors}
        if not fresh:
            return
        self._connection.subscribe(found.partition_id for found in fresh.values())
        for partition, found in fresh.items():
            cursor = self._open(partition, found, start)
            cursor.slot = self._connection.claim_slot(found.partition_id)
            if start != "none" and cursor.reader.ready:
                cursor.resolve()
            self._fetcher.add(cursor)

    def take_up_for(
        self, token: int, partition: TopicPartition, found: PartitionDescription, *, start: Reset
    ) -> Cursor:
        """Begin to read one partition for the member of a group that `token` stands for, who commits in its slot.

        Does without a supervisor if there is none. Raises ShmBudgetExceededError if no slot is free.
        """
        slot = self._connection.region.claim_slot(found.partition_id, token)
        self._connection.subscribe_soon([found.partition_id])
        cursor = self._open(partition, found, start)
        cursor.slot, cursor.token = slot, token
        self._fetcher.add(cursor)
        return cursor

    def _open(self, partition: TopicPartition, found: PartitionDescription, start: Reset) -> Cursor:
        open_reader = partial(self._open_reader, partition, found)
        return Cursor(open_reader, found.partition_id, start=start, reset=self._reset)

    def let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """Read these no more. Needs no supervisor."""
        self.release(self.take_out(partitions))

    def take_out(self, partitions: Iterable[TopicPartition]) -> list[Slot]:
        """let_go(), but for the slots, whose commits stay to be found until somebody gives them to release()."""
        cursors = [self._fetcher.remove(partition) for partition in partitions]
        slots = [cursor.slot for cursor in cursors if cursor.slot is not None]
        for cursor in cursors:
            cursor.slot = None
            cursor.reader.close()
        if cursors:
            self._connection.unsubscribe(cursor.partition_id for cursor in cursors)
        return slots if self._registrations == self._connection.registrations else []

    def release(self, slots: Iterable[Slot]) -> None:
        """Nobody has to look at these any more."""
        with suppress(HandleClosedError):  # the connection may be closed before us
            for slot in slots:
                slot.release()

    def reattach(self) -> None:
        """Now and then: the cluster may have come back from nothing."""
        for cursor in self._fetcher.cursors.values():
            cursor.reader.reattach_if_replaced()

    def look_after(self) -> None:
        """Have slots in the region that this process has now."""
        if self._registrations != self._connection.registrations:
            self._registrations = self._connection.registrations
            for cursor in self._fetcher.cursors.values():
                cursor.slot = self._connection.claim_slot(cursor.partition_id, cursor.token)
                cursor.commit_again()
            self.reattach()

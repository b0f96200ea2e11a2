"""What a consumer in a group is done with: stored in its own memory as it goes on, where the coordinator finds it."""

from __future__ import annotations

from collections.abc import Iterable

from shmlog.client.cursor import Cursor
from shmlog.client.fetcher import Fetcher
from shmlog.control.group_messages import GroupOffset
from shmlog.errors import LeaderNotAvailableError
from shmlog.model import OffsetAndMetadata, TopicPartition


class Commits:
    """Of the partitions in a fetcher. `automatic`: enable.auto.commit."""

    def __init__(self, fetcher: Fetcher, *, automatic: bool) -> None:
        self.automatic = automatic
        self.in_cells = False
        """Whether there is a member, whose slots the coordinator reads."""
        self.stored = 0
        """Counts commits in cells."""
        self._unsynced: dict[TopicPartition, GroupOffset] = {}  # of who has no cells
        self._fetcher = fetcher
        self.gives_whole_polls = False

    def settle(self, *, of_poll: bool) -> None:
        """The application asks for more: with everything that it was given it has finished.

        `of_poll`: what it is given next is a list or columns, of which nobody knows how far it is.
        """
        self.gives_whole_polls = of_poll
        if self.automatic:
            fetcher, ahead = self._fetcher, self._fetcher.read_ahead
            fetcher.touched = self.store(fetcher.touched)
            if ahead.cursor is not None and ahead.cursor.partition in fetcher.cursors:
                fetcher.touched.add(ahead.cursor)

    def store(self, cursors: Iterable[Cursor]) -> set[Cursor]:
        """Commit how far the application was given records of these. Returns those where nobody knows yet."""
        ahead = self._fetcher.read_ahead
        waiting = set()
        for cursor in cursors:
            try:
                position = ahead.position(cursor) if cursor.has_position else -1
            except LeaderNotAvailableError:
                position = -1
            if position < 0:
                waiting.add(cursor)
            elif cursor.committed is None or cursor.committed.offset != position:
                self._store(cursor, position, ahead.leader_epoch(cursor))
        return waiting

    def store_finished(self) -> None:
        """The application has failed: the record that it was given last is not finished, nor is any list."""
        ahead = self._fetcher.read_ahead
        current, cursor = ahead.current, ahead.cursor
        if not self.automatic or self.gives_whole_polls or current is None or cursor is None:
            return
        if cursor.committed is None or cursor.committed.offset < current.offset:
            self._store(cursor, current.offset, -1)

    def store_offsets(self, offsets: Iterable[GroupOffset]) -> None:
        """commit(asynchronous=True)."""
        for one in offsets:
            cursor = self._fetcher.cursors[TopicPartition(one.topic, one.partition)]
            self._store(cursor, one.offset, one.leader_epoch)

    def note(self, offsets: Iterable[GroupOffset]) -> None:
        """The coordinator has taken these: cells that say something else are out of date."""
        for one in offsets:
            partition = TopicPartition(one.topic, one.partition)
            self._unsynced.pop(partition, None)
            cursor = self._fetcher.cursors.get(partition)
            if cursor is None:
                continue
            if cursor.has_stored:
                self._store(cursor, one.offset, one.leader_epoch)
            cursor.committed = OffsetAndMetadata(one.offset, one.metadata, one.leader_epoch)

    def final(self, cursors: Iterable[Cursor]) -> list[GroupOffset]:
        """What was stored for partitions that are given up, and their slots with them."""
        return [
            GroupOffset(*cursor.partition, cursor.committed.offset, cursor.committed.leader_epoch)
            for cursor in cursors
            if cursor.has_stored and cursor.committed is not None
        ]

    def unsynced(self) -> list[GroupOffset]:
        """What was settled without a cell, and the coordinator is to be told."""
        return list(self._unsynced.values())

    def forget_unsynced(self) -> None:
        """It was told, or refused; whoever becomes a member now goes on from what the group has committed."""
        self._unsynced.clear()

    def positions(self) -> list[GroupOffset]:
        """How far the application was given records in all partitions, as far as that is known."""
        fetcher, ahead = self._fetcher, self._fetcher.read_ahead
        found = []
        for partition, cursor in fetcher.cursors.items():
            if cursor.has_position:
                offset = ahead.position(cursor)
                known = cursor.committed
                epoch = known.leader_epoch if known and known.offset == offset else ahead.leader_epoch(cursor)
                found.append(GroupOffset(*partition, offset, epoch))
        return found

    def _store(self, cursor: Cursor, offset: int, leader_epoch: int) -> None:
        if self.in_cells:
            cursor.commit(offset, leader_epoch)
            self.stored += 1
        else:
            self._unsynced[cursor.partition] = GroupOffset(*cursor.partition, offset, leader_epoch)
            cursor.committed = OffsetAndMetadata(offset, "", leader_epoch)

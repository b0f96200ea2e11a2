"""Records of one partition that were read and not yet given to the application.

The application's loop runs over a plain list iterator, in C. Where it stands is asked only when somebody wants to
know, and clearing the list ends the loop over it at once: that is how seek() and pause() take effect. What was read
for poll_columns() waits as columns; at any time there are records or columns, not both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import length_hint

from shmlog.client.cursor import Cursor
from shmlog.native.columns import RecordColumns
from shmlog.native.records import Record


class ReadAhead:
    """At most one fetch of one partition. Empty at first."""

    def __init__(self) -> None:
        self.cursor: Cursor | None = None
        self._records: list[Record] = []
        self._columns = RecordColumns()
        self._columns_epoch = -1  # of the last that was taken
        self.iterator: Iterator[Record] = iter(self._records)

    def fill(self, cursor: Cursor, found: list[Record] | RecordColumns) -> None:
        """Hold the next fetch; the one before must have been given out."""
        assert not self.count
        assert not self._columns
        self.cursor = cursor
        if isinstance(found, RecordColumns):
            self._columns, self._columns_epoch = found, -1
        else:
            self._records = found
            self.iterator = iter(found)

    @property
    def count(self) -> int:
        """How many records are left, those in columns not counted."""
        return length_hint(self.iterator)

    def position(self, cursor: Cursor) -> int:
        """The offset after the last record of this partition that the application was given."""
        left = self.count if cursor is self.cursor else 0
        if cursor is self.cursor and self._columns:
            return int(self._columns.offsets[0])
        return self._records[-left].offset if left else cursor.position

    def leader_epoch(self, cursor: Cursor) -> int:
        """Of the last record of this partition that the application was given; -1 if that is not known."""
        if cursor is self.cursor and self._columns:
            return self._columns_epoch
        left = self.count if cursor is self.cursor else 0
        if not left:
            return cursor.reader.leader_epoch
        return self._records[-left - 1].leader_epoch if left < len(self._records) else -1

    @property
    def current(self) -> Record | None:
        """The record that was given out last, if it was not in columns."""
        return self._records[-self.count - 1] if self.count < len(self._records) else None

    def take(self, count_max: int) -> list[Record]:
        """Give out up to `count_max` records."""
        return list(islice(self.iterator, count_max))

    def take_columns(self, count_max: int) -> RecordColumns:
        """Give out up to `count_max` records in columns."""
        taken, self._columns = self._columns[:count_max], self._columns[count_max:]
        if taken:
            self._columns_epoch = taken[-1].leader_epoch
        return taken

    def put_back(self) -> None:
        """Forget what is left; it is read again later."""
        if self.cursor is not None and (self.count or self._columns):
            position = self.position(self.cursor)
            self.drop()
            self.cursor.go_back(position)

    def rewind(self, record: Record) -> None:
        """Forget what is left, and `record`, which was given out last: it will be read again."""
        self._records.clear()
        assert self.cursor is not None
        self.cursor.go_back(record.offset)

    def drop(self) -> None:
        """Forget what is left: the application goes elsewhere."""
        self._records.clear()
        self._columns = RecordColumns()

"""Records of one partition that were read and not yet given to the application.

The application's loop runs over a plain list iterator, in C. Where it stands is asked only when somebody wants to
know, and clearing the list ends the loop over it at once: that is how seek() and pause() take effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import length_hint

from shmlog.client.cursor import Cursor
from shmlog.native.records import Record


class ReadAhead:
    """At most one fetch of one partition. Empty at first."""

    def __init__(self) -> None:
        self.cursor: Cursor | None = None
        self._records: list[Record] = []
        self.iterator: Iterator[Record] = iter(self._records)

    def fill(self, cursor: Cursor, records: list[Record]) -> None:
        """Hold the next fetch; the one before must have been given out."""
        assert not self.count
        self.cursor = cursor
        self._records = records
        self.iterator = iter(records)

    @property
    def count(self) -> int:
        """How many records are left."""
        return length_hint(self.iterator)

    def position(self, cursor: Cursor) -> int:
        """The offset after the last record of this partition that the application was given."""
        left = self.count if cursor is self.cursor else 0
        return self._records[-left].offset if left else cursor.position

    def take(self, count_max: int) -> list[Record]:
        """Give out up to `count_max` records."""
        return list(islice(self.iterator, count_max))

    def put_back(self) -> None:
        """Forget what is left; it is read again later."""
        if self.cursor is not None and self.count:
            position = self.position(self.cursor)
            self._records.clear()
            self.cursor.seek(position)

    def rewind(self, record: Record) -> None:
        """Forget what is left, and `record`, which was given out last: it will be read again."""
        self._records.clear()
        assert self.cursor is not None
        self.cursor.seek(record.offset)

    def drop(self) -> None:
        """Forget what is left: the application goes elsewhere."""
        self._records.clear()

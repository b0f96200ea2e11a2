"""A consumer's records in bulk: as columns, and as lists that fill up for a while.

Columns and records may be asked for in turn. What was read ahead as the one is read again as the other, so that
positions are right and no record comes twice.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

from shmlog import arguments
from shmlog.client.fetcher import Fetcher
from shmlog.native.columns import RecordColumns
from shmlog.native.records import Record

LONG_MAX = 2**63 - 1


class ColumnReading(ABC):
    """The part of NativeConsumer that gives out many records at once."""

    _fetcher: Fetcher
    _timeout_s: float
    _polls: int
    _max_poll_records: int

    @abstractmethod
    def check_usable(self) -> None: ...

    @abstractmethod
    def _tend(self) -> None:
        """Look after everything that is not records."""

    @abstractmethod
    def _settle(self, *, of_poll: bool) -> None:
        """The application asks for more: it has finished with what it was given."""

    @abstractmethod
    def _note_given(self, records: RecordColumns) -> None:
        """What the application is given now."""

    @abstractmethod
    def _poll(self, limit: int, wait_s: float) -> list[Record]:
        """What a poll gives."""

    def poll_columns(self, max_records: int | None = None, timeout: float | None = 0.0) -> RecordColumns:
        limit, wait_s = self._column_limits(max_records, timeout)
        self._settle(of_poll=True)
        self._tend()
        deadline = time.monotonic() + wait_s
        while not (columns := self._collect_columns(limit)):
            if not self._fetcher.wait(deadline):
                break
            self._tend()
        self._note_given(columns)
        return columns

    async def apoll_columns(
        self,
        max_records: int | None = None,
        timeout: float | None = 0.0,  # noqa: ASYNC109  # as of apoll()
    ) -> RecordColumns:
        limit, wait_s = self._column_limits(max_records, timeout)
        self.check_usable()
        await self._fetcher.turn()
        self._settle(of_poll=True)
        self._tend()
        deadline = time.monotonic() + wait_s
        while not (columns := self._collect_columns(limit)):
            if not await self._fetcher.sleep(deadline):
                break
            self._tend()
        self._note_given(columns)
        return columns

    def batches(self, max_records: int | None = None, max_wait_ms: int = 100) -> Iterator[list[Record]]:
        limit = self._max_poll_records
        if max_records is not None:
            limit = arguments.integer(max_records, "max_records", 1)
        wait_s = arguments.integer(max_wait_ms, "max_wait_ms", 0) / 1000
        self.check_usable()
        return self._batches(limit, wait_s)

    def _batches(self, limit: int, wait_s: float) -> Iterator[list[Record]]:
        while batch := self._next_batch(limit):
            deadline = time.monotonic() + wait_s
            while len(batch) < limit and (more := self._poll(limit - len(batch), deadline - time.monotonic())):
                batch += more
                self._polls += 1
            yield batch

    def _next_batch(self, limit: int) -> list[Record]:
        self._polls += 1
        self._settle(of_poll=True)
        return self._poll(limit, self._timeout_s)

    def _column_limits(self, max_records: int | None, timeout: float | None) -> tuple[int, float]:
        limit = LONG_MAX
        if max_records is not None:
            limit = arguments.integer(max_records, "max_records", 1, hint="how long to wait is timeout=SECONDS")
        wait_s = arguments.seconds(timeout)
        self._polls += 1
        return limit, math.inf if wait_s is None else wait_s

    def _collect_columns(self, limit: int) -> RecordColumns:
        """What is there now of one partition."""
        ahead = self._fetcher.read_ahead
        columns = ahead.take_columns(limit)
        if not columns and self._fetcher.fetch(columns=True):
            columns = ahead.take_columns(limit)
        if columns and ahead.cursor is not None:
            ahead.cursor.publish(ahead.position(ahead.cursor))
        return columns

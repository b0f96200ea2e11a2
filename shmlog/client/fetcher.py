"""The partitions of one consumer, read in turn; and the sleep when none of them has anything."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from shmlog.client.cursor import Cursor
from shmlog.client.read_ahead import ReadAhead
from shmlog.errors import NoClusterError
from shmlog.limits import CLIENT_SLEEP_S, CONNECT_PAUSE_S
from shmlog.model import TopicPartition
from shmlog.native.doorbell import Doorbell
from shmlog.partition.freed_memory import keep_freed_memory

if TYPE_CHECKING:
    from shmlog.client.loop_bell import LoopBells


class Waking(Protocol):
    """What is needed of a Connection to sleep."""

    @property
    def doorbell(self) -> Doorbell: ...
    @property
    def loop_bells(self) -> LoopBells: ...
    def look(self) -> None: ...


class Company(Protocol):
    """Who else has to be heard while the consumer sleeps: its group."""

    @property
    def has_news(self) -> bool:
        """The second look before a sleep."""

    def pause_s(self) -> float:
        """How long a sleep may be."""


class Fetcher:
    """Fetches from one partition after the other, so that none of them starves; owns its cursors.

    `max_bytes` bounds one fetch. `fetches`, `records` (read, if not yet given out) and `sleeps` count.
    """

    def __init__(self, waking: Waking, *, max_bytes: int, check_crcs: bool) -> None:
        keep_freed_memory()
        self.cursors: dict[TopicPartition, Cursor] = {}
        self.read_ahead = ReadAhead()
        self.company: Company | None = None
        self.touched: set[Cursor] = set()
        """Cursors whose position may have changed; for who commits to clear."""
        self.fetches = 0
        self.records = 0
        self.sleeps = 0
        self._waking = waking
        self._max_bytes = max_bytes
        self._check_crcs = check_crcs
        self._turns: deque[Cursor] = deque()

    def add(self, cursor: Cursor) -> None:
        self.cursors[cursor.partition] = cursor
        self._turns.append(cursor)
        self.touched.add(cursor)

    def remove(self, partition: TopicPartition) -> Cursor:
        """Take a partition out; what was read ahead of it is forgotten. The cursor is the caller's."""
        cursor = self.cursors.pop(partition)
        self._turns.remove(cursor)
        self.touched.discard(cursor)
        if self.read_ahead.cursor is cursor:
            self.read_ahead.drop()
            self.read_ahead.cursor = None
        return cursor

    def fetch(self, *, columns: bool = False) -> bool:
        """Fill the read-ahead with records or columns, from the next partition that has something; False if none has.

        What the read-ahead still holds is of the other kind, and will be read again.
        """
        self.read_ahead.put_back()
        last = self.read_ahead.cursor
        if last is not None:
            last.publish(last.reader.position)
        for _ in range(len(self._turns)):
            cursor = self._turns[0]
            self._turns.rotate(-1)
            if cursor.paused:
                continue
            records = cursor.fetch(self._max_bytes, check_crcs=self._check_crcs, columns=columns)
            if records:
                self.read_ahead.fill(cursor, records)
                self.touched.add(cursor)
                self.fetches += 1
                self.records += len(records)
                return True
        return False

    def wait(self, deadline: float) -> bool:
        """Sleep until there may be something, at most until `deadline` (monotonic); False when that is over.

        Wakes every CLIENT_SLEEP_S to look after the connection. Ctrl-C raises out of the sleep.
        """
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        try:
            doorbell = self._waking.doorbell
        except NoClusterError:  # lost with the cluster; it may come back
            time.sleep(min(left_s, CONNECT_PAUSE_S))
            self._waking.look()
            return True
        ticket = doorbell.prepare()
        try:
            news = self._has_news()
        except BaseException:
            doorbell.cancel()
            raise
        if news:
            doorbell.cancel()
            return True
        self.sleeps += 1
        doorbell.wait(ticket, min(left_s, self._pause_s()))
        self._waking.look()
        return True

    async def sleep(self, deadline: float) -> bool:
        """wait(), for a task: other tasks run meanwhile."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        self.sleeps += 1
        await self._waking.loop_bells.here().sleep(self._has_news, min(left_s, self._pause_s()))
        self._waking.look()
        return True

    async def turn(self) -> None:
        """Let other tasks run if it is their turn."""
        await self._waking.loop_bells.here().turn()

    def _has_news(self) -> bool:
        if self.company is not None and self.company.has_news:
            return True
        return any(cursor.has_data() for cursor in self._turns)

    def _pause_s(self) -> float:
        return CLIENT_SLEEP_S if self.company is None else min(CLIENT_SLEEP_S, self.company.pause_s())

    def position(self, partition: TopicPartition) -> int:
        """The offset after the last record that the application was given."""
        return self.read_ahead.position(self.cursors[partition])

    def forget(self, partition: TopicPartition, *, keep_position: bool) -> Cursor:
        """Drop what was read ahead of a partition; with `keep_position` it will be read again."""
        cursor = self.cursors[partition]
        if self.read_ahead.cursor is cursor:
            if keep_position:
                self.read_ahead.put_back()
            else:
                self.read_ahead.drop()
        return cursor

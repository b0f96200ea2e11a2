"""A consumer in an event loop: the same steps as without one, and another sleep.

Nothing is awaited between taking a record and handing it out, so that whoever is cancelled loses none.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator

from shmlog.client.fetcher import Fetcher
from shmlog.native.records import Record


class AsyncReading(ABC):
    """The half of NativeConsumer that is awaited."""

    _fetcher: Fetcher
    _timeout_s: float

    @abstractmethod
    def check_usable(self) -> None: ...

    @abstractmethod
    def _tend(self) -> None:
        """Look after everything that is not records."""

    @abstractmethod
    def _settle(self, *, of_poll: bool) -> None:
        """The application asks for more: it has finished with what it was given."""

    @abstractmethod
    def _note_given(self, records: list[Record]) -> None:
        """What the application is given now."""

    @abstractmethod
    def _given_out(self) -> Iterator[Record]:
        """What is read ahead, as the application gets it."""

    @abstractmethod
    def _poll_limits(self, max_records: int | None, timeout: float | None) -> tuple[int, float]:
        """The arguments of a poll, checked: how many records, and how long to wait for the first."""

    @abstractmethod
    def _collect(self, limit: int) -> list[Record]:
        """What is there now."""

    def __aiter__(self) -> AsyncIterator[Record]:
        self.check_usable()
        return self._records()

    async def __anext__(self) -> Record:
        found = await self._next_records()
        if found is None:
            raise StopAsyncIteration
        return next(found)

    async def _records(self) -> AsyncIterator[Record]:
        """Records one by one; the loop is not asked about those that are read ahead."""
        while (found := await self._next_records()) is not None:
            for record in found:
                yield record

    async def _next_records(self) -> Iterator[Record] | None:
        """An iterator over what is read ahead, fetched first if that is nothing; None at consumer_timeout_ms."""
        fetcher = self._fetcher
        self.check_usable()
        await fetcher.turn()
        self._settle(of_poll=False)
        self._tend()
        deadline = time.monotonic() + self._timeout_s
        while not (fetcher.read_ahead.count or fetcher.fetch()):  # another task may have fetched meanwhile
            if not await fetcher.sleep(deadline):
                return None
            self._tend()
        return self._given_out()

    async def apoll(
        self,
        max_records: int | None = None,
        timeout: float | None = 0.0,  # noqa: ASYNC109  # to have none is not an error here, and records are not lost
    ) -> list[Record]:
        limit, wait_s = self._poll_limits(max_records, timeout)
        self.check_usable()
        await self._fetcher.turn()
        self._settle(of_poll=True)
        self._tend()
        deadline = time.monotonic() + wait_s
        while not (records := self._collect(limit)):
            if not await self._fetcher.sleep(deadline):
                break
            self._tend()
        self._note_given(records)
        return records

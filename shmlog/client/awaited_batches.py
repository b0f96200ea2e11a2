"""Deliveries that tasks await: one look after each ring, however many tasks there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shmlog.client.loop_bell import LoopBell
from shmlog.native.delivery import PENDING, BatchResult


class AwaitedBatches:
    """Those of one producer in one event loop.

    `settle` collects acknowledgements without waiting; what it raises goes to all tasks that wait. `expire` settles a
    batch whose time is over, at `expiry_s` (monotonic seconds) of it.
    """

    def __init__(
        self,
        bell: LoopBell,
        settle: Callable[[], None],
        expiry_s: Callable[[BatchResult], float],
        expire: Callable[[BatchResult], None],
    ) -> None:
        self._bell = bell
        self._settle = settle
        self._expiry_s = expiry_s
        self._expire = expire
        self._waiting: dict[BatchResult, dict[asyncio.Future[None], None]] = {}

    async def outcome(self, batch: BatchResult) -> None:
        """Wait until `batch` is settled. Cancelled, it changes nothing about the batch."""
        loop = asyncio.get_running_loop()
        settled = loop.create_future()
        is_first = not self._waiting
        self._waiting.setdefault(batch, {})[settled] = None
        timer = None
        try:
            if is_first:
                self._bell.add(self._look)
                self._look(is_over=False)  # once more, now that owners know that somebody waits
            timer = loop.call_later(max(0.0, self._expiry_s(batch) - time.monotonic()), self._time_is_over, batch)
            await settled
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(batch, settled)

    def _forget(self, batch: BatchResult, settled: asyncio.Future[None]) -> None:
        futures = self._waiting.get(batch)
        if futures is not None:
            futures.pop(settled, None)
            if not futures:
                del self._waiting[batch]
        if not self._waiting:
            self._bell.remove(self._look)

    def _look(self, is_over: bool) -> None:
        try:
            self._settle()
        except Exception as error:  # noqa: BLE001  # each task that waits raises it
            for futures in self._waiting.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            return
        for batch, futures in self._waiting.items():
            if batch.status != PENDING:
                for future in futures:
                    if not future.done():
                        future.set_result(None)

    def _time_is_over(self, batch: BatchResult) -> None:
        self._look(is_over=True)
        if batch.status == PENDING and batch in self._waiting:
            self._expire(batch)
            self._look(is_over=True)

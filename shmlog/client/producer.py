"""The native producer: calls that wait, for threads, and their namesakes for tasks of an event loop.

There is one of each step. A call of a task runs until it would sleep, is interrupted there as by Ctrl-C, and is made
again after the next ring (`_in_turns`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from shmlog import arguments
from shmlog.client.blocking_producer import BlockingProducer
from shmlog.client.connection import Connection
from shmlog.client.sleeper import TaskCall, WouldSleepError
from shmlog.errors import ShmlogError
from shmlog.native.column import Column
from shmlog.native.delivery import BatchResult, Deliveries, Delivery
from shmlog.native.lane import LaneWriter

if TYPE_CHECKING:
    from shmlog.client.api import Headers
    from shmlog.client.awaited_batches import AwaitedBatches
    from shmlog.client.loop_bell import LoopBell

T = TypeVar("T")


class NativeProducer(BlockingProducer):
    """Implements api.Producer over shared memory. Made by cluster.producer()."""

    def __init__(self, connection: Connection, given: Mapping[str, object]) -> None:
        super().__init__(connection, given)
        self._awaited: dict[LoopBell, AwaitedBatches] = {}

    # --- what users call ----------------------------------------------------------------------------------------------

    async def asend(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """send(), for a task: other tasks run while the partition has no room."""
        return await self._in_turns(
            partial(self.send, topic, value, key, headers, partition, timestamp_ms, on_delivery),
            self._delivery_timeout_s,
        )

    async def asend_many(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None = None,
        headers: Sequence[Headers | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> Deliveries:
        """send_many(), for a task."""
        deliveries = Deliveries()
        values = arguments.sequence(values, "values")  # once: an attempt must not find an iterator used up
        keys = arguments.column(keys, "keys", len(values))
        headers = arguments.column(headers, "headers", len(values))
        timestamps_ms = arguments.column(timestamps_ms, "timestamps_ms", len(values))
        await self._in_turns(
            partial(self._send_rest, deliveries, topic, values, keys, headers, partition, timestamps_ms),
            self._delivery_timeout_s,
            progress=lambda: len(deliveries),
        )
        return deliveries

    async def asend_columns(
        self,
        topic: str,
        values: Any,
        keys: Any = None,
        partition: int | None = None,
        timestamps_ms: Any = None,
    ) -> Deliveries:
        """send_columns(), for a task."""
        deliveries = Deliveries()
        value_column, key_column = Column(values, "values"), None if keys is None else Column(keys, "keys")
        await self._in_turns(
            partial(self._send_columns_rest, deliveries, topic, value_column, key_column, partition, timestamps_ms),
            self._delivery_timeout_s,
            progress=lambda: len(deliveries),
        )
        return deliveries

    async def aflush(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as of flush()
    ) -> None:
        """flush(), for a task."""
        seconds = await self._in_turns(partial(self._begin_flush, timeout), self._delivery_timeout_s)
        time_s = self._delivery_timeout_s if seconds is None else seconds
        given_up: list[ShmlogError] = []
        await self._in_turns(lambda: self._finish_flush(seconds, 0.0, given_up), time_s)

    async def aclose(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as of close()
    ) -> None:
        """close(), for a task."""
        if self._closed or self.inherited:
            return
        timeout = arguments.seconds(timeout)
        self.shut = True
        try:
            await self.aflush(timeout)
        finally:
            self._let_go()

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def _in_turns(
        self, attempt: Callable[[], T], timeout_s: float, progress: Callable[[], int] | None = None
    ) -> T:
        """Make an attempt after every ring until one need not sleep; at the end of the time it finds that time is over.
        The time begins anew whenever `progress` returns something else.
        """
        self.check_usable()
        bell = self._connection.loop_bells.here()
        await bell.turn()
        deadline, made = time.monotonic() + timeout_s, 0
        with bell.rings() as rings:
            while True:
                task = TaskCall(deadline)
                with suppress(WouldSleepError), self._sleeper.in_task(task):
                    result = attempt()
                    break
                await rings.next(deadline - time.monotonic())
                self._connection.look()
                if progress is not None and progress() != made:
                    deadline, made = time.monotonic() + timeout_s, progress()
        for lane, batch in task.handing_over:
            await self._in_turns(partial(super()._hand_over, lane, batch), self._delivery_timeout_s)
        return result

    def _hand_over(self, lane: LaneWriter, batch: BatchResult) -> None:
        """The record is accepted, so a task's call must not be made again: what is left to do comes after it."""
        try:
            super()._hand_over(lane, batch)
        except WouldSleepError:
            task = self._sleeper.task
            assert task is not None
            task.handing_over.append((lane, batch))

    def _run_callbacks(self) -> None:
        with self._sleeper.in_thread():
            super()._run_callbacks()

    # --- await delivery -----------------------------------------------------------------------------------------------

    async def _settled(self, batch: BatchResult) -> None:
        """`await delivery` waits here until the batch is settled."""
        self.check_usable()
        bell = self._connection.loop_bells.here()
        awaited = self._awaited.get(bell)
        if awaited is None:
            from shmlog.client.awaited_batches import AwaitedBatches

            self._awaited = {known: its for known, its in self._awaited.items() if not known.closed}
            awaited = self._awaited[bell] = AwaitedBatches(bell, self._settle_now, self._expiry_s, self._expire)
        await awaited.outcome(batch)

    def _settle_now(self) -> None:
        """Collect acknowledgements without waiting for anything."""
        self.check_usable()
        self._connection.look()
        with suppress(WouldSleepError), self._sleeper.in_task(TaskCall(math.inf)):
            self._succession.settle([])
        if self.completed:
            self._run_callbacks()

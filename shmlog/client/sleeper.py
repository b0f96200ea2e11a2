"""How the calls of a producer wait for news: a thread sleeps on the doorbell, a task is sent back to its event loop.

Whatever waits in here can be interrupted, by Ctrl-C in a thread, and goes on with the next call. A task uses just that:
its call runs until it would sleep, is interrupted (WouldSleepError), and is made again after the next ring.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol

from shmlog.limits import CLIENT_SLEEP_S
from shmlog.native.delivery import BatchResult
from shmlog.native.doorbell import Doorbell
from shmlog.native.lane import LaneWriter

LOCK_S_MAX: Final = 0.01
"""A task waits at most this long for a lock: a thread that holds it longer sleeps over it."""


class WouldSleepError(Exception):
    """A call in a task has to wait. It never reaches users."""


class Waking(Protocol):
    """What is needed of a Connection to sleep."""

    @property
    def doorbell(self) -> Doorbell: ...
    def look(self) -> None: ...


@dataclass(slots=True)
class TaskCall:
    """A call that may not sleep. Its time is over at `deadline`. `handing_over` is what it leaves to do: lanes that
    ended just when a record was accepted, with the record's batch."""

    deadline: float
    handing_over: list[tuple[LaneWriter, BatchResult]] = field(default_factory=list)


class _Current(threading.local):
    task: TaskCall | None = None


class Sleeper:
    """The sleep of one producer, for all of its threads and tasks."""

    def __init__(self, waking: Waking) -> None:
        self._waking = waking
        self._current = _Current()

    def until(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Sleep on this process's doorbell until `condition()`; False when `deadline` (monotonic seconds) passes."""
        while not condition():
            task = self._current.task
            if task is not None:
                if time.monotonic() >= task.deadline:
                    return False
                raise WouldSleepError
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            doorbell = self._waking.doorbell
            ticket = doorbell.prepare()
            try:
                met = condition()
            except BaseException:
                doorbell.cancel()
                raise
            if met:
                doorbell.cancel()
                return True
            doorbell.wait(ticket, min(left_s, CLIENT_SLEEP_S))
            self._waking.look()
        return True

    @property
    def task(self) -> TaskCall | None:
        """The task's call that runs in this thread now, None if a thread's does."""
        return self._current.task

    @contextmanager
    def in_task(self, task: TaskCall) -> Iterator[None]:
        """In this block, in this thread, who would sleep raises WouldSleepError."""
        before, self._current.task = self._current.task, task
        try:
            yield
        finally:
            self._current.task = before

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """In this block who would sleep does: for functions of users, who know nothing of this."""
        before, self._current.task = self._current.task, None
        try:
            yield
        finally:
            self._current.task = before


class SleeperLock:
    """A reentrant lock that threads may hold over a sleep; a task does not wait for that."""

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=LOCK_S_MAX if self._sleeper.task is not None else -1):
            raise WouldSleepError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

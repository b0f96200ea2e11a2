"""One thread, one selector, a heap of timers: everything the supervisor does begins here."""

from __future__ import annotations

import heapq
import itertools
import selectors
from collections.abc import Callable
from dataclasses import dataclass, field

from shmlog.clock import Clock, monotonic_ns
from shmlog.limits import IDLE_SLEEP_S

Callback = Callable[[], None]


@dataclass(slots=True)
class Watch:
    """A descriptor that is being watched; on_writable None: it has nothing to send."""

    fd: int
    on_readable: Callback
    on_writable: Callback | None = None


@dataclass(order=True, slots=True)
class Timer:
    """A call at `due_ns`; cancel() before, or it happens once."""

    due_ns: int
    number: int
    callback: Callback | None = field(compare=False)

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Callbacks run one after the other and may add and remove anything. Descriptors stay their owners' property."""

    def __init__(self, clock: Clock = monotonic_ns) -> None:
        self.now_ns = clock
        self._selector = selectors.DefaultSelector()
        self._watches: dict[int, Watch] = {}
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._stopped = False

    def watch(self, fd: int, on_readable: Callback) -> Watch:
        """Call `on_readable` whenever `fd` can be read or is at its end; a pidfd is when its process has died."""
        watch = self._watches[fd] = Watch(fd, on_readable)
        self._selector.register(fd, selectors.EVENT_READ, watch)
        return watch

    def when_writable(self, watch: Watch, callback: Callback | None) -> None:
        """Also call `callback` whenever the descriptor takes more; None: no longer."""
        if callback is watch.on_writable or self._watches.get(watch.fd) is not watch:
            return
        watch.on_writable = callback
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if callback else 0)
        self._selector.modify(watch.fd, events, watch)

    def forget(self, watch: Watch) -> None:
        """Stop watching; call it before closing the descriptor. A second time does nothing."""
        if self._watches.get(watch.fd) is watch:
            del self._watches[watch.fd]
            self._selector.unregister(watch.fd)

    def call_at(self, due_ns: int, callback: Callback) -> Timer:
        timer = Timer(due_ns, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_in(self, delay_s: float, callback: Callback) -> Timer:
        return self.call_at(self.now_ns() + int(delay_s * 1e9), callback)

    def stop(self) -> None:
        """run() returns after the present callback."""
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            self.run_once(IDLE_SLEEP_S)

    def run_once(self, wait_s: float) -> None:
        """Wait for news, at most `wait_s`, and make the calls that are due."""
        for key, events in self._selector.select(min(wait_s, self._until_timer_s())):
            watch: Watch = key.data
            if events & selectors.EVENT_WRITE and self._is_current(watch) and watch.on_writable is not None:
                watch.on_writable()
            if events & selectors.EVENT_READ and self._is_current(watch):
                watch.on_readable()
        self._run_timers()

    def close(self) -> None:
        self._selector.close()
        self._watches.clear()

    def _is_current(self, watch: Watch) -> bool:
        """An earlier callback of the same round may have forgotten it, and its number may be another's by now."""
        return self._watches.get(watch.fd) is watch and not self._stopped

    def _until_timer_s(self) -> float:
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, (self._timers[0].due_ns - self.now_ns()) / 1e9) if self._timers else IDLE_SLEEP_S

    def _run_timers(self) -> None:
        now_ns = self.now_ns()
        while self._timers and self._timers[0].due_ns <= now_ns and not self._stopped:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                callback()

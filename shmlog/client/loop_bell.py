"""How tasks of an event loop sleep until there is news: on a descriptor, as everything in a loop does.

Owners ring one doorbell per connection. A relay thread (native/relay) passes rings on to an eventfd for each event
loop, and the loop's bell calls those who wait here. The protocol is that of every sleeper: who waits raises the flag of
the doorbell, looks once more, and then sleeps; the flag stays up while any task of the loop waits.

This module needs asyncio and is imported by nobody who does not await.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from shmlog.errors import HandleClosedError, InvalidRequestError, NoClusterError
from shmlog.limits import CLIENT_SLEEP_S, CONNECT_PAUSE_S, IDLE_SLEEP_S, LOOP_TURN_S
from shmlog.native.doorbell import Doorbell
from shmlog.native.relay import BellRelay

Watcher = Callable[[bool], None]
"""Called in the loop after a ring, and with True when it is time to look around anyway. Must not raise."""


class HasDoorbell(Protocol):
    """What is needed of a Connection."""

    @property
    def doorbell(self) -> Doorbell: ...


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise InvalidRequestError(
            "this waits in an asyncio event loop (uvloop is one), and none runs in this thread: call it from"
            " asyncio.run(main()), or use the call of the same name without the `a`"
        ) from error


class LoopBells:
    """The bells of one connection: one for each event loop whose tasks wait, and one relay thread for all of them."""

    def __init__(self, waking: HasDoorbell) -> None:
        self._waking = waking
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopBell] = {}
        self._relay: BellRelay | None = None
        self._closed = False

    def here(self) -> LoopBell:
        """The bell of the running loop."""
        loop = running_loop()
        bell = self._by_loop.get(loop)
        if bell is None:
            with self._lock:
                if self._closed:
                    raise HandleClosedError("this connection is closed; open a new one")
                for ended in [known for known in self._by_loop if known.is_closed()]:
                    self._by_loop.pop(ended).close()
                bell = self._by_loop[loop] = LoopBell(loop, self)
        return bell

    def doorbell(self) -> Doorbell:
        """What owners ring now. Raises NoClusterError while the connection has none."""
        return self._waking.doorbell

    def relay_of(self, doorbell: Doorbell) -> BellRelay:
        """The relay of this doorbell. That of one before ends when the last loop has left it."""
        with self._lock:
            if self._relay is None or self._relay.doorbell is not doorbell:
                self._relay = BellRelay(doorbell, IDLE_SLEEP_S)
            return self._relay

    def nudge(self) -> None:
        """Have all tasks that wait look again, from any thread: something was closed."""
        for bell in list(self._by_loop.values()):
            bell.nudge()

    def close(self) -> None:
        """End the thread, before the doorbell is unmapped, and close the descriptors. Who waits looks again."""
        with self._lock:
            bells, relay = list(self._by_loop.values()), self._relay
            self._by_loop, self._relay, self._closed = {}, None, True
        if relay is not None:
            relay.close()
        for bell in bells:
            bell.close()

    def abandon(self) -> None:
        """In a forked child: close our copies of the descriptors. The parent's loops go on with theirs."""
        for bell in self._by_loop.values():
            bell.abandon()
        self._by_loop, self._relay = {}, None


class LoopBell:
    """The waiting tasks of one event loop. Used in the loop's thread, nudge() and close() excepted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bells: LoopBells) -> None:
        self._loop = loop
        self._bells = bells
        self._eventfd = io.FileIO(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "r+")  # which closes it if we do not
        self._watchers: dict[Watcher, None] = {}
        self._relay: BellRelay | None = None
        self._place = -1  # in the relay
        self._prepared: Doorbell | None = None  # while its flag is up for us
        self._tick: asyncio.TimerHandle | None = None
        self._nudged = False
        self._turn_began_s = time.monotonic()
        loop.add_reader(self._eventfd.fileno(), self._rung)

    # --- for who waits ------------------------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Let other tasks run if none has had its turn for LOOP_TURN_S."""
        if time.monotonic() - self._turn_began_s > LOOP_TURN_S:
            await asyncio.sleep(0)
            self._turn_began_s = time.monotonic()

    async def sleep(self, look: Callable[[], bool], timeout_s: float) -> None:
        """Sleep until look() is true, which is asked after every ring; at most `timeout_s` and CLIENT_SLEEP_S.

        As after Doorbell.wait(), nothing is certain afterwards. What look() raises ends the sleep: look again and see.
        """
        woken = self._loop.create_future()

        def wake(is_over: bool) -> None:
            if not woken.done() and (is_over or _has_something(look)):
                woken.set_result(None)

        self.add(wake)
        timer = None
        try:
            if _has_something(look):  # once more, now that owners know that somebody waits
                return
            if timeout_s < CLIENT_SLEEP_S:
                timer = self._loop.call_later(timeout_s, wake, True)
            await woken
        finally:
            self._turn_began_s = time.monotonic()
            self.remove(wake)
            if timer is not None:
                timer.cancel()

    @contextmanager
    def rings(self) -> Iterator[Rings]:
        """In this block owners know that somebody waits: whatever the caller has looked for in vain in it comes with
        the next ring."""
        rings = Rings(self._loop)
        self.add(rings.ring)
        try:
            yield rings
        finally:
            self._turn_began_s = time.monotonic()
            self.remove(rings.ring)

    def add(self, watcher: Watcher) -> None:
        """Call `watcher` after every ring and every CLIENT_SLEEP_S from now on. The caller then looks once more."""
        if self._prepared is None:
            self._arm()
        self._watchers[watcher] = None
        if self._tick is None:
            self._tick = self._loop.call_later(self._tick_s(), self._look_around)

    def remove(self, watcher: Watcher) -> None:
        """Take add() back."""
        self._watchers.pop(watcher, None)
        if not self._watchers:
            self._disarm()

    # --- the sleep ----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Raise the doorbell's flag and have rings relayed. Without a doorbell, lost with the cluster, time does it."""
        with suppress(NoClusterError, HandleClosedError):  # those who wait find out
            doorbell = self._bells.doorbell()
            if self._relay is None or self._relay.doorbell is not doorbell:
                self._leave()
                relay = self._bells.relay_of(doorbell)
                self._place = relay.listen(self._eventfd.fileno())
                self._relay = relay
            ticket = doorbell.prepare()
            self._prepared = doorbell
            self._relay.arm(self._place, ticket)

    def _disarm(self) -> None:
        if self._prepared is not None:
            if self._relay is not None:
                self._relay.disarm(self._place)
            self._prepared.cancel()
            self._prepared = None

    def _leave(self) -> None:
        self._disarm()
        if self._relay is not None:
            self._relay.leave(self._place)
            self._relay = None

    def _rung(self) -> None:
        """The loop calls this when the eventfd is readable. It is read before anybody looks: a ring after that counts
        for the next time."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._eventfd.fileno())
        nudged, self._nudged = self._nudged, False
        self._call_watchers(nudged)

    def _look_around(self) -> None:
        """Now and then: the doorbell may have been replaced, and watchers look after their connection."""
        self._tick = None
        if not self._watchers:
            return
        self._disarm()
        self._arm()
        self._tick = self._loop.call_later(self._tick_s(), self._look_around)
        self._call_watchers(True)

    def _tick_s(self) -> float:
        return CLIENT_SLEEP_S if self._prepared is not None else CONNECT_PAUSE_S

    def _call_watchers(self, is_over: bool) -> None:
        for watcher in list(self._watchers):
            watcher(is_over)

    # --- the end ------------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether this bell rings no more: its loop has ended, or its connection."""
        return self._eventfd.closed or self._loop.is_closed()

    def nudge(self) -> None:
        """Have all watchers look around; from any thread."""
        self._nudged = True
        with suppress(ValueError, BlockingIOError):  # closed meanwhile; or nudged 2^64 times
            os.eventfd_write(self._eventfd.fileno(), 1)

    def close(self) -> None:
        """Close the descriptor, in the loop's own thread where it runs; from any thread."""
        if self._loop.is_running() and not self._is_running_here():
            with suppress(RuntimeError):  # closed meanwhile, and then nothing reads the descriptor
                self._loop.call_soon_threadsafe(self._close)
                return
        self._close()

    def _close(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self._leave()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._eventfd.fileno())
            self._call_watchers(True)
        self._eventfd.close()

    def _is_running_here(self) -> bool:
        with suppress(RuntimeError):
            return asyncio.get_running_loop() is self._loop
        return False

    def abandon(self) -> None:
        """In a forked child. The epoll of the loop is shared with the parent, so it is not told."""
        self._watchers.clear()
        self._eventfd.close()


class Rings:
    """What one task waits for between two looks of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._woken: asyncio.Future[None] | None = None

    def ring(self, is_over: bool) -> None:
        """Called by the bell."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def next(self, timeout_s: float) -> None:
        """Sleep until the next ring, at most `timeout_s` and CLIENT_SLEEP_S."""
        self._woken = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, timeout_s), self.ring, True) if timeout_s < CLIENT_SLEEP_S else None
        try:
            await self._woken
        finally:
            if timer is not None:
                timer.cancel()


def _has_something(look: Callable[[], bool]) -> bool:
    """Whether look() is true or raises, which it will do again where its user can catch it."""
    try:
        return look()
    except Exception:  # noqa: BLE001  # whatever it is, it is raised again
        return True


async def readable(fd: int, timeout_s: float) -> None:
    """Wait until a descriptor is readable, or the time is over."""
    loop = running_loop()
    found = asyncio.Event()
    timer = loop.call_later(timeout_s, found.set)
    loop.add_reader(fd, found.set)
    try:
        await found.wait()
    finally:
        loop.remove_reader(fd)
        timer.cancel()

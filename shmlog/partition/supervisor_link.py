"""A worker's end of the channel to its supervisor: orders come in, reports go out, also when there is nobody any more.

An orphan, a worker whose supervisor has died, goes on for ORPHAN_GRACE_S: the next supervisor ends it sooner.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic_ns

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import FollowerFailed, Message, OwnerFailed
from shmlog.errors import ShmlogError, StorageError
from shmlog.limits import ORPHAN_GRACE_S

LAST_WORDS_S = 1.0  # an exiting worker waits so long for room in its socket
_ORPHAN_GRACE_NS = int(ORPHAN_GRACE_S * 1e9)


class SupervisorLink:
    """Gives orders to `obey`, one by one. Nothing here raises because the supervisor is gone."""

    def __init__(self, channel: Channel, obey: Callable[[Message], None]) -> None:
        self._channel = channel
        self._obey = obey
        self._orphan_since_ns: int | None = None

    @property
    def is_orphan(self) -> bool:
        """Whether the supervisor is known to be gone."""
        return self._orphan_since_ns is not None

    @property
    def grace_ends_ns(self) -> int | None:
        """When an orphan ends, on the monotonic clock; None: it is none."""
        return None if self._orphan_since_ns is None else self._orphan_since_ns + _ORPHAN_GRACE_NS

    @property
    def is_given_up(self) -> bool:
        """Whether it is time for an orphan to end."""
        return self.grace_ends_ns is not None and monotonic_ns() > self.grace_ends_ns

    def fileno(self) -> int:
        """For poll: an order has come, or the supervisor is gone."""
        return self._channel.fileno()

    def look(self) -> int:
        """Obey all orders that have come; returns how many."""
        if self.is_orphan:
            return 0
        obeyed = 0
        try:
            while (order := self._channel.receive()) is not None:
                self._obey(order)
                obeyed += 1
            if self._channel.has_unsent:
                self._channel.flush()
        except ChannelClosedError:
            self._orphan_since_ns = monotonic_ns()
        return obeyed

    def report(self, message: Message) -> None:
        """Say something, unless there is nobody who hears it."""
        if not self.is_orphan:
            try:
                self._channel.send(message)
            except ChannelClosedError:  # or it has not read for so long that it does not know what it would rely on
                self._orphan_since_ns = monotonic_ns()

    def part(self, message: Message) -> None:
        """Say something for the last time, and wait a moment until it has gone."""
        self.report(message)
        with contextlib.suppress(ChannelClosedError):
            self._channel.flush(LAST_WORDS_S)


def report_failure(channel: Channel, failed: type[OwnerFailed | FollowerFailed], error: ShmlogError | OSError) -> None:
    """The last words of a worker that cannot go on: why."""
    name = type(error).__name__ if isinstance(error, ShmlogError) else StorageError.__name__
    with contextlib.suppress(ChannelClosedError):  # the supervisor is gone too; the region says it
        channel.send(failed(name, str(error)))
        channel.flush(LAST_WORDS_S)

"""A worker's end of the channel to its supervisor: orders come in, reports go out, also when there is nobody any more.

An orphan, a worker whose supervisor has died, goes on for ORPHAN_GRACE_S. If another supervisor listens by then at the
place where workers meet it, the orphan introduces itself, and goes on under that one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import monotonic_ns

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import FollowerFailed, Message, OwnerFailed
from shmlog.errors import ShmlogError, StorageError
from shmlog.limits import ORPHAN_GRACE_S, RETURN_PAUSE_S

LAST_WORDS_S = 1.0  # an exiting worker waits so long for room in its socket
_ORPHAN_GRACE_NS = int(ORPHAN_GRACE_S * 1e9)
_RETURN_PAUSE_NS = int(RETURN_PAUSE_S * 1e9)


class SupervisorLink:
    """Gives orders to `obey`, one by one. Nothing here raises because the supervisor is gone."""

    def __init__(
        self,
        channel: Channel,
        obey: Callable[[Message], None],
        *,
        meeting_place: str,
        introduce: Callable[[], Message | None],
    ) -> None:
        """`introduce` says what the next supervisor is told; None: there is nothing to go on with."""
        self.channel = channel
        self._meeting_place = meeting_place
        self._introduce = introduce
        self._next_attempt_ns = 0
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
        return self.channel.fileno()

    def look(self) -> int:
        """Obey all orders that have come; returns how many."""
        if self.is_orphan and not self._is_back():
            return 0
        obeyed = 0
        try:
            while (order := self.channel.receive()) is not None:
                self._obey(order)
                obeyed += 1
            if self.channel.has_unsent:
                self.channel.flush()
        except ChannelClosedError:
            self._orphan_since_ns = monotonic_ns()
        return obeyed

    def _is_back(self) -> bool:
        """Whether there is another supervisor, which knows us now. A look at this costs two system calls."""
        now_ns = monotonic_ns()
        if now_ns < self._next_attempt_ns:
            return False
        self._next_attempt_ns = now_ns + _RETURN_PAUSE_NS
        introduction = self._introduce()
        if introduction is None:
            return False
        try:
            channel = Channel.connect(self._meeting_place)
        except OSError:  # nobody listens yet, or there is a crowd
            return False
        try:
            channel.send(introduction)
        except ChannelClosedError:
            channel.close()
            return False
        self.channel.close()
        self.channel, self._orphan_since_ns = channel, None
        return True

    def report(self, message: Message) -> None:
        """Say something, unless there is nobody who hears it."""
        if not self.is_orphan:
            try:
                self.channel.send(message)
            except ChannelClosedError:  # or it has not read for so long that it does not know what it would rely on
                self._orphan_since_ns = monotonic_ns()

    def part(self, message: Message) -> None:
        """Say something for the last time, and wait a moment until it has gone."""
        self.report(message)
        with contextlib.suppress(ChannelClosedError):
            self.channel.flush(LAST_WORDS_S)


def report_failure(channel: Channel, failed: type[OwnerFailed | FollowerFailed], error: ShmlogError | OSError) -> None:
    """The last words of a worker that cannot go on: why."""
    name = type(error).__name__ if isinstance(error, ShmlogError) else StorageError.__name__
    with contextlib.suppress(ChannelClosedError):  # the supervisor is gone too; the region says it
        channel.send(failed(name, str(error)))
        channel.flush(LAST_WORDS_S)

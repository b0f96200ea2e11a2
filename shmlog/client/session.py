"""One connected control socket: requests of several threads, each of which gets its own reply.

No thread of its own: whoever waits for a reply reads the socket, for itself and for the others, until its own reply
is there; then the next waiter takes over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from typing import Any, Final, TypeVar

from shmlog.client.replies import expected_reply
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import Reply, Request
from shmlog.errors import PollTimeoutError, ShmlogError

ReplyType = TypeVar("ReplyType", bound=Reply)

READER_LEAVES_S_MAX: Final = 1.0
"""close() waits at most this long for a thread that reads the socket to notice."""


class Session:
    """Owns its channel. Lost once the other side is gone: every later call raises ChannelClosedError."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._news = threading.Condition()
        self._reading = False
        self._last_request_id = 0
        self._replies: dict[int, Reply | ShmlogError | None] = {}  # of those who wait; None: not there yet
        self._lost: str | None = None

    @property
    def lost(self) -> bool:
        """Whether the other side is known to be gone."""
        return self._lost is not None

    def send(self, message: Request, deadline: float, *, reply_wanted: bool = True) -> int:
        """Send a request and return the id that its reply will carry. `deadline` is on the monotonic clock.

        The message's own request_id does not matter. A reply that is wanted has to be fetched with reply(). Raises
        ChannelClosedError when the request cannot have arrived.
        """
        with self._news:
            self._check_connected()
            self._last_request_id += 1
            request_id = self._last_request_id
            if reply_wanted:
                self._replies[request_id] = None
        try:
            with self._sending:
                self._channel.send(dataclasses.replace(message, request_id=request_id))
                sent = self._channel.flush(max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            self._forget(request_id)
            if isinstance(error, ChannelClosedError):
                self._lose(str(error))
            raise
        if not sent:
            self._forget(request_id)
            raise PollTimeoutError(f"the supervisor did not take a {type(message).__name__} request in time")
        return request_id

    def reply(self, request_id: int, expected: type[ReplyType], deadline: float) -> ReplyType:
        """Wait for the reply to a request that was sent; raises what the supervisor answered if it refused.

        Raises PollTimeoutError at the deadline, ChannelClosedError when the supervisor went away meanwhile.
        """
        try:
            found = self._await(request_id, expected, deadline)
        finally:
            self._forget(request_id)
        return expected_reply(found, expected, "the supervisor")

    def reply_if_there(self, request_id: int, expected: type[ReplyType]) -> ReplyType | None:
        """As reply(), without waiting; None: not yet. Ask until there is a reply or an error."""
        self.look()
        with self._news:
            if self._replies[request_id] is None and self._lost is None:
                return None
        return self.reply(request_id, expected, time.monotonic())

    def look(self) -> None:
        """Notice, without waiting, whether the other side is gone; `lost` tells."""
        read_something = True
        while read_something:
            with self._news:
                if self._reading or self._lost is not None:
                    return
                self._reading = True
            read_something = self._read(0.0)

    def close(self) -> None:
        """Close the socket; who waits for a reply gets ChannelClosedError."""
        self._lose("this connection was closed")
        with contextlib.suppress(OSError):
            self._channel.endpoint.shutdown(socket.SHUT_RDWR)  # wakes a thread that polls it
        with self._news:
            self._news.wait_for(lambda: not self._reading, READER_LEAVES_S_MAX)  # the descriptor is still in its hands
        self._channel.close()

    def abandon(self) -> None:
        """In a forked child: close our copy of the descriptor. The parent's connection goes on."""
        self._channel.close()

    def _await(self, request_id: int, expected: type[ReplyType], deadline: float) -> Reply | ShmlogError:
        while True:
            with self._news:
                while self._reading and self._replies[request_id] is None and self._lost is None:
                    if not self._news.wait(max(0.0, deadline - time.monotonic())):
                        break
                found = self._replies[request_id]
                if found is not None:
                    return found
                self._check_connected()
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise PollTimeoutError(f"the supervisor did not answer in time ({expected.__name__} was due)")
                if self._reading:
                    continue
                self._reading = True
            self._read(left_s)

    def _read(self, timeout_s: float) -> bool:
        """Read one message for whoever waits for it; False if none came. The caller has taken the reader's role."""
        request_id = 0
        found: Any = None  # a Reply; what else comes is refused where it is expected
        try:
            message = self._channel.receive(timeout_s)
            if message is not None:
                request_id, found = getattr(message, "request_id", 0), message
        except ChannelClosedError as error:
            self._lose(str(error))
        except ShmlogError as error:  # a reply that this version cannot read: for the one who asked
            request_id, found = self._channel.refused_request_id, error
            if request_id == 0:
                self._lose(str(error))
        finally:
            with self._news:
                self._reading = False
                if request_id in self._replies:  # else its requester has given up
                    self._replies[request_id] = found
                self._news.notify_all()
        return found is not None

    def _check_connected(self) -> None:
        if self._lost is not None:
            raise ChannelClosedError(f"the supervisor is gone: {self._lost}")

    def _forget(self, request_id: int) -> None:
        with self._news:
            self._replies.pop(request_id, None)

    def _lose(self, reason: str) -> None:
        with self._news:
            self._lost = self._lost or reason
            self._news.notify_all()

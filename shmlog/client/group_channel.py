"""One connection to the coordinator of a group: replies go to who asked, and what comes unasked waits for its turn.

Nothing here waits but wait(). Whoever expects something looks now and then; the coordinator rings the client's doorbell
after each message, so that sleepers look, too.
"""

from __future__ import annotations

import dataclasses
import select
from collections import deque
from typing import TypeVar

from shmlog.client.replies import expected_reply
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.group_messages import (
    AssignmentComputed,
    AssignmentIs,
    ComputeAssignment,
    GroupNews,
    GroupReply,
    GroupRequest,
    MemberFenced,
    OwnPartitions,
)
from shmlog.control.messages import Done
from shmlog.errors import ShmlogError

ReplyType = TypeVar("ReplyType", bound=GroupReply | Done)

_UNANSWERED = (OwnPartitions, AssignmentComputed)
_NEWS = (AssignmentIs, MemberFenced, ComputeAssignment)


class GroupChannel:
    """Owns its channel. Every call raises ChannelClosedError once the coordinator is gone and was heard to the end."""

    def __init__(self, channel: Channel) -> None:
        self.news: deque[GroupNews] = deque()
        """What came unasked, oldest first; for who has it to take."""
        self._channel = channel
        self._last_request_id = 0
        self._replies: dict[int, object] = {}  # of those who wait; None: not there yet
        self._waiter = select.poll()
        self._waiter.register(channel.fileno(), select.POLLIN)

    @classmethod
    def connect(cls, path: str) -> GroupChannel:
        """Connect to a coordinator's socket, without waiting. Raises what connect(2) raises."""
        return cls(Channel.connect(path))

    def send(self, message: GroupRequest) -> int:
        """Send a request, whose own request_id does not matter. Returns the id that reply() takes."""
        self._last_request_id += 1
        request_id = self._last_request_id
        if not isinstance(message, _UNANSWERED):
            self._replies[request_id] = None
        self._channel.send(dataclasses.replace(message, request_id=request_id))
        return request_id

    @property
    def readable(self) -> bool:
        """Whether look() has something to do."""
        return self._ready(0)

    def wait(self, timeout_s: float) -> None:
        """Until readable, at most `timeout_s`."""
        self._ready(timeout_s * 1000)

    def _ready(self, timeout_ms: float) -> bool:
        events = select.POLLIN | (select.POLLOUT if self._channel.has_unsent else 0)
        self._waiter.modify(self._channel.fileno(), events)
        return bool(self._waiter.poll(timeout_ms))

    def look(self) -> None:
        """Hear what was said, send what waits to be sent."""
        self._channel.flush()
        while True:
            try:
                message = self._channel.receive()
            except ChannelClosedError:
                raise
            except ShmlogError as error:  # what this version cannot read is for the one who asked
                request_id = self._channel.refused_request_id
                if request_id not in self._replies:
                    raise ChannelClosedError(str(error)) from error
                self._replies[request_id] = error
                continue
            if message is None:
                return
            if isinstance(message, _NEWS):
                self.news.append(message)
                continue
            request_id = getattr(message, "request_id", 0)
            if request_id in self._replies:
                self._replies[request_id] = message

    def reply(self, request_id: int, expected: type[ReplyType]) -> ReplyType | None:
        """The reply, once; None: not yet. Raises what the coordinator refused with."""
        found = self._replies[request_id]
        if found is None:
            return None
        del self._replies[request_id]
        return expected_reply(found, expected, "the coordinator")

    def forget(self, request_id: int) -> None:
        """Nobody waits for this reply any more."""
        self._replies.pop(request_id, None)

    def close(self) -> None:
        """Hang up: a member that has not left is dead to its group. A second call does nothing."""
        self._channel.close()

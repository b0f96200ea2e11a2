"""Where the coordinator of a group is, and requests to it of those who are no members.

The supervisor says where, once: the place stays the same when another process takes the coordinator over, so members
and their groups do without a supervisor afterwards.
"""

from __future__ import annotations

import time
from typing import Final, TypeVar

from shmlog.client.connection import Connection
from shmlog.client.group_channel import GroupChannel
from shmlog.client.pauses import Pauses
from shmlog.control.channel import ChannelClosedError
from shmlog.control.group_messages import (
    CommitOffsets,
    CoordinatorFound,
    DescribeGroups,
    FetchOffsets,
    FindCoordinator,
    GroupReply,
    GroupRequest,
)
from shmlog.control.messages import Done
from shmlog.errors import BrokerNotAvailableError, CoordinatorNotAvailableError
from shmlog.limits import CONTROL_TIMEOUT_S, COORDINATOR_PAUSE_FIRST_S, COORDINATOR_PAUSE_S

ReplyType = TypeVar("ReplyType", bound=GroupReply | Done)

NOT_REACHED: Final = (FileNotFoundError, ConnectionRefusedError, BlockingIOError, ChannelClosedError)
"""What an attempt to reach a coordinator ends in when another one, a moment later, may succeed."""

_REPEATABLE: Final = (CommitOffsets, FetchOffsets, DescribeGroups)


def find_coordinator(connection: Connection, group: str) -> str:
    """The path of its socket, from the supervisor, which makes the topic of offsets if nobody has needed it before."""
    return connection.request(FindCoordinator(0, group), CoordinatorFound).socket


class CoordinatorLink:
    """Asks the coordinator of `group`. Connects when there is something to ask, and again when the coordinator was
    replaced. For one thread at a time."""

    def __init__(self, connection: Connection, group: str) -> None:
        self.group = group
        self._connection = connection
        self._socket = ""
        self._channel: GroupChannel | None = None

    def request(
        self, message: GroupRequest, expected: type[ReplyType], timeout_s: float = CONTROL_TIMEOUT_S
    ) -> ReplyType:
        """Send `message` and wait for its reply, at most `timeout_s`.

        Raises what the coordinator refused with; CoordinatorNotAvailableError if there was none, or none that answered,
        all the time; BrokerNotAvailableError if it died over a request that is not to be repeated blindly.
        """
        deadline = time.monotonic() + timeout_s
        pauses = Pauses(COORDINATOR_PAUSE_FIRST_S, COORDINATOR_PAUSE_S)
        while True:
            try:
                return self._ask(message, expected, deadline)
            except NOT_REACHED as error:
                was_sent = self._channel is not None
                self.close()
                if was_sent and not isinstance(message, _REPEATABLE):
                    raise BrokerNotAvailableError(
                        f"the coordinator of group {self.group!r} went away over a {type(message).__name__} request: it"
                        " may have been carried out or not; look before you repeat it"
                    ) from error
                self._pause(pauses, deadline, error)
            except CoordinatorNotAvailableError as error:
                self._pause(pauses, deadline, error)

    def _ask(self, message: GroupRequest, expected: type[ReplyType], deadline: float) -> ReplyType:
        if self._channel is None:
            self._socket = self._socket or find_coordinator(self._connection, self.group)
            self._channel = GroupChannel.connect(self._socket)
        channel = self._channel
        request_id = channel.send(message)
        try:
            while (reply := channel.reply(request_id, expected)) is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise unanswered(self.group, message)
                channel.wait(left_s)
                channel.look()
        finally:
            channel.forget(request_id)
        return reply

    def _pause(self, pauses: Pauses, deadline: float, error: Exception) -> None:
        """Before another attempt; raises if there is no time for one."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            if isinstance(error, CoordinatorNotAvailableError):
                raise error
            raise not_available(self.group, self._socket) from error
        time.sleep(min(left_s, pauses.next_s()))
        if not isinstance(error, CoordinatorNotAvailableError):
            self._socket = ""  # the whole cluster may have been started again

    def close(self) -> None:
        """Hang up. The next request connects again."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def unanswered(group: str, message: GroupRequest) -> CoordinatorNotAvailableError:
    """The error of who has waited in vain for an answer: the coordinator is there, and stopped perhaps."""
    return CoordinatorNotAvailableError(
        f"the coordinator of group {group!r} has not answered a {type(message).__name__} request in time; it may still"
        " carry it out: try again, or look with `shmlog status`"
    )


def not_available(group: str, socket: str) -> CoordinatorNotAvailableError:
    """The error of who has waited in vain for a coordinator at `socket`."""
    return CoordinatorNotAvailableError(
        f"no coordinator of group {group!r} listens at {socket}: its partition of __consumer_offsets has no running"
        " owner; try again, or look with `shmlog status`"
    )

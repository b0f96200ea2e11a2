"""A request to the supervisor whose answer nobody waits for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TypeVar

from shmlog.client.session import Session
from shmlog.control.messages import Reply

ReplyType = TypeVar("ReplyType", bound=Reply)


@dataclass(frozen=True, slots=True)
class Question:
    """Sent on `session`; look for the answer now and then."""

    session: Session
    request_id: int

    def answer(self, expected: type[ReplyType]) -> ReplyType | None:
        """The answer, or None if it is not there yet. Raises what the supervisor refused with, once, and
        ChannelClosedError if it went away."""
        return self.session.reply_if_there(self.request_id, expected)

    def wait(self, expected: type[ReplyType], timeout_s: float) -> ReplyType:
        """The same for whoever cannot go on without: PollTimeoutError if there is no answer in time."""
        return self.session.reply(self.request_id, expected, time.monotonic() + timeout_s)

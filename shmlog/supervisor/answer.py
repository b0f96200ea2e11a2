"""The answer to one request, which may be given later: when an owner has done what was asked."""

from __future__ import annotations

from collections.abc import Callable

from shmlog.control.messages import Done, Failed, Reply
from shmlog.errors import ShmlogError

Deliver = Callable[[Reply], None]


class Answer:
    """Given once, or never if the client goes away. Later ones are dropped: a time-out and a success may both come."""

    def __init__(self, request_id: int, deliver: Deliver) -> None:
        self.request_id = request_id
        self._deliver: Deliver | None = deliver

    @property
    def is_due(self) -> bool:
        """Nobody has answered yet."""
        return self._deliver is not None

    def give(self, reply: Reply) -> None:
        deliver, self._deliver = self._deliver, None
        if deliver is not None:
            deliver(reply)

    def done(self) -> None:
        self.give(Done(self.request_id))

    def fail(self, error: ShmlogError) -> None:
        self.give(Failed(self.request_id, type(error).__name__, str(error)))

    def fail_as(self, class_name: str, message: str) -> None:
        """As fail(), for an error of another process."""
        self.give(Failed(self.request_id, class_name, message))

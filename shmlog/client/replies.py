"""What came back for a request, as its result or as the error that it says."""

from __future__ import annotations

from typing import TypeVar

from shmlog.control.messages import Failed
from shmlog.errors import ForeignVersionError, ShmlogError, by_class_name

ReplyType = TypeVar("ReplyType")


def expected_reply(found: object, expected: type[ReplyType], who: str) -> ReplyType:
    """`found`, if it is what was asked for. Raises the error that came instead; ForeignVersionError for anything else.

    `who` answered, as an error calls it: "the supervisor".
    """
    if isinstance(found, ShmlogError):
        raise found
    if isinstance(found, Failed):
        raise by_class_name(found.error)(found.message)
    if not isinstance(found, expected):
        raise ForeignVersionError(
            f"{who} answered {type(found).__name__} where {expected.__name__} was due:"
            " run the same shmlog version on both sides"
        )
    return found

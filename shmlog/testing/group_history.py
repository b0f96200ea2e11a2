"""What the members of a consumer group did and saw: one file for each member, a line for each event.

A line is written before what it permits, in one write(2): whoever is killed leaves whole lines, or one torn line at the
end, which is passed over. Times are of the host's monotonic clock, so lines of all members have one order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from shmlog.clock import monotonic_ns

EventKind = Literal[
    "assigned", "delivered", "storing", "stored", "committing", "committed", "revoked", "lost", "polled"
]


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """`member` stands for one membership: who joins again under another member id is another one.

    assigned     reading `partition` begins at `offset`
    delivered    the application was given `offset` up to, not including, `end` of `partition`
    storing      it is about to store `offset` in its commit cell; stored: it has
    committing   it is about to have `offset` committed; committed: the coordinator said that it is
    revoked      it has given `partition` up; lost: it is no member any more, and has none (partition "")
    polled       it has asked for records once more, and is a member still (partition "")
    """

    at_ns: int
    member: str
    kind: EventKind
    partition: str
    offset: int = -1
    end: int = -1


class GroupNotes:
    """Appends to one member's file."""

    def __init__(self, path: Path, member: str) -> None:
        """`member`: see GroupEvent; settable, for who joins again. Raises OSError."""
        self.member = member
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, kind: EventKind, partition: str = "", offset: int = -1, end: int = -1) -> None:
        """In the file on return."""
        event = GroupEvent(monotonic_ns(), self.member, kind, partition, offset, end)
        os.write(self._fd, orjson.dumps(asdict(event), option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        os.close(self._fd)


def read_notes(path: Path) -> Iterator[GroupEvent]:
    """The events of a file, in order, but for a torn one at its end."""
    for line in path.read_bytes().split(b"\n"):
        try:
            given = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        yield GroupEvent(**given)

"""What is known of a member's life.

It is not in the log: who hosts the coordinator next sees for itself who connects, and gives everybody his whole time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

MS = 1_000_000
SESSION_TIMEOUT_MS = 45_000
"""Kafka's default: of a static member that has not said its own to this coordinator."""
ANSWER_NS = 1_000 * MS
"""A coordinator that does not say when a member polled last is not waited for any longer."""


@dataclass(slots=True)
class Life:
    """`polled_ns`: when it asked for records last, None until the first tick of a coordinator that found it in its log.
    `asked_ns`: since when that is asked for. `session_ends_ns`: of a static member without a process."""

    rebalance_timeout_ms: int
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    is_connected: bool = False
    polled_ns: int | None = None
    asked_ns: int | None = None
    session_ends_ns: int | None = None

    @property
    def is_away(self) -> bool:
        return self.session_ends_ns is not None

    def silent_ns(self, now_ns: int) -> int:
        return now_ns - (now_ns if self.polled_ns is None else self.polled_ns)

    def is_stuck(self, now_ns: int) -> bool:
        return self.silent_ns(now_ns) >= self.rebalance_timeout_ms * MS

    def due_ns(self) -> int:
        """When to look at it next."""
        if self.session_ends_ns is not None:
            return self.session_ends_ns
        if self.asked_ns is not None:
            return self.asked_ns + ANSWER_NS
        return 0 if self.polled_ns is None else self.polled_ns + self.rebalance_timeout_ms * MS


class Verdict(Enum):
    ASK = "ask when it polled"
    STUCK = "stuck"
    EXPIRED = "its session is over"


class Lives:
    """Of all members of all groups. The deadline is a lower bound: polls move it, and only a tick looks."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Life]] = {}
        self._due_ns: int | None = None

    def find(self, group: str, member_id: str) -> Life | None:
        return self._of.get(group, {}).get(member_id)

    def add(self, group: str, member_id: str, life: Life) -> None:
        self._of.setdefault(group, {})[member_id] = life
        self.watch(life)

    def drop(self, group: str, member_id: str) -> None:
        of_group = self._of.get(group, {})
        of_group.pop(member_id, None)
        if not of_group:
            self._of.pop(group, None)

    def watch(self, life: Life) -> None:
        """Its deadline may have come nearer."""
        self._due_ns = life.due_ns() if self._due_ns is None else min(self._due_ns, life.due_ns())

    def away(self, group: str) -> frozenset[str]:
        return frozenset(member_id for member_id, life in self._of.get(group, {}).items() if life.is_away)

    def connected(self, group: str) -> frozenset[str]:
        return frozenset(member_id for member_id, life in self._of.get(group, {}).items() if life.is_connected)

    def next_deadline_ns(self) -> int | None:
        return self._due_ns

    def judge(self, now_ns: int) -> Iterator[tuple[str, str, Verdict]]:
        """Whose time is over, in the order of groups and members. Who is asked when it polled is noted as asked."""
        if self._due_ns is None or now_ns < self._due_ns:
            return
        found = []
        for group, lives in sorted(self._of.items()):
            for member_id, life in sorted(lives.items()):
                if life.polled_ns is None:
                    life.polled_ns = now_ns
                if life.due_ns() <= now_ns:
                    found.append((group, member_id, _verdict(life)))
                    if found[-1][2] is Verdict.ASK:
                        life.asked_ns = now_ns
        self._due_ns = min((life.due_ns() for lives in self._of.values() for life in lives.values()), default=None)
        yield from found


def _verdict(life: Life) -> Verdict:
    if life.is_away:
        return Verdict.EXPIRED
    return Verdict.ASK if life.asked_ns is None else Verdict.STUCK

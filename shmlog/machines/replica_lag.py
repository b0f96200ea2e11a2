"""Which followers keep up with their leader, by Kafka's rule: whoever gets to where the log ended when it was looked at
within replica.lag.time.max.ms. How many records behind one is does not matter.

    IN      counts: the supervisor said so, or it was reported     is too slow -> LAGS, reported
    LAGS    counts, until the supervisor takes it out              gets there -> IN
    OUT     does not count                                         gets there quickly -> JOINS
    JOINS   counts, and nobody knows it                            has all below the high watermark -> IN, reported;
                                                                   is too slow -> OUT

One that joins counts before it is reported (Kafka's maximal in-sync set): what consumers read from then on it has,
whoever is told when. Quickly is half of the time that makes one too slow, so that a follower at the border does not go
in and out; one that joins has no more time either, because the high watermark waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """See above."""

    IN = "in"
    LAGS = "lags"
    OUT = "out"
    JOINS = "joins"


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a follower is: it has the log up to `progress`, -1 before it follows this leader. `fault`: why nothing
    can be believed of it any more, "" if something can."""

    replica_id: int
    progress: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """The high watermark waits for this follower from now on or, with `counts` False, does not any more."""

    replica_id: int
    counts: bool


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Report it: the follower counts, and has all that consumers may read."""

    replica_id: int


@dataclass(frozen=True, slots=True)
class Lags:
    """Report it: a follower that counts is too slow, by so many records now; or `fault` says what is wrong with any."""

    replica_id: int
    lag_records: int
    fault: str


Decision = Count | CaughtUp | Lags


@dataclass(slots=True)
class _Follower:
    standing: Standing
    target_offset: int | None = None
    """Where the log ended at `since_ns`, when the follower did not have all of it; None: it had."""
    since_ns: int = 0
    is_faulty: bool = False
    """That was said; one with a fault stays as it is."""

    def observe(self, now_ns: int, end_offset: int, progress: int) -> tuple[bool, int]:
        """Whether it has got to its target, and how long that took or has taken; 0 for one that has everything."""
        if progress >= end_offset:
            self.target_offset = None
            return True, 0
        if self.target_offset is None:
            self.target_offset, self.since_ns = end_offset, now_ns
            return False, 0
        took_ns = now_ns - self.since_ns
        got_there = progress >= self.target_offset
        if got_there:
            self.target_offset, self.since_ns = end_offset, now_ns
        return got_there, took_ns


class ReplicaLagMachine:
    """Decides for the followers of one leader. Times are monotonic, in nanoseconds."""

    def __init__(self, lag_max_ns: int, followers: Iterable[tuple[int, bool]] = ()) -> None:
        """`followers`: replica ids, and whether each is in the in-sync set. `lag_max_ns` may be changed."""
        self.lag_max_ns = lag_max_ns
        self._followers = {
            replica_id: _Follower(Standing.IN if in_sync else Standing.OUT) for replica_id, in_sync in followers
        }

    def standing(self, replica_id: int) -> Standing:
        """How it is with this follower since the last look."""
        return self._followers[replica_id].standing

    def look(self, now_ns: int, end_offset: int, high_watermark: int, seen: Iterable[Seen]) -> list[Decision]:
        """What follows from how far everybody is. `end_offset`: up to where the leader itself has the log."""
        decisions: list[Decision] = []
        for one in seen:
            follower = self._followers[one.replica_id]
            got_there, took_ns = follower.observe(now_ns, end_offset, one.progress)
            is_slow = bool(one.fault) or (not got_there and took_ns > self.lag_max_ns)
            is_quick = not one.fault and got_there and took_ns <= self.lag_max_ns // 2
            lags = Lags(one.replica_id, max(0, end_offset - max(0, one.progress)), one.fault)
            match follower.standing:
                case Standing.IN if is_slow:
                    follower.standing = Standing.LAGS
                    decisions.append(lags)
                case Standing.LAGS if got_there and not one.fault:
                    follower.standing = Standing.IN
                case Standing.OUT if is_quick:
                    follower.standing = Standing.JOINS
                    decisions.append(Count(one.replica_id, counts=True))
                case Standing.JOINS if one.fault or (not got_there and took_ns > self.lag_max_ns // 2):
                    follower.standing = Standing.OUT
                    decisions.append(Count(one.replica_id, counts=False))
            if follower.standing is Standing.OUT and one.fault and not follower.is_faulty:
                decisions.append(lags)
            if follower.standing is Standing.JOINS and one.progress >= high_watermark:
                follower.standing = Standing.IN
                decisions.append(CaughtUp(one.replica_id))
            follower.is_faulty = bool(one.fault)
        return decisions

    def somebody_lags(self) -> bool:
        """Whether the high watermark waits for one that does not keep up."""
        return any(follower.standing is Standing.LAGS for follower in self._followers.values())

    def waits(self) -> bool:
        """Whether time alone may change something: somebody is behind, or is to join."""
        return any(
            (follower.standing is not Standing.IN or follower.target_offset is not None)
            and not (follower.standing is Standing.OUT and follower.is_faulty)
            for follower in self._followers.values()
        )

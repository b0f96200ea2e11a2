"""The high watermark over a follower: whatever is shown to consumers, the follower's file has it.

Mirrors ReplicaRegion.follow and store_written (memory/replica_region), follower_look (followers.h), and LogEnd.
_follow_watermark and use_followers (log_end.pyx). Offsets and positions are both numbers of records here.

The follower comes with a record of an earlier leader's log too many, as after a power loss, and cuts it before it says
that it follows this one; or it goes on behind a leader that is killed. It may be killed itself, so that what it has
when everything is over is what it had when the leader counted it.
"""

from __future__ import annotations

from tests.model.operations import (
    ACQUIRE,
    RELEASE,
    Location,
    Mutation,
    Step,
    Thread,
    Value,
    Violated,
    after,
    load,
    more_than,
    own,
    store,
)
from tests.model.states import Model, Outcome


class Replication:
    """`records` are in the leader's log in the end."""

    def __init__(self, records: int, mutation: Mutation | None) -> None:
        self.records = records
        self.mutation = mutation

    def is_on(self, point: str, how: str) -> bool:
        return self.mutation == Mutation(point, how)

    def leader(self, epoch: int, predecessor: str) -> Thread:
        if predecessor:
            yield after(predecessor)
        hw, hw_pos, written = yield own("hw", "hw pos", "written")
        if hw_pos < hw:
            yield store("hw pos", hw, RELEASE, "takeover-watermark")
        while written < self.records:
            written += 1
            yield store("written", written, RELEASE)
            hw = yield from self.look(epoch, written, hw)
        yield load("replica epoch", until=more_than(epoch - 1), over="follower")
        yield load("replica written", until=more_than(self.records - 1), over="follower")
        yield from self.look(epoch, written, hw)

    def look(self, epoch: int, written: int, hw: int) -> Step:
        followed = yield load("replica epoch", ACQUIRE, "replica-progress")
        if followed != epoch and not self.is_on("replica-progress", "whatever the epoch"):
            return hw
        progress = yield load("replica written")
        limit = min(written, progress)
        if limit <= hw:
            return hw
        yield store("hw", limit)
        yield store("hw pos", limit, RELEASE)
        return limit

    def follower(self, epoch: int, cut_to: int, last_leader: str) -> Thread:
        copied = cut_to
        if self.is_on("replica-epoch", "before the cut"):
            yield store("replica epoch", epoch, RELEASE)
        yield store("copy", cut_to)
        yield store("replica written", cut_to, RELEASE)
        yield store("replica epoch", epoch, RELEASE, "replica-epoch")
        while copied < self.records:
            written = yield load("written", ACQUIRE, until=more_than(copied), over=last_leader)
            if written <= copied:
                return
            copied = written
            if self.is_on("replica-written", "before the bytes"):
                yield store("replica written", copied, RELEASE)
            yield store("copy", copied)
            yield store("replica written", copied, RELEASE, "replica-written")

    def check(self, outcome: Outcome) -> None:
        last = outcome.last
        if last["hw"] > last["copy"]:
            raise Violated(f"{last['hw']} records are shown, the follower has {last['copy']}")
        if last["hw"] != last["hw pos"]:
            raise Violated(f"the high watermark is offset {last['hw']} at position {last['hw pos']}")
        if "follower" not in outcome.killed and last["replica epoch"] == 2 and last["hw"] != self.records:
            raise Violated(f"{last['hw']} of {self.records} records are shown, and nothing will change that")


def cells(others: dict[Location, Value]) -> dict[Location, Value]:
    return {"hw": 0, "hw pos": 0, "written": 0, "copy": 0, "replica written": 0, "replica epoch": 1} | others


def cutting(mutation: Mutation | None = None, *, records: int = 3) -> Model:
    """A follower with two records of the leader before, of which this one has the first only."""
    protocol = Replication(records, mutation)
    return Model(
        initial=cells({"hw": 1, "hw pos": 1, "written": 1, "copy": 2, "replica written": 2}),
        threads={
            "leader": lambda: protocol.leader(2, ""),
            "follower": lambda: protocol.follower(2, 1, "leader"),
        },
        killable=frozenset({"follower"}),
        final=protocol.check,
    )


def takeover(mutation: Mutation | None = None, *, records: int = 2) -> Model:
    """A leader that may be killed, and its successor, which the follower has not noticed yet."""
    protocol = Replication(records, mutation)
    return Model(
        initial=cells({}),
        threads={
            "leader 1": lambda: protocol.leader(1, ""),
            "leader 2": lambda: protocol.leader(2, "leader 1"),
            "follower": lambda: protocol.follower(1, 0, "leader 2"),
        },
        killable=frozenset({"leader 1", "follower"}),
        final=protocol.check,
    )

"""Ring overrun: a reader never accepts bytes that were overwritten. native/ring, native/publish.

The ring has `capacity` cells; what belongs at position p is the number p, so that a cell that was overwritten shows.
Batches have two cells, and the owner announces `ahead` cells more than it needs, which spares the next ones the store
and the fence. The owner may be killed anywhere; its successor keeps the intent that it finds, and goes on behind the
tail. A follower reads up to `written`, and has nothing that is not in its leader's file.
"""

from __future__ import annotations

from tests.model.operations import (
    ACQUIRE,
    RELEASE,
    SEQ_CST,
    Mutation,
    Step,
    Thread,
    Violated,
    after,
    fence,
    load,
    more_than,
    note,
    own,
    store,
)
from tests.model.states import Model, Outcome

BATCH = 2


def is_on(mutation: Mutation | None, point: str, how: str) -> bool:
    return mutation == Mutation(point, how)


class Overrun:
    """One ring of `capacity` cells with `groups` groups of one batch to be published."""

    def __init__(
        self, capacity: int, groups: int, reads: int, ahead: int, limit: str, mutation: Mutation | None
    ) -> None:
        self.limit = limit
        self.limit_point = {"hw": "watermark-limit", "written": "written-limit"}[limit]
        self.capacity = capacity
        self.ahead = ahead
        self.groups = groups
        self.reads = reads
        self.mutation = mutation

    def owner(self, predecessor: str) -> Thread:
        """Mirrors Publisher._append and _publish (publish.pyx), LogEnd._advance_watermark, and opening._open_warm."""
        if predecessor:
            yield after(predecessor)
        tail = yield own("tail")
        if is_on(self.mutation, "ring-intent", "lowered by a successor"):
            yield store("intent", tail)
        intent = yield own("intent")
        if predecessor:
            yield fence(SEQ_CST, "takeover-intent")
            # what is published and not written is written now: LogEnd.settle
            yield from self.advance(tail)
        while tail < self.groups * BATCH:
            tail += BATCH
            if intent < tail:
                intent = tail + self.ahead
                yield store("intent", intent)
                yield fence(SEQ_CST, "ring-intent")
            for pos in range(tail - BATCH, tail):
                yield store(("cell", pos % self.capacity), pos)
            yield store("tail", tail, RELEASE)
            yield from self.advance(tail)

    def advance(self, tail: int) -> Step:
        """What this kind of reader may read, as LogEnd._write moves it."""
        if self.limit == "hw":
            yield store("hw", tail, RELEASE, "watermark")
        else:
            yield store("file", tail)
            yield store("written", tail, RELEASE, "written")

    def overrun(self, pos: int) -> Step:
        """Mirrors RingReader._overrun (ring.pyx)."""
        cell = "tail" if is_on(self.mutation, "ring-copy", "checks the tail instead of the intent") else "intent"
        intent = yield load(cell)
        return intent - pos > self.capacity

    def reader(self, pos: int) -> Thread:
        """Mirrors RingReader.read (ring.pyx): a batch at a time, until it lags or has read enough."""
        for _ in range(self.reads):
            cell = "tail" if is_on(self.mutation, "written-limit", "reads up to the tail") else self.limit
            limit = yield load(cell, ACQUIRE, self.limit_point, until=more_than(pos), over="owner 2")
            if limit <= pos:
                return
            lags = yield from self.overrun(pos)
            if lags:
                yield note("lagged")
                return
            copy: tuple[int, ...] = ()
            for k in range(pos, pos + BATCH):
                cell = yield load(("cell", k % self.capacity))
                copy += (cell,)
            yield fence(ACQUIRE, "ring-copy")
            lags = yield from self.overrun(pos)
            if lags:
                yield note("lagged")
                return
            if copy != tuple(range(pos, pos + BATCH)):
                raise Violated(f"accepted cells {copy} as positions {pos} to {pos + BATCH}")
            if self.limit == "written":
                in_file = yield load("file")
                if in_file < pos + BATCH:
                    raise Violated(f"a follower takes positions {pos} to {pos + BATCH}, the file ends at {in_file}")
            yield note(pos)
            pos += BATCH

    def check(self, outcome: Outcome) -> None:
        """The claims are the reader's. It never has to lag in a ring that was not overrun."""
        if outcome.last["intent"] <= self.capacity and "lagged" in outcome.notes["reader"]:
            raise Violated("lagged in a ring that was not overrun")


def one_reader(
    mutation: Mutation | None = None,
    *,
    capacity: int = 4,
    groups: int = 3,
    reads: int = 2,
    pos: int = 0,
    ahead: int = 0,
    limit: str = "hw",
) -> Model:
    """A reader, an owner that may be killed, and its successor.

    `limit`: how far the reader goes, "hw" if it is a consumer, "written" if it is a follower.
    """
    ring = Overrun(capacity, groups, reads, ahead, limit, mutation)
    return Model(
        initial={"intent": 0, "tail": 0, limit: 0, "file": 0, **{("cell", k): -1 for k in range(capacity)}},
        threads={
            "owner 1": lambda: ring.owner(""),
            "owner 2": lambda: ring.owner("owner 1"),
            "reader": lambda: ring.reader(pos),
        },
        killable=frozenset({"owner 1"}),
        final=ring.check,
    )

"""Closing a lane: what the owner did not publish goes into the successor lane, and nothing goes into both.

Mirrors LaneTable.begin_close, is_drained and detach_lane (lane_table.pyx), LaneWriter.append, _announce and unpublished
(lane.pyx), and LaneSuccession.attend and _succeed (client/lane_succession). The owner closes a lane that may be in
use: the producer sends its records one by one and looks at the lane's state after every new word, but not after a
record that it adds to an open batch. Frames hold two records.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.model.handoff import NO_BATCH, Word
from tests.model.operations import (
    ACQUIRE,
    RELEASE,
    SEQ_CST,
    Location,
    Mutation,
    Step,
    Thread,
    Value,
    Violated,
    after,
    cas,
    fence,
    load,
    note,
    own,
    store,
    update,
)
from tests.model.states import Model, Outcome

PER_FRAME = 2
OPEN, CLOSING, CLOSED = "open", "closing", "closed"


def is_closed(state: str) -> bool:
    return state == CLOSED


class Closing:
    """One lane that is closed under the hands of a producer of `records` records."""

    def __init__(self, records: int, mutation: Mutation | None) -> None:
        self.records = records
        self.mutation = mutation

    def cells(self) -> dict[Location, Value]:
        cells: dict[Location, Value] = {"open": NO_BATCH, "head": 0, "state": OPEN, "log": ()}
        for frame in range(self.records):
            cells[("count", frame)] = 0
        return cells

    # --- the producer ------------------------------------------------------------------------------------------------

    def producer(self) -> Thread:
        """Mirrors LaneWriter.append. Of a batch only the number of its records matters; its frame tells which."""
        start, word = 0, NO_BATCH
        batches: tuple[int, ...] = ()  # records in each frame
        for _ in range(self.records):
            swapped = False
            if batches and batches[-1] < PER_FRAME:
                swapped = yield cas("open", word, Word(start, False, batches[-1] + 1), RELEASE, "handoff-count")
            if swapped:
                batches = (*batches[:-1], batches[-1] + 1)
                word = Word(start, False, batches[-1])
                yield note("returned")
                continue
            if batches:
                yield store(("count", start), batches[-1])
                start += 1
            word, batches = Word(start, False, 1), (*batches, 1)
            yield store("open", word, RELEASE, "handoff-begin")
            attention = yield from self.announce()
            if attention:
                break
            yield note("returned")
        yield from self.attend(batches)

    @staticmethod
    def announce() -> Step:
        """Mirrors the part of LaneWriter._announce that looks after the lane; its bell: doorbell.py."""
        yield fence(SEQ_CST, "lane-announce")
        state = yield load("state")
        return state != OPEN

    def attend(self, batches: tuple[int, ...]) -> Thread:
        """Mirrors LaneSuccession.attend and _succeed, also as flush() and close() come to them."""
        yield load("state", ACQUIRE, "lane-state", until=is_closed)
        head = yield load("head", ACQUIRE, "lane-reclaim")
        yield note((batches[:head], batches[head:]))

    # --- the owner ---------------------------------------------------------------------------------------------------

    def owner(self, predecessor: str) -> Thread:
        """It closes the lane at any time: before the first record, between two, after the last."""
        if predecessor:
            yield after(predecessor)
        log = yield own("log")
        head, state = yield own("head", "state")
        cursor = len(log)
        if cursor != head:
            yield store("head", cursor, RELEASE, "lane-head")
        closing = state == CLOSING
        if closing:
            yield fence(SEQ_CST, "lane-close")
        while state != CLOSED:
            word = yield load("open", ACQUIRE, "handoff-take")
            if word.start > cursor or (word.start == cursor and word.records):
                taken = yield from self.take(cursor, word)
                cursor, log = cursor + 1, (*log, taken)
                yield store("log", log, RELEASE)
                if self.mutation == Mutation("lane-closed", "before the head") and closing:
                    yield store("state", CLOSED, RELEASE)
                yield store("head", cursor, RELEASE, "lane-head")
            elif closing:
                state = CLOSED
                yield store("state", CLOSED, RELEASE, "lane-closed")
            else:
                closing = True
                yield store("state", CLOSING)
                yield fence(SEQ_CST, "lane-close")

    @staticmethod
    def take(cursor: int, word: Word) -> Step:
        """Mirrors lane_take (handoff.h)."""
        if word.start == cursor and not word.closed:
            word = yield update("open", lambda word: word._replace(closed=True), ACQUIRE, "handoff-close")
        if word.start == cursor:
            return word.records
        count = yield load(("count", cursor))
        return count

    # --- what must be true -------------------------------------------------------------------------------------------

    def check(self, outcome: Outcome) -> None:
        """What the owner published and what the producer carries on is everything, once; and what send() returned for
        is published even if the producer never calls again, or is killed while it carries the rest on."""
        published = outcome.last["log"]
        *returned, (kept, carried) = outcome.notes["producer"]
        if kept != published:
            raise Violated(
                f"the owner published {published}, the producer counts {kept} as published, carries {carried}"
            )
        if sum(published) < len(returned):
            raise Violated(f"published {published}, but send() had returned for {len(returned)} records")


def one_lane(mutation: Mutation | None = None, *, records: int = 3) -> Model:
    """A producer, an owner that closes its lane and may be killed, and a successor that goes on closing."""
    lane = Closing(records, mutation)
    makers: dict[str, Callable[[], Thread]] = {
        "producer": lane.producer,
        "owner 1": lambda: lane.owner(""),
        "owner 2": lambda: lane.owner("owner 1"),
    }
    return Model(
        initial=lane.cells(),
        threads=makers,
        shared=frozenset({"open"}),
        private=frozenset({"log"}),
        killable=frozenset({"owner 1"}),
        final=lane.check,
    )

"""Where segments begin: a follower that reads the ring learns it from two slots and a turn, or knows that it does not.

Mirrors LogKeeper.roll on the leader's side, and SegmentTurns.begun_before on the follower's. A batch has one offset;
the leader rolls in front of some of them. A follower that missed more than one roll looks into the leader's directory,
which is not in here: it only has to notice.
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
    load,
    more_than,
    note,
    store,
)
from tests.model.states import Model, Outcome

BATCHES = 4
ROLLED = (1, 2, 3)
"""Batches that begin a segment: one after the other, so that a slot is used again."""
READS = 2


class Rolling:
    def __init__(self, mutation: Mutation | None) -> None:
        self.mutation = mutation

    def is_on(self, point: str, how: str) -> bool:
        return self.mutation == Mutation(point, how)

    def leader(self) -> Thread:
        late = self.is_on("segment-turn", "after the first byte")
        turn = 0
        for offset in range(BATCHES):
            rolls = offset in ROLLED
            if rolls and not late:
                turn += 1
                yield from self.roll(turn, offset)
            yield store("written", offset + 1, RELEASE, "written")
            if rolls and late:
                turn += 1
                yield from self.roll(turn, offset)

    def roll(self, turn: int, offset: int) -> Step:
        """Mirrors LogKeeper.roll."""
        yield store(("slot", turn & 1), offset, RELEASE)
        yield store("turn", turn, RELEASE, "segment-turn")

    def follower(self) -> Thread:
        """Takes what is written, some times over, and says where segments began in it."""
        offset, known, begun = 0, 0, ()
        for _ in range(READS):
            if self.is_on("segment-turn-look", "before the limit"):
                known, more = yield from self.look(known)
                limit = yield load("written", ACQUIRE, "written-limit", until=more_than(offset), over="leader")
            else:
                limit = yield load("written", ACQUIRE, "written-limit", until=more_than(offset), over="leader")
                known, more = yield from self.look(known)
            if limit <= offset:
                return
            if more is None:
                yield note("looks into the directory")
                return
            begun += more
            found = tuple(base for base in begun if offset <= base < limit)
            expected = tuple(base for base in ROLLED if offset <= base < limit)
            if found != expected:
                raise Violated(f"segments begin at {expected} between {offset} and {limit}, not at {found}")
            yield note((offset, limit))
            offset = limit

    def look(self, known: int) -> Step:
        """Mirrors SegmentTurns.begun_before."""
        turn = yield load("turn", ACQUIRE, "segment-turn-look")
        if turn == known:
            return turn, ()
        if turn > known + 1:
            return turn, None
        base = yield load(("slot", turn & 1), ACQUIRE)
        again = yield load("turn", ACQUIRE)
        if again != turn and not self.is_on("segment-turn-again", "not looked at"):
            return turn, None
        return turn, (base,)


def check(outcome: Outcome) -> None:
    """The claims are the follower's."""


def one_follower(mutation: Mutation | None = None) -> Model:
    """A leader that rolls in front of every batch, and a follower."""
    cells: dict[Location, Value] = {"turn": 0, "written": 0, ("slot", 0): 0, ("slot", 1): -1}
    rolling = Rolling(mutation)
    return Model(initial=cells, threads={"leader": rolling.leader, "follower": rolling.follower}, final=check)

"""Samples of where time goes: who reads a ring of them without holding its writer up takes none that is torn.

Mirrors trace_put and trace_next (trace.h), and the end that a successor looks for (trace_end). The ring starts full.
The first writer may be killed anywhere in its two samples; its successor puts others, some under the same numbers.
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
    fence,
    load,
    note,
    own,
    store,
)
from tests.model.states import Model, Outcome

CELLS = 2
OLD = CELLS  # samples 0 and 1 are there; the next is number 2
Sample = tuple[str, int]


def put(who: str, number: int) -> Step:
    """One sample. Its words are the same, so that a torn one shows."""
    cell = number % CELLS
    yield store(("seq", cell), 0, point="trace-empty")
    yield fence(RELEASE, "trace-empty-fence")
    yield store(("begin", cell), (who, number))
    yield store(("end", cell), (who, number))
    yield store(("seq", cell), number + 1, RELEASE, "trace-entry")


def writer() -> Thread:
    """Two samples, with a kill anywhere."""
    yield from put("writer", OLD)
    yield from put("writer", OLD + 1)


def successor() -> Thread:
    """Goes on behind the last sample that is there."""
    yield after("writer")
    number = 0
    for cell in range(CELLS):
        seq = yield own(("seq", cell))
        number = max(number, seq)
    yield from put("successor", number)


def take(number: int) -> Step:
    """Mirrors trace_next: 1 + the number of a sample and its words, or None."""
    cell = number % CELLS
    seq = yield load(("seq", cell), ACQUIRE, "trace-next")
    if seq <= number:
        return None
    begin = yield load(("begin", cell))
    end = yield load(("end", cell))
    yield fence(ACQUIRE, "trace-again")
    again = yield load(("seq", cell))
    return (seq, begin, end) if again == seq else None


def reader() -> Thread:
    number = 1
    for _ in range(2):
        taken = yield from take(number)
        if taken is not None:
            number = taken[0]
            yield note(taken)


def check(outcome: Outcome) -> None:
    for seq, begin, end in outcome.notes.get("reader", ()):
        if begin != end or begin[1] != seq - 1:
            raise Violated(f"sample {seq - 1} was taken as {begin} to {end}")


def one_reader(_: Mutation | None = None) -> Model:
    """A reader that begins at the last of the old samples."""
    cells: dict[Location, Value] = {}
    for number in range(OLD):
        old = ("before", number)
        cells |= {("seq", number): number + 1, ("begin", number): old, ("end", number): old}
    return Model(
        initial=cells,
        threads={"writer": writer, "successor": successor, "reader": reader},
        killable=frozenset({"writer"}),
        final=check,
    )

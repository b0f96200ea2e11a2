"""Commit cells: who reads one without holding its member up gets a whole commit, and one of that member and partition.

Mirrors claim, Slot.commit and read_cell (memory/client_slot.py). The client's process commits in a slot, gives it back,
takes it for another partition or another member, and commits again; it may be killed anywhere. What a commit says tells
whose it is, so that a torn one and one of somebody else show.
"""

from __future__ import annotations

from functools import partial

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
    note,
    store,
)
from tests.model.states import Model, Outcome

NONE = ("none", 0)
Owner = tuple[str, str]  # (partition, member)


def pair(number: int) -> tuple[Location, Location]:
    """Where the commits of this number lie."""
    return ("offset", number % 2), ("epoch", number % 2)


def claim(owner: Owner, number: int, mutation: Mutation | None) -> Step:
    """Mirrors claim(); `number` is that of the last commit in the slot."""
    late = mutation == Mutation("cell-claim", "after the partition")
    partition, member = owner
    yield store(pair(number + 1)[0], NONE, RELEASE)
    if not late:
        yield store("number", number + 1, RELEASE, "cell-claim")
    yield store("token", member, RELEASE)
    yield store("partition", partition, RELEASE)
    if late:
        yield store("number", number + 1, RELEASE)


def commit(owner: Owner, number: int, mutation: Mutation | None) -> Step:
    """Mirrors Slot.commit(): the commit of this number."""
    early = mutation == Mutation("cell-commit", "before the pair")
    offset, epoch = pair(number)
    if early:
        yield store("number", number, RELEASE)
    yield store(offset, (owner, number), RELEASE, "cell-pair")
    yield store(epoch, (owner, number), RELEASE, "cell-pair")
    if not early:
        yield store("number", number, RELEASE, "cell-commit")


def client(first: Owner, second: Owner, mutation: Mutation | None) -> Thread:
    """The slot is `first`'s, with one commit (number 1)."""
    yield from commit(first, 2, mutation)
    yield from commit(first, 3, mutation)
    yield store("partition", "", RELEASE)
    yield from claim(second, 3, mutation)
    yield from commit(second, 5, mutation)


def look(mutation: Mutation | None) -> Step:
    """Mirrors read_cell(): (partition, member, the words of the pair), or None."""
    number = yield load("number", ACQUIRE, "cell-look")
    partition = yield load("partition", ACQUIRE)
    if not partition:
        return None
    member = yield load("token", ACQUIRE)
    at = pair(number)
    offset = yield load(at[0], ACQUIRE, "cell-again")
    epoch = yield load(at[1], ACQUIRE, "cell-again")
    if mutation != Mutation("cell-again", "not looked at"):
        again = yield load("number", ACQUIRE)
        if again != number:
            return None
    return None if offset == NONE else (partition, member, offset, epoch)


def reader(mutation: Mutation | None) -> Thread:
    found = yield from look(mutation)
    yield note(found)


def last_look(mutation: Mutation | None) -> Thread:
    """The coordinator's, once the client is dead."""
    yield after("client")
    found = yield from look(mutation)
    yield note(found)


def check(second: Owner, outcome: Outcome) -> None:
    for who in ("reader", "last look"):
        for found in outcome.notes.get(who, ()):
            if found is not None and not ((found[0], found[1]) == found[2][0] and found[2] == found[3]):
                raise Violated(f"{who} of member {found[1]} and partition {found[0]} found {found[2]}, {found[3]}")
    if not outcome.killed and outcome.notes["last look"] != ((*second, (second, 5), (second, 5)),):
        raise Violated(f"the last commit is {(second, 5)}, found was {outcome.notes['last look']}")
    if (outcome.last["partition"], outcome.last["token"]) == ("A", "m") and outcome.notes["last look"] == (None,):
        raise Violated("a kill has taken the commits of before")


def one_slot(mutation: Mutation | None = None, *, second: Owner = ("B", "m")) -> Model:
    """`first` is partition A of member m; `second` has the slot after it."""
    first = ("A", "m")
    cells: dict[Location, Value] = {"number": 1, "partition": "A", "token": "m"}
    cells |= dict(zip(pair(1), [(first, 1)] * 2, strict=True)) | dict(zip(pair(0), [NONE, NONE], strict=True))
    return Model(
        initial=cells,
        threads={
            "client": partial(client, first, second, mutation),
            "reader": partial(reader, mutation),
            "last look": partial(last_look, mutation),
        },
        killable=frozenset({"client"}),
        final=partial(check, second),
    )

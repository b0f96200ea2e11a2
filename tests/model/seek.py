"""Seeking by the index: an entry that is being rewritten, or was never published, leads nobody astray.

Mirrors RingReader.seek (ring.pyx), the index in Publisher._publish (publish.pyx), and the zeroing of entries beyond
the tail in opening._open_warm. The index starts full, so that every new entry takes the cell of an old one; the first
owner may be killed anywhere in its group, and its successor publishes other batches at the same positions.

A batch is (base offset, records); it has a cell of ring per record, and `lead` cells lie before offset 0, so that
offsets and positions differ.
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

LEAD = 10
CELLS = 4
OLD = tuple((offset, 1) for offset in range(7))  # the next entry takes the last cell, the one after it the first
Batch = tuple[int, int]


def end_of(batches: tuple[Batch, ...]) -> int:
    """The offset behind the last batch."""
    return sum(batches[-1])


def publish(batches: tuple[Batch, ...], sizes: tuple[int, ...]) -> Step:
    """One group of batches of these sizes behind `batches`; returns all of them."""
    for size in sizes:
        cell = len(batches) % CELLS
        base = end_of(batches)
        yield store(("seq", cell), 0, point="index-empty")
        yield fence(RELEASE, "index-empty-fence")
        yield store(("range", cell), (base, size))
        yield store(("place", cell), (LEAD + base + size, size))
        batches = (*batches, (base, size))
        yield store(("seq", cell), len(batches), RELEASE, "index-entry")
    yield store("tail", batches, RELEASE, "tail")
    return batches


def owner() -> Thread:
    """One group of two batches, with a kill anywhere."""
    batches = yield own("tail")
    yield from publish(batches, (1, 1))


def successor() -> Thread:
    """Mirrors opening._open_warm: entries behind the tail are zeroed, then another group of one batch is published."""
    yield after("owner 1")
    batches = yield own("tail")
    for cell in range(CELLS):
        seq = yield own(("seq", cell))
        if seq > len(batches):
            yield store(("seq", cell), 0, RELEASE, "takeover-stale")
    yield from publish(batches, (2,))


def seek(offset: int) -> Step:
    """Mirrors RingReader.seek: the ring position of `offset`, or None."""
    tail = yield load("tail", ACQUIRE, "seek-limit")
    limit = LEAD + end_of(tail)
    for cell in range(CELLS):
        seq = yield load(("seq", cell), ACQUIRE, "seek-entry")
        if not seq:
            continue
        base, count = yield load(("range", cell))
        if not base <= offset <= base + count:
            continue
        pos_end, length = yield load(("place", cell))
        yield fence(ACQUIRE, "seek-again")
        again = yield load(("seq", cell))
        if again == seq and pos_end <= limit:
            return pos_end if offset == base + count else pos_end - length
    return None


def reader(offset: int) -> Thread:
    pos = yield from seek(offset)
    yield note((offset, pos))


def check(outcome: Outcome) -> None:
    """What seek() found is where the published log has that offset, at the beginning of a batch that covers it."""
    offset, pos = outcome.notes["reader"][0]
    log: tuple[Batch, ...] = outcome.last["tail"]
    right = {LEAD + base for base, size in log if base <= offset < base + size} | {LEAD + offset}
    bounds = {LEAD + base for base, _ in log} | {LEAD + end_of(log)}
    if pos is not None and (pos not in right or pos not in bounds):
        raise Violated(f"offset {offset} was found at position {pos}; the log has batches {log} from position {LEAD}")


def one_reader(_: Mutation | None = None, *, offset: int = 8) -> Model:
    """A reader that seeks while an owner publishes, is killed, and is succeeded."""
    cells: dict[Location, Value] = {}
    for number in range(len(OLD) - CELLS, len(OLD)):
        cell, (base, size) = number % CELLS, OLD[number]
        cells |= {("seq", cell): number + 1, ("range", cell): (base, size), ("place", cell): (LEAD + base + size, size)}
    return Model(
        initial={"tail": OLD, **cells},
        threads={
            "owner 1": owner,
            "owner 2": successor,
            "reader": lambda: reader(offset),
        },
        killable=frozenset({"owner 1"}),
        final=check,
    )

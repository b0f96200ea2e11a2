"""A new ring generation under a reader: it reads one ring or the other, never a mixture, and a kill in between is fine.

Mirrors regeneration.grow_ring and ring_regions.store_ring on the owner's side, MappedPartition.renew_ring and
RingReader on the reader's. A batch is one record at one position; a cell holds the offset of what was put there.
Positions begin at LEAD, so that offsets and positions differ. Ring 1 is too small for a batch that comes: its largest
batch is 1, that of ring 2 is 2. A successor may find a smaller batch in another lane first, and publish that in ring 1.
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
    choose,
    fence,
    load,
    more_than,
    note,
    own,
    store,
)
from tests.model.states import Model, Outcome

LEAD = 10
NOWHERE = -1
ATTEMPTS = 3


class Generation:
    """A partition whose ring 1 holds `old` batches, and its owners in turn."""

    def __init__(self, old: int, owners: int, mutation: Mutation | None) -> None:
        self.old = old
        self.owners = owners
        self.mutation = mutation

    def is_on(self, point: str, how: str) -> bool:
        return self.mutation == Mutation(point, how)

    def cells(self) -> dict[Location, Value]:
        cells: dict[Location, Value] = {"generation": 1, "max batch": 1, "base offset": 0, "base position": LEAD}
        cells |= {
            "tail": LEAD + self.old,
            "hw": LEAD + self.old,
            ("ends", 1): tuple(range(LEAD + 1, LEAD + self.old + 1)),
            ("ends", 2): (),
        }
        for ring in (1, 2):
            cells |= {("cell", ring, LEAD + k): k if ring == 1 and k < self.old else None for k in range(self.most)}
        return cells

    @property
    def most(self) -> int:
        """Offsets that there will be at most."""
        return self.old + self.owners

    # --- the owner ---------------------------------------------------------------------------------------------------

    def owner(self, predecessor: str) -> Thread:
        """Finds the end of the log, goes to ring 2 unless it is there already, and publishes a batch of 2."""
        if predecessor:
            yield after(predecessor)
        tail, generation = yield own("tail", "generation")
        offset = yield from self.find_end(generation, tail)
        yield store("hw", tail, RELEASE, "watermark")
        small = yield choose(*((False, True) if predecessor and generation == 1 else (False,)))
        if small:
            yield from self.publish(1, offset, tail)
            offset, tail = offset + 1, tail + 1
        if generation == 1:
            yield from self.grow_ring(offset, tail)
            yield from self.publish(2, offset, tail)

    def publish(self, ring: int, offset: int, tail: int) -> Step:
        yield store(("cell", ring, tail), offset)
        ends = yield own(("ends", ring))
        yield store(("ends", ring), (*[end for end in ends if end <= tail], tail + 1))
        yield store("tail", tail + 1, RELEASE, "tail")
        yield store("hw", tail + 1, RELEASE, "watermark")

    def find_end(self, generation: int, tail: int) -> Step:
        """Mirrors survey.find_end: by the entry that ends at the tail, and by the base cells in an empty ring."""
        ends, offset, base = yield own(("ends", generation), "base offset", "base position")
        if tail in ends:
            return tail - LEAD
        if base != tail or offset != tail - LEAD:
            raise Violated(f"the tail is at {tail}; the ring is empty and begins at offset {offset}, position {base}")
        return offset

    def grow_ring(self, offset: int, tail: int) -> Step:
        """Mirrors regeneration.grow_ring and ring_regions.store_ring."""
        base = yield own("base offset", "base position")
        if base != (offset, tail) or self.is_on("generation-base", "stored again when it is right"):
            yield store("base offset", NOWHERE, RELEASE, "generation-base-invalid")
            yield store("base position", tail, RELEASE)
            yield store("base offset", offset, RELEASE, "generation-base")
        if self.is_on("generation", "before what it announces"):
            yield store("generation", 2, RELEASE)
        yield store("max batch", 2, RELEASE)
        yield store("generation", 2, RELEASE, "generation")

    # --- the reader --------------------------------------------------------------------------------------------------

    def reader(self, offset: int) -> Thread:
        """Mirrors PartitionReader._from_ring, MappedPartition.renew_ring and RingReader."""
        for _ in range(ATTEMPTS):
            generation = yield load("generation", ACQUIRE, "generation-attach")
            largest = yield load("max batch", ACQUIRE)
            again = yield load("generation", ACQUIRE, "generation-check")
            if again != generation:
                continue
            pos = yield from self.seek(generation, offset)
            if pos is None:
                continue
            last = f"owner {self.owners}"
            limit = yield load("hw", ACQUIRE, "watermark-limit", until=more_than(pos), over=last)
            if limit <= pos:
                continue
            found = yield load(("cell", generation, pos))
            again = yield load("generation", ACQUIRE, "generation-check")
            if again != generation and not self.is_on("generation-check", "not looked at"):
                continue
            if found != offset:
                raise Violated(f"offset {offset} was read at position {pos} of ring {generation}, where {found} lies")
            if largest < generation:
                raise Violated(
                    f"a batch of ring {generation} was thought to be damaged, as it is larger than {largest}"
                )
            yield note(found)
            return

    def seek(self, generation: int, offset: int) -> Step:
        """Mirrors RingReader.seek: by the base cells, else by the index (its own model: seek.py)."""
        base = yield load("base offset", ACQUIRE, "generation-base-offset")
        if base == offset:
            pos = yield load("base position")
            yield fence(ACQUIRE, "generation-base-again")
            base = yield load("base offset")
            if base == offset:
                return pos
        if generation == 1 and offset < self.old:
            return LEAD + offset
        return None

    # --- what must be true -------------------------------------------------------------------------------------------

    def check(self, outcome: Outcome) -> None:
        """In the end both rings hold what belongs where it is, and nothing is missing."""
        last = outcome.last
        published = [
            last["cell", 1, LEAD + k] == k or last["cell", 2, LEAD + k] == k for k in range(last["tail"] - LEAD)
        ]
        if last["hw"] != last["tail"] or not all(published):
            raise Violated(f"the end: {last}")


def growing(mutation: Mutation | None = None, *, old: int = 1, offset: int = 0, kills: int = 1) -> Model:
    """An owner that grows a ring with `old` batches, its successors, and a reader that wants `offset`."""
    partition = Generation(old, kills + 1, mutation)
    owners = [f"owner {k + 1}" for k in range(kills + 1)]
    predecessors = dict(zip(owners, ["", *owners], strict=False))
    return Model(
        initial=partition.cells(),
        threads={
            **{name: partial(partition.owner, before) for name, before in predecessors.items()},
            "reader": lambda: partition.reader(offset),
        },
        private=frozenset({("ends", 1), ("ends", 2)}),
        killable=frozenset(owners[:-1]),
        final=partition.check,
    )

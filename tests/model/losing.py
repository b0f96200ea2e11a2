"""A takeover with losses under a reader: it never reads what only the old leader had.

Mirrors partition/takeover._begin_ring and what comes after it; the reader is that of generation.py. The old ring holds
`old` batches, of which the new leader's log has all but the last, which nobody was shown.
"""

from __future__ import annotations

from functools import partial

from tests.model.generation import LEAD, Generation
from tests.model.operations import RELEASE, Location, Mutation, Thread, Value, Violated, after, own, store
from tests.model.states import Model, Outcome

LOST = -2


class Losing(Generation):
    """A partition whose ring 1 ends with a batch that is lost, and the new leader's owners in turn."""

    @property
    def kept(self) -> int:
        """Where the new leader's log ends."""
        return self.old - 1

    def cells(self) -> dict[Location, Value]:
        end = LEAD + self.kept
        return {**super().cells(), "hw": end, ("cell", 1, end): LOST}

    def owner(self, predecessor: str) -> Thread:
        """Goes on at the end of its log in ring 2, and publishes a batch there."""
        if predecessor:
            yield after(predecessor)
        tail, generation = yield own("tail", "generation")
        if generation == 1:
            if self.is_on("generation", "after the watermark"):
                yield store("hw", tail, RELEASE)
            yield from self.grow_ring(self.kept, tail)
        yield store("hw", tail, RELEASE, "watermark")
        yield from self.publish(2, self.kept + tail - (LEAD + self.old), tail)

    def check(self, outcome: Outcome) -> None:
        """In the end the new ring has the next offset where the old one ended."""
        last, tail = outcome.last, LEAD + self.old
        if last["hw"] != last["tail"] or last["cell", 2, tail] != self.kept:
            raise Violated(f"the end: {last}")


def losing(mutation: Mutation | None = None, *, old: int = 2, kills: int = 1) -> Model:
    """Owners of which the first are killed, and a reader of the old ring that wants what comes next."""
    partition = Losing(old, kills + 1, mutation)
    owners = [f"owner {k + 1}" for k in range(kills + 1)]
    predecessors = dict(zip(owners, ["", *owners], strict=False))
    return Model(
        initial=partition.cells(),
        threads={
            **{name: partial(partition.owner, before) for name, before in predecessors.items()},
            "reader": lambda: partition.reader(partition.kept),
        },
        private=frozenset({("ends", 1), ("ends", 2)}),
        killable=frozenset(owners[:-1]),
        final=partition.check,
    )

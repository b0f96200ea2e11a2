"""The table of SYNC POINTs: for each, how it can be broken, and the model that then fails.

`python tests/model/sync_points.py NAME` breaks one and prints the shortest execution that goes wrong.
The core's comments and this table have the same names (test_sync_points.py). UNNEEDED and ELSEWHERE say of every other
ordered access of the core why no name stands by it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # run as a script, from anywhere
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.model import (
    cells,
    closing,
    doorbell,
    fault_orders,
    generation,
    handoff,
    losing,
    overrun,
    replication,
    rolling,
    samples,
    seek,
    takeover,
)
from tests.model.explorer import Explorer
from tests.model.operations import Mutation
from tests.model.states import Model, Verdict

Build = Callable[[Mutation | None], Model]


@dataclass(frozen=True, slots=True)
class Litmus:
    """One defect at a SYNC POINT and what the model says about it (a regular expression)."""

    point: str
    how: str
    model: str
    violation: str
    build: Build = field(compare=False, repr=False)

    def run(self) -> Verdict:
        mutation = Mutation(self.point, self.how)
        return Explorer(self.build(mutation), mutation).run()

    def __str__(self) -> str:
        return f"{self.point}: {self.how}"


MODELS: dict[str, Build] = {
    "two wakers, one sleeper": doorbell.two_wakers,
    "killed waker": doorbell.killed_waker,
    "rings for an event loop": doorbell.relayed,
    "hand-off, kills of both sides": partial(handoff.one_lane, kills=1),
    "hand-off of runs": partial(handoff.one_lane, kills=1, runs=(1, 4), per_frame=4),
    "hand-off of an even run": partial(handoff.one_lane, kills=1, runs=(1, 2), per_frame=3),
    "closing a lane": partial(closing.one_lane, records=2),
    "ring overrun": overrun.one_reader,
    "ring overrun, announced ahead": partial(overrun.one_reader, ahead=overrun.BATCH),
    "ring read by a follower": partial(overrun.one_reader, limit="written"),
    "rolls seen by a follower": rolling.one_follower,
    "seeking by the index": seek.one_reader,
    "growing a ring": partial(generation.growing, old=1, offset=1),
    "growing a ring, reader behind": partial(generation.growing, old=1, offset=0),
    "growing an empty ring": partial(generation.growing, old=0, offset=0),
    "takeover with losses": losing.losing,
    "takeover with a roll": partial(takeover.owners, kills=1, rolls=1),
    "takeover, two kills": partial(takeover.owners, kills=2, rolls=0),
    "a follower that cuts": replication.cutting,
    "takeover with a follower": replication.takeover,
    "samples": samples.one_reader,
    "commit cells": cells.one_slot,
    "commit cells, another member": partial(cells.one_slot, second=("A", "n")),
    "fault orders": fault_orders.arming,
}
"""What holds as it is. Each stays small enough for every run of the tests."""

LARGER: dict[str, Build] = {
    "hand-off, four records": partial(handoff.one_lane, kills=1, runs=(1, 1, 1, 1)),
    "hand-off, a third owner": partial(handoff.one_lane, kills=2),
    "closing a lane, four records": partial(closing.one_lane, records=4),
    "ring overrun, four groups": partial(overrun.one_reader, groups=4, reads=3),
    "ring overrun, larger ring": partial(overrun.one_reader, groups=4, reads=3, capacity=6),
    "ring overrun, announced further ahead": partial(overrun.one_reader, groups=4, reads=3, capacity=6, ahead=4),
    **{f"seeking offset {offset}": partial(seek.one_reader, offset=offset) for offset in range(3, 10)},
    "growing a ring, three owners": partial(generation.growing, old=2, offset=1, kills=2),
    "takeover with losses, two kills": partial(losing.losing, kills=2),
    "a follower that cuts, five records": partial(replication.cutting, records=5),
    "takeover with a follower, four records": partial(replication.takeover, records=4),
    "takeover, two kills and a roll": partial(takeover.owners, kills=2, rolls=1),
}
"""The same with larger bounds: the long tier."""


def litmus(point: str, how: str, model: str, violation: str) -> Litmus:
    return Litmus(point, how, model, violation, MODELS[model])


DROPPED, RELAXED, LATE = "dropped", "relaxed", "late"
BELL, HAND, CLOSING = "two wakers, one sleeper", "hand-off, kills of both sides", "closing a lane"
LOOP = "rings for an event loop"
OVERRUN, AHEAD, SEEK, GROW = (
    "ring overrun",
    "ring overrun, announced ahead",
    "seeking by the index",
    "growing a ring",
)
BEHIND, EMPTY, TAKEOVER, TWICE = (
    "growing a ring, reader behind",
    "growing an empty ring",
    "takeover with a roll",
    "takeover, two kills",
)
FOLLOWER, ROLLS = "ring read by a follower", "rolls seen by a follower"
LOSES = "takeover with losses"
CUTS, FOLLOWED = "a follower that cuts", "takeover with a follower"
SHOWN = "2 records are shown, the follower has 1"
TORN = r"accepted cells \(.*\) as positions"
MISSED_ROLL = "segments begin at"
TORN_SAMPLE = "sample . was taken as"
CELLS, FOREIGN_COMMIT = "commit cells", "of member . and partition . found"

TABLE = [
    litmus("bell-sleep", DROPPED, BELL, "sleeper sleeps for ever"),
    litmus("bell-ring", DROPPED, BELL, "sleeper sleeps for ever"),
    litmus("bell-ring", DROPPED, "killed waker", "sleeper sleeps for ever"),
    litmus("bell-count", DROPPED, BELL, "sleeper sleeps for ever"),
    litmus("bell-ticket", "taken after the second look", BELL, "sleeper sleeps for ever"),
    litmus("bell-sleep", DROPPED, LOOP, "task sleeps for ever"),
    litmus("bell-relay", RELAXED, LOOP, "task sleeps for ever"),
    litmus("bell-relay", "remembered after the write", LOOP, "task sleeps for ever"),
    litmus("bell-relay", "the eventfd is read after the look", LOOP, "task sleeps for ever"),
    litmus("handoff-begin", RELAXED, HAND, r"a batch of records \(None,\)"),
    litmus("handoff-count", RELAXED, HAND, r"a batch of records \(0, None\)"),
    litmus("handoff-count", "one timestamp cell", HAND, r"records \(0,\) says that 1 is the latest"),
    litmus(
        "handoff-count",
        "an even number at once",
        "hand-off of an even run",
        r"records \(0,\) says that 2 is the latest",
    ),
    litmus("handoff-count", RELAXED, "hand-off of runs", r"a batch of records \(0, None, None, None\)"),
    litmus("handoff-begin", RELAXED, "hand-off of an even run", r"a batch of records \(None,\)"),
    litmus("handoff-seal", RELAXED, HAND, "the closed frame . has no count"),
    litmus("handoff-take", RELAXED, HAND, "the closed frame 0 has no count"),
    litmus("handoff-close", RELAXED, HAND, r"a batch of records \(0, None\)"),
    litmus("handoff-close", "counts the word seen before", HAND, "accepted .*, published"),
    litmus("lane-head", RELAXED, HAND, "is 'pending' although the head"),
    litmus("lane-head", "recovery goes by the head alone", HAND, r"published \(0, 0"),
    litmus("lane-head", "before the results", TAKEOVER, r"is told \('pending'"),
    litmus("lane-reclaim", RELAXED, HAND, "is 'pending' although the head"),
    litmus("lane-announce", DROPPED, CLOSING, r"published \(\), but send\(\) had returned"),
    litmus("lane-close", DROPPED, CLOSING, r"published \(\), but send\(\) had returned"),
    litmus("lane-closed", RELAXED, CLOSING, r"the owner published \(1,\), the producer counts \(\)"),
    litmus("lane-closed", "before the head", CLOSING, r"the owner published \(1,\), the producer counts \(\)"),
    litmus("lane-state", RELAXED, CLOSING, r"the owner published \(1,\), the producer counts \(\)"),
    litmus("ring-intent", DROPPED, OVERRUN, TORN),
    litmus("ring-intent", LATE, OVERRUN, TORN),
    litmus("ring-intent", "lowered by a successor", OVERRUN, TORN),
    litmus("ring-intent", "not raised", TAKEOVER, "tail 69, intent 0"),
    litmus("ring-intent", DROPPED, AHEAD, TORN),
    litmus("takeover-intent", DROPPED, OVERRUN, TORN),
    litmus("takeover-intent", DROPPED, AHEAD, TORN),
    litmus("ring-copy", DROPPED, OVERRUN, TORN),
    litmus("ring-copy", "checks the tail instead of the intent", OVERRUN, TORN),
    litmus("watermark", RELAXED, OVERRUN, TORN),
    litmus("watermark", "before written", TAKEOVER, "watermark 69, written 0"),
    litmus("watermark-limit", RELAXED, OVERRUN, TORN),
    litmus("written", RELAXED, FOLLOWER, TORN),
    litmus("written-limit", RELAXED, FOLLOWER, TORN),
    litmus("written-limit", "reads up to the tail", FOLLOWER, "the file ends at 0"),
    litmus("written", RELAXED, ROLLS, MISSED_ROLL),
    litmus("segment-turn", RELAXED, ROLLS, MISSED_ROLL),
    litmus("segment-turn", "after the first byte", ROLLS, MISSED_ROLL),
    litmus("segment-turn-look", RELAXED, ROLLS, MISSED_ROLL),
    litmus("segment-turn-look", "before the limit", ROLLS, MISSED_ROLL),
    litmus("segment-turn-again", "not looked at", ROLLS, MISSED_ROLL),
    litmus("index-empty", DROPPED, SEEK, "offset 8 was found at position 14"),
    litmus("index-empty-fence", DROPPED, SEEK, "offset 8 was found at position 13"),
    litmus("index-entry", RELAXED, SEEK, "offset 8 was found at position 13"),
    litmus("index-entry", "before its fields", TAKEOVER, "the files hold"),
    litmus("seek-entry", RELAXED, SEEK, "offset 8 was found at position 13"),
    litmus("seek-again", DROPPED, SEEK, "offset 8 was found at position 13"),
    litmus("seek-limit", RELAXED, SEEK, "offset 8 was found at position 18"),
    litmus("tail", "before its entries", TAKEOVER, "where no batch of its index ends"),
    litmus("written", "before the bytes", TAKEOVER, "segment 0 from position 0 gets"),
    litmus("segment-turn", "before its slot", TAKEOVER, "segment 99 from position 99"),
    litmus("takeover-stale", DROPPED, TWICE, "the files hold"),
    litmus("takeover-stale", DROPPED, SEEK, "offset 8 was found at position 18"),
    litmus("takeover-offset", "taken from the tail's cell", TAKEOVER, "segment 0 from position 0 gets"),
    litmus("takeover-results", "after the head", TWICE, r"is told \('pending'"),
    litmus("takeover-watermark", DROPPED, FOLLOWED, "is offset 2 at position 0"),
    litmus("replica-epoch", RELAXED, CUTS, SHOWN),
    litmus("replica-epoch", "before the cut", CUTS, SHOWN),
    litmus("replica-progress", RELAXED, CUTS, SHOWN),
    litmus("replica-progress", "whatever the epoch", CUTS, SHOWN),
    litmus("replica-written", "before the bytes", CUTS, SHOWN),
    litmus("generation", RELAXED, GROW, "thought to be damaged"),
    litmus("generation", "before what it announces", GROW, "thought to be damaged"),
    litmus("generation", "after the watermark", LOSES, "of ring 1, where -2 lies"),
    litmus("generation-attach", RELAXED, GROW, "thought to be damaged"),
    litmus("generation-check", "not looked at", GROW, "of ring 1, where None lies"),
    litmus("generation-base", RELAXED, GROW, "offset 1 was read at position 10 of ring 1"),
    litmus("generation-base", "stored again when it is right", EMPTY, "begins at offset -1"),
    litmus("generation-base-invalid", DROPPED, BEHIND, "offset 0 was read at position 11 of ring 1"),
    litmus("generation-base-offset", RELAXED, GROW, "offset 1 was read at position 10 of ring 1"),
    litmus("generation-base-again", DROPPED, BEHIND, "offset 0 was read at position 11 of ring 1"),
    litmus("trace-empty", DROPPED, "samples", TORN_SAMPLE),
    litmus("trace-empty-fence", DROPPED, "samples", TORN_SAMPLE),
    litmus("trace-entry", RELAXED, "samples", TORN_SAMPLE),
    litmus("trace-next", RELAXED, "samples", TORN_SAMPLE),
    litmus("trace-again", DROPPED, "samples", TORN_SAMPLE),
    litmus("cell-pair", RELAXED, CELLS, FOREIGN_COMMIT),
    litmus("cell-commit", RELAXED, CELLS, FOREIGN_COMMIT),
    litmus("cell-commit", "before the pair", CELLS, "a kill has taken the commits of before"),
    litmus("cell-look", RELAXED, CELLS, FOREIGN_COMMIT),
    litmus("cell-again", RELAXED, CELLS, FOREIGN_COMMIT),
    litmus("cell-again", "not looked at", CELLS, FOREIGN_COMMIT),
    litmus("cell-claim", RELAXED, CELLS, FOREIGN_COMMIT),
    litmus("cell-claim", "after the partition", CELLS, FOREIGN_COMMIT),
    litmus("cell-claim", "after the partition", "commit cells, another member", FOREIGN_COMMIT),
    litmus("fault-arm", RELAXED, "fault orders", "fires with"),
    litmus("fault-read", RELAXED, "fault orders", "fires with"),
]

UNNEEDED = [
    (Mutation("bell-count", RELAXED), BELL, "the fences order the news; the count has only to change"),
    (Mutation("bell-ticket", RELAXED), BELL, "the fence behind it orders it before the second look"),
    (Mutation("tail", RELAXED), SEEK, "the fence of the next group's first entry orders the zeroing before its tail"),
    (Mutation("generation-check", RELAXED), GROW, "the watermark before it was acquired"),
]
"""Orders that the header's functions bring along and nobody relies on: weaker, the model still holds."""

DEAD = "only a successor reads it, which has seen its predecessor die"
FAULT_IS_QUIET = (
    "static int fault_is_quiet(void) { return fault_orders == NULL || shm_load_acquire(&fault_orders->armed) == 0; }"
)
UNLABELLED = {
    "handoff.h": {
        "uint64_t word = shm_load_acquire(lane->base + LANE_OPEN);": "lane_has_work only looks, it takes nothing"
    },
    "lane.pyx": {
        "self.word = shm_load_acquire(self.base + LANE_OPEN)": "a new lane, which a message brought",
        "shm_load_acquire(self.control.base + CTL_WRITTEN_POS)": "the offset that is read next is enough",
        "shm_load_acquire(self.control.base + CTL_HW_POS)": "the offset that is read next is enough",
        "shm_store_release(self.base + LANE_FREE, self.free)": "for display",
        "cdef uint64_t head = shm_load_acquire(self.base + LANE_HEAD)": "after lane-state, which brings the last head",
    },
    "fault_shim.pyx": {
        "shm_store_release(&self._page.armed, self._page.armed + 1)": "a hint; the order's own flag decides",
        "shm_store32_release(&self._page.orders[order].armed, 0)": "an order may fire once more",
        "shm_store_release(&self._page.armed, self._page.armed - 1)": "a hint; the order's own flag decides",
    },
    "fault_shim.h": {
        FAULT_IS_QUIET: "a hint; the order's own flag decides",
    },
    "lane_table.pyx": {"lane.cursor = shm_load_acquire(lane.base + LANE_HEAD) & ~<uint64_t>7": DEAD},
    "log_end.pyx": {
        "self.tail_pos = shm_load_acquire(self.ctl + CTL_TAIL_POS)": DEAD,
        "self.written_offset = <int64_t>shm_load_acquire(self.ctl + CTL_WRITTEN_OFFSET)": DEAD,
        "self.written_pos = shm_load_acquire(self.ctl + CTL_WRITTEN_POS)": DEAD,
        "self.synced_offset = <int64_t>shm_load_acquire(self.ctl + CTL_SYNCED_OFFSET)": DEAD,
        "shm_store_release(self.ctl + CTL_LSO_POS, pos)": "nobody reads it yet",
        "shm_store_release(self.ctl + CTL_SYNCED_POS, pos)": DEAD,
    },
    "mapping.pyx": {
        "return shm_load_acquire(self.base + offset)": "for Python, which names its own points",
        "shm_store_release(self.base + offset, value)": "for Python, which names its own points",
    },
    "producer_table.pyx": {
        "shm_fence_release()": f"a checksum guards an image, and {DEAD}",
        "shm_store_release(image, self.image_turn)": f"a checksum guards an image, and {DEAD}",
        "turn = shm_load_acquire(image)": DEAD,
    },
    "relay.h": {
        "shm_fetch_add32(relay->bell + BELL_DOORBELL, 1);": "no news: it only keeps the thread from going to sleep",
    },
    "ring.pyx": {
        "self.max_batch_bytes = shm_load_acquire(self.ctl + CTL_MAX_BATCH)": "after generation-attach, which brings it",
        "return <int64_t>(shm_load_acquire(self.limit_cell) - self.pos) > 0": "a look that takes nothing",
        "return shm_load_acquire(self.ctl + CTL_RING_GENERATION) != self.generation": "read() asks again",
        "cdef uint64_t tail = shm_load_acquire(self.ctl + CTL_TAIL_POS)": "an estimate of how far behind the reader is",
        "return <int64_t>shm_load_acquire(self.ctl + CTL_HW_OFFSET)": "a number to show or to compare",
        "return <int64_t>shm_load_acquire(self.ctl + CTL_LOG_START_OFFSET)": "a number to show or to compare",
    },
}
"""Ordered accesses without a SYNC POINT, by file and line of code, and why none is needed."""


def main(names: list[str]) -> int:
    chosen = [entry for entry in TABLE if not names or entry.point in names]
    for entry in chosen:
        print(f"{entry} ({entry.model})\n{entry.run()}\n")
    return 0 if chosen else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

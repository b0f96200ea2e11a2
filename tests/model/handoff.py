"""Hand-off: what `send` accepted is published once and in order, whoever is killed. native/lane, native/handoff.h.

The producer counts records into the word `open` of its lane, one by one or several at once; the owner closes the open
batch by setting one bit in the word and takes what the word that comes back counts. Both may be killed, the owner's
successor too. Frames are used again, so that the producer also depends on the owner's results.

A record is its number. The partition's log, with the lane positions that the index entries keep, is one cell that the
owner publishes (publish order inside a group: takeover.py). Frame k of the lane is physical frame k % FRAMES.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import NamedTuple

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
    cas,
    load,
    more_than,
    note,
    own,
    store,
    update,
)
from tests.model.states import Model, Outcome

PENDING, APPENDED = "pending", "appended"


class Word(NamedTuple):
    """The hand-off word: frame of the open batch, the owner's bit, records counted."""

    start: int
    closed: bool
    records: int


class Batch(NamedTuple):
    """What the log and the index say of a batch: where its lane goes on, and its records."""

    lane_pos_end: int
    records: tuple[int, ...]


NO_BATCH = Word(0, True, 0)


def is_on(mutation: Mutation | None, point: str, how: str) -> bool:
    return mutation == Mutation(point, how)


class HandOff:
    """The two sides of one lane with `frames` physical frames of `per_frame` records, sent in runs of so many each."""

    def __init__(self, runs: tuple[int, ...], frames: int, per_frame: int, mutation: Mutation | None) -> None:
        self.runs = runs
        self.frames = frames
        self.per_frame = per_frame
        self.mutation = mutation

    def cells(self) -> dict[Location, Value]:
        """Every shared cell with what it holds in a new lane."""
        cells: dict[Location, Value] = {"open": NO_BATCH, "head": 0, "log": ()}
        for frame in range(self.frames):
            cells |= {("record", frame, k): None for k in range(self.per_frame)}
            cells |= {("max timestamp", frame, parity): None for parity in (0, 1)}
            cells |= {("count", frame): 0, ("status", frame): PENDING}
        return cells

    # --- the producer ------------------------------------------------------------------------------------------------

    def producer(self) -> Thread:
        """Mirrors LaneWriter.append and append_run (lane.pyx), one change of the word after the other."""
        start, count, free, word, record = 0, 0, 0, NO_BATCH, 0
        for end in accumulate(self.runs):
            while record < end:
                taken, swapped = self.room_for(end - record, count), False
                if 0 < count and taken:
                    frame = start % self.frames
                    for k in range(taken):
                        yield store(("record", frame, count + k), record + k)
                    parity = (
                        0 if is_on(self.mutation, "handoff-count", "one timestamp cell") else (count + taken - 1) & 1
                    )
                    yield store(("max timestamp", frame, parity), record + taken - 1)
                    swapped = yield cas("open", word, Word(start, False, count + taken), RELEASE, "handoff-count")
                if swapped:
                    count += taken
                else:
                    if count:
                        start += yield from self.close_frame(start, count)
                    free = yield from self.reclaim(free, start)
                    taken = count = min(end - record, self.per_frame)
                    yield from self.begin(start % self.frames, record, taken)
                    yield store("open", Word(start, False, count), RELEASE, "handoff-begin")
                word = Word(start, False, count)
                for k in range(taken):
                    yield note(record + k)  # accepted: whoever is killed from here on has sent them
                record += taken
        yield from self.seal(start, count)

    def room_for(self, records: int, count: int) -> int:
        """Mirrors put_run (run.h): how many records are counted at once, an odd number. The timestamps always rise."""
        taken = min(records, self.per_frame - count)
        if taken and taken % 2 == 0 and not is_on(self.mutation, "handoff-count", "an even number at once"):
            taken -= 1
        return taken

    def close_frame(self, start: int, count: int) -> Step:
        """Mirrors LaneWriter._close_frame."""
        yield store(("count", start % self.frames), count)
        return 1

    def begin(self, frame: int, record: int, count: int) -> Step:
        """Mirrors LaneWriter._begin and the encoding of the first records."""
        yield store(("status", frame), PENDING)
        yield store(("count", frame), 0)
        yield store(("max timestamp", frame, 0), record + count - 1)
        yield store(("max timestamp", frame, 1), record + count - 1)
        for k in range(count):
            yield store(("record", frame, k), record + k)

    def reclaim(self, free: int, start: int) -> Step:
        """Mirrors LaneWriter.reclaim: waits for a free frame, and reads the results of those it frees."""
        if start - free < self.frames:
            return free
        head = yield load("head", ACQUIRE, "lane-reclaim", until=more_than(start - self.frames))
        for frame in range(free, head):
            status = yield load(("status", frame % self.frames))
            if status != APPENDED:
                raise Violated(f"the result of frame {frame} is {status!r} although the head is at {head}")
        return head

    def seal(self, start: int, count: int) -> Step:
        """Mirrors LaneWriter.seal: a word that has nothing open, behind a complete frame."""
        if count:
            start += yield from self.close_frame(start, count)
        yield store("open", Word(start, True, 0), RELEASE, "handoff-seal")

    # --- the owner ---------------------------------------------------------------------------------------------------

    def owner(self, predecessor: str) -> Thread:
        """Mirrors recovery (survey.lane_results, lane_desk._complete_results), then LaneTable and Publisher."""
        if predecessor:
            yield after(predecessor)
        log = yield own("log")
        head = yield own("head")
        cursor = log[-1].lane_pos_end if log else 0
        if is_on(self.mutation, "lane-head", "recovery goes by the head alone"):
            cursor = head
        for frame in range(head, cursor):
            yield store(("status", frame % self.frames), APPENDED)
        if cursor != head:
            yield store("head", cursor, RELEASE, "lane-head")
        while True:
            word = yield load("open", ACQUIRE, "handoff-take", until=self.is_news(cursor), over="producer")
            count = yield from self.take(cursor, word)
            if not count:
                return
            taken = yield from self.gather(cursor % self.frames, count)
            cursor += 1
            log = (*log, Batch(cursor, taken))
            yield store("log", log, RELEASE)
            yield store(("status", (cursor - 1) % self.frames), APPENDED)
            yield store("head", cursor, RELEASE, "lane-head")

    @staticmethod
    def is_news(cursor: int) -> Callable[[Word], bool]:
        """Mirrors lane_has_work (handoff.h): what ends the owner's sleep."""

        def is_news(word: Word) -> bool:
            return word.start > cursor or (word.start == cursor and word.records > 0)

        return is_news

    def take(self, cursor: int, word: Word) -> Step:
        """Mirrors lane_take (handoff.h): how many records the batch at the cursor has; 0: there is none."""
        if word.start == cursor:
            if not word.records:
                return 0
            if not word.closed:
                before = word
                word = yield update("open", lambda word: word._replace(closed=True), ACQUIRE, "handoff-close")
                if is_on(self.mutation, "handoff-close", "counts the word seen before"):
                    word = before
        if word.start == cursor:
            return word.records
        if word.start < cursor:
            return 0
        count = yield load(("count", cursor % self.frames))
        if not count:
            raise Violated(f"the closed frame {cursor} has no count")
        return count

    def gather(self, frame: int, count: int) -> Step:
        """Mirrors assemble_batch (assemble.h): the records, and the largest timestamp among them."""
        taken: tuple[int, ...] = ()
        for k in range(count):
            record = yield load(("record", frame, k))
            taken += (record,)
        latest = yield load(("max timestamp", frame, (count - 1) & 1))
        if latest != taken[-1]:
            raise Violated(f"a batch of records {taken} says that {latest} is the latest")
        return taken

    # --- what must be true -------------------------------------------------------------------------------------------

    def check(self, outcome: Outcome) -> None:
        """No accepted record lost, none twice, none out of order; at most what was on its way."""
        published = tuple(record for batch in outcome.last["log"] for record in batch.records)
        accepted = outcome.notes["producer"]
        if published != tuple(range(len(published))):
            raise Violated(f"published {published}")
        if len(published) < len(accepted):
            raise Violated(f"accepted {accepted}, published {published}")
        if len(published) > len(accepted) + ("producer" in outcome.killed) * max(self.runs):
            raise Violated(f"published {published}, accepted only {accepted}")


def one_lane(
    mutation: Mutation | None = None,
    *,
    runs: tuple[int, ...] = (1, 1, 1),
    frames: int = 2,
    per_frame: int = 2,
    kills: int = 2,
) -> Model:
    """A producer and `kills` + 1 owners in turn; all but the last owner may be killed, and the producer."""
    lane = HandOff(runs, frames, per_frame, mutation)
    owners = [f"owner {k + 1}" for k in range(kills + 1)]
    predecessors = dict(zip(owners, ["", *owners], strict=False))
    return Model(
        initial=lane.cells(),
        threads={
            "producer": lane.producer,
            **{name: partial(lane.owner, before) for name, before in predecessors.items()},
        },
        shared=frozenset({"open"}),
        private=frozenset({"log"}),
        killable=frozenset({"producer", *owners[:-1]}),
        final=lane.check,
    )

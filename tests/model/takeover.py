"""Takeover: whatever prefix of its stores a killed owner leaves, its successor completes; so does the next one.

Mirrors Publisher._gather and _publish (publish.pyx), LogEnd._write (log_end.pyx), LogKeeper.roll
(partition/log_keeper), and the recovery of opening._open_warm and LaneDesk.recover; what the index says is asked of
partition/survey itself. Only owners run, one after the other, so this is the enumeration of crash points with two
kills, in any order of lanes and groups.

Three lanes hold one complete batch each. The third is in the ring as long as the other two together, so that an entry
of a group that was never published can end where a later group does; in its lane it is longer: it is compressed.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from shmlog.errors import CorruptRecordError
from shmlog.limits import BATCH_HEADER_BYTES
from shmlog.memory.layout import FRAME_BYTES
from shmlog.partition.survey import IndexEntry, find_end, lane_results, offset_at
from tests.model.operations import RELEASE, Location, Mutation, Step, Thread, Value, Violated, after, choose, own, store
from tests.model.states import Model, Outcome

INDEX_CELLS = 4
PENDING, APPENDED = "pending", "appended"


class LaneBatch(NamedTuple):
    """What lies in a lane: its name, records and their bytes there and, compressed perhaps, in the ring."""

    name: str
    records: int
    record_bytes: int
    ring_bytes: int

    @property
    def length(self) -> int:
        return BATCH_HEADER_BYTES + self.ring_bytes

    @property
    def span(self) -> int:
        return (FRAME_BYTES + self.record_bytes + 7) & ~7


LANES = (LaneBatch("A", 1, 8, 8), LaneBatch("B", 1, 8, 8), LaneBatch("C", 3, 500, 8 + 8 + BATCH_HEADER_BYTES))
assert LANES[0].length + LANES[1].length == LANES[2].length


class Placed(NamedTuple):
    """A batch in the ring or in a file."""

    pos: int
    base_offset: int
    name: str
    length: int


class Found(NamedTuple):
    """survey.RingEnd, hashable."""

    next_offset: int
    next_seq: int
    stale_cells: tuple[int, ...]
    written_offset: int
    lanes: tuple[tuple[int, tuple[int | None, ...]], ...]


def cells() -> dict[Location, Value]:
    """A new partition with three lanes that wait for their first owner."""
    found: dict[Location, Value] = dict.fromkeys(
        ("intent", "tail", "tail offset", "written", "written offset", "hw", "turn"), 0
    )
    found |= {"ring": (), ("file", 0): (), ("file", 1): ()}
    found |= {("slot", 0): 0, ("slot position", 0): 0, ("slot", 1): 99, ("slot position", 1): 99}
    for cell in range(INDEX_CELLS):
        found |= {("seq", cell): 0, ("entry", cell): (0,) * 8}
    for slot in range(len(LANES)):
        found |= {("head", slot): 0, ("status", slot): PENDING, ("base", slot): None}
    return found


SEQS = tuple(("seq", cell) for cell in range(INDEX_CELLS))
ENTRIES = tuple(("entry", cell) for cell in range(INDEX_CELLS))
HEADS = tuple(("head", slot) for slot in range(len(LANES)))


def entries(seqs: tuple[int, ...], fields: tuple[tuple[int, ...], ...]) -> tuple[IndexEntry, ...]:
    """Mirrors survey.read_entries."""
    found = (IndexEntry(cell, seq - 1, *fields[cell]) for cell, seq in enumerate(seqs) if seq)
    return tuple(sorted(found, key=lambda entry: entry.seq))


def overwritten(ring: tuple[Placed, ...], batch: Placed) -> tuple[Placed, ...]:
    kept = (old for old in ring if old.pos + old.length <= batch.pos or old.pos >= batch.pos + batch.length)
    return (*kept, batch)


def no_look(lane_pos: int) -> int:
    """Every frame of this model is in the log: there are no duplicates."""
    raise Violated(f"recovery looks at the frame at {lane_pos}, which is not in the log")


def survey(entries: tuple[IndexEntry, ...], tail: int, written: int, heads: tuple[int, ...]) -> Found:
    """What partition/survey concludes; Violated where it finds that no kill can have left this."""
    try:
        end = find_end(entries, tail, 0, 0)
        results = [lane_results(end, slot, slot, head, no_look) for slot, head in enumerate(heads)]
        return Found(
            end.next_offset,
            end.next_seq,
            tuple(end.stale_cells),
            offset_at(end, written, tail),
            tuple((pos, tuple(frame.base_offset for frame in frames)) for pos, frames in results),
        )
    except CorruptRecordError as error:
        raise Violated(str(error)) from error


class Takeover:
    """Owners of one partition, each until everything is published and written, or it is killed."""

    def __init__(self, mutation: Mutation | None, group_lanes: int, rolls: int) -> None:
        self.mutation = mutation
        self.group_lanes = group_lanes
        self.rolls = rolls

    def is_on(self, point: str, how: str) -> bool:
        return self.mutation == Mutation(point, how)

    def owner(self, predecessor: str) -> Thread:
        if predecessor:
            yield after(predecessor)
        next_offset, next_seq = yield from self.recover()
        tail = yield own("tail")
        yield from self.write(tail, next_offset)
        while True:
            heads = yield own(*HEADS)
            waiting = tuple(slot for slot in range(len(LANES)) if not heads[slot])
            if not waiting:
                return
            if self.rolls:
                yield from self.roll(tail, next_offset)
            group = yield choose(*self.groups(waiting))
            tail, next_offset, next_seq = yield from self.publish(group, tail, next_offset, next_seq)
            yield from self.write(tail, next_offset)

    def groups(self, waiting: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Any lane may come first, and any number up to the limit go together."""
        found: list[tuple[int, ...]] = [(slot,) for slot in waiting]
        if self.group_lanes > 1:
            found += [(a, b) for a in waiting for b in waiting if a != b]
        return found

    # --- opening._open_warm, LaneDesk.recover, Publisher.settle ------------------------------------------------------

    def recover(self) -> Step:
        seqs = yield own(*SEQS)
        fields = yield own(*ENTRIES)
        heads = yield own(*HEADS)
        hw, written, tail, intent = yield own("hw", "written", "tail", "intent")
        if not hw <= written <= tail <= intent:
            raise Violated(f"watermark {hw}, written {written}, tail {tail}, intent {intent}")
        found = survey(entries(seqs, fields), tail, written, heads)
        for cell in found.stale_cells:
            yield store(("seq", cell), 0, RELEASE, "takeover-stale")
        next_offset = found.next_offset
        if self.is_on("takeover-offset", "taken from the tail's cell"):
            next_offset = yield own("tail offset")
        yield store("tail offset", next_offset, RELEASE)
        yield store("written offset", found.written_offset, RELEASE)
        for slot in range(len(LANES)):
            yield from self.complete(slot, *found.lanes[slot])
        yield store("hw", written, RELEASE)
        return next_offset, found.next_seq

    def complete(self, slot: int, published_to: int, bases: tuple[int | None, ...]) -> Step:
        """Mirrors lane_desk._complete_results."""
        head = yield own(("head", slot))
        if published_to != head and self.is_on("takeover-results", "after the head"):
            yield store(("head", slot), published_to, RELEASE)
        for base in bases:
            yield store(("base", slot), base, RELEASE)
            yield store(("status", slot), APPENDED, RELEASE)
        if published_to != head:
            yield store(("head", slot), published_to, RELEASE, "takeover-results")

    # --- Publisher ---------------------------------------------------------------------------------------------------

    def publish(self, group: tuple[int, ...], tail: int, offset: int, seq: int) -> Step:
        new_tail = tail + sum(LANES[slot].length for slot in group)
        new_offset = offset + sum(LANES[slot].records for slot in group)
        early = self.is_on("tail", "before its entries")
        intent = yield own("intent")
        if intent < new_tail and not self.is_on("ring-intent", "not raised"):
            yield store("intent", new_tail)
        batches: tuple[tuple[Placed, int], ...] = ()
        for slot in group:
            batch = Placed(tail, offset, LANES[slot].name, LANES[slot].length)
            ring = yield own("ring")
            yield store("ring", overwritten(ring, batch))
            batches += ((batch, slot),)
            tail, offset = tail + batch.length, offset + LANES[slot].records
        if early:
            yield store("tail", new_tail, RELEASE)
        for k in range(len(batches)):
            batch, slot = batches[k]
            cell = seq % INDEX_CELLS
            entry = (
                batch.pos + batch.length,
                batch.base_offset,
                batch.length,
                LANES[slot].records,
                slot,
                slot,
                LANES[slot].span,
                0,
            )
            yield store(("seq", cell), 0)
            if self.is_on("index-entry", "before its fields"):
                yield store(("seq", cell), seq + 1, RELEASE)
            yield store(("entry", cell), entry)
            seq += 1
            yield store(("seq", cell), seq, RELEASE, "index-entry")
        yield store("tail offset", new_offset)
        if not early:
            yield store("tail", new_tail, RELEASE, "tail")
        for k in range(len(batches)):
            batch, slot = batches[k]
            if self.is_on("lane-head", "before the results"):
                yield store(("head", slot), LANES[slot].span, RELEASE)
            yield store(("base", slot), batch.base_offset)
            yield store(("status", slot), APPENDED)
        for slot in group:
            yield store(("head", slot), LANES[slot].span, RELEASE, "lane-head")
        return new_tail, new_offset, seq

    def write(self, tail: int, next_offset: int) -> Step:
        """Mirrors LogEnd._write and _advance_watermark, into the segment that the turn names."""
        written = yield own("written")
        if written == tail:
            return
        if self.is_on("watermark", "before written"):
            yield store("hw", tail, RELEASE)
        if self.is_on("written", "before the bytes"):
            yield store("written", tail, RELEASE)
        ring, turn = yield own("ring", "turn")
        content, segment, base_pos = yield own(("file", turn & 1), ("slot", turn & 1), ("slot position", turn & 1))
        added = tuple(batch for batch in sorted(ring) if written <= batch.pos < tail)
        kept = tuple(batch for batch in content if batch.pos + batch.length <= written)
        if segment != (added[0].base_offset if not kept else kept[0].base_offset) or base_pos > written:
            raise Violated(f"segment {segment} from position {base_pos} gets {added} at {written}")
        yield store(("file", turn & 1), (*kept, *added))
        yield store("written offset", next_offset)
        if not self.is_on("written", "before the bytes"):
            yield store("written", tail, RELEASE, "written")
        yield store("hw", tail, RELEASE, "watermark")

    def roll(self, tail: int, next_offset: int) -> Step:
        """Mirrors LogKeeper.roll, once and only between written groups."""
        turn = yield own("turn")
        content = yield own(("file", turn & 1))
        rolls = yield choose(False, True)
        if not rolls or turn or not content:
            return
        if self.is_on("segment-turn", "before its slot"):
            yield store("turn", turn + 1, RELEASE)
        yield store(("slot", (turn + 1) & 1), next_offset, RELEASE)
        yield store(("slot position", (turn + 1) & 1), tail, RELEASE)
        if not self.is_on("segment-turn", "before its slot"):
            yield store("turn", turn + 1, RELEASE, "segment-turn")

    # --- what must be true -------------------------------------------------------------------------------------------

    def check(self, outcome: Outcome) -> None:
        """Every batch once, offsets dense, file and ring alike, every producer told the truth."""
        last = outcome.last
        log = sorted((*last["file", 0], *last["file", 1]))
        if sorted(batch.name for batch in log) != [lane.name for lane in LANES]:
            raise Violated(f"the files hold {log}")
        counts = {lane.name: lane.records for lane in LANES}
        pos = offset = 0
        for batch in log:
            if (batch.pos, batch.base_offset) != (pos, offset):
                raise Violated(f"the files hold {log}")
            pos, offset = pos + batch.length, offset + counts[batch.name]
        if last["ring"] != tuple(log) or (last["tail"], last["written"], last["hw"]) != (pos, pos, pos):
            raise Violated(f"files {log}, ring {last['ring']}, tail {last['tail']}")
        if last["tail offset"] != offset or last["written offset"] != offset:
            raise Violated(f"the log ends at {offset}, the page says {last['tail offset']}, {last['written offset']}")
        for slot, lane in enumerate(LANES):
            told = last["status", slot], last["base", slot]
            if told != (APPENDED, next(batch.base_offset for batch in log if batch.name == lane.name)):
                raise Violated(f"the producer of {lane.name} is told {told}, the files hold {log}")


def owners(mutation: Mutation | None = None, *, kills: int = 2, group_lanes: int = 2, rolls: int = 1) -> Model:
    """`kills` owners that may be killed at every store, one after the other, and a last one that finishes."""
    takeover = Takeover(mutation, group_lanes, rolls)
    names = [f"owner {k + 1}" for k in range(kills + 1)]
    predecessors = dict(zip(names, ["", *names], strict=False))
    return Model(
        initial=cells(),
        threads={name: partial(takeover.owner, before) for name, before in predecessors.items()},
        private=frozenset(cells()),
        killable=frozenset(names[:-1]),
        final=takeover.check,
    )

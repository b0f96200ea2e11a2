"""What must hold whatever a kill has left, once a successor runs (shared-memory design, section 8)."""

from __future__ import annotations

import os
import struct
from itertools import pairwise, takewhile

from shmlog.errors import CorruptRecordError
from shmlog.log.checkpoint import read_clean_shutdown, read_leader_epochs, read_recovery_point, read_topic_id
from shmlog.log.dump import BatchRow, dump_log, dump_offset_index, verify
from shmlog.log.log_reader import open_log
from shmlog.log.segment import DELETED_SUFFIX, LOG_SUFFIX, list_base_offsets, segment_path
from shmlog.log.storage import OsStorage
from shmlog.log.swap import NOTE
from shmlog.memory import layout, names, region
from shmlog.memory.layout import LaneState
from shmlog.partition.survey import IndexEntry, read_entries
from tests.crash.points.roles import CLIENT_ID, OwnerRole, name_and_number
from tests.crash.points.world import PARTITION_ID, Cells, Party, World

_CHECKPOINTS = {
    "partition.metadata",
    "leader-epoch-checkpoint",
    "recovery-point",
    "high-watermark",
    "log-start-offset",
    "clean-shutdown",
    "compaction-checkpoint",
}
_SUFFIXES = (".log", ".index", ".timeindex", ".snapshot", DELETED_SUFFIX)


def check_index_files(world: World) -> None:
    """Right after a kill: whatever reads the files then finds no entry for a batch that is not there."""
    if (world.directory / NOTE).exists():
        return  # a log may have its new file and its old indexes: readers look at each entry, and an opening goes on
    for path in world.directory.glob("*.index"):
        if not path.with_suffix(".log").exists():
            continue  # its segment is being deleted: nobody looks at it
        ends = {row.header.last_offset: row.position for row in sound_batches(str(path.with_suffix(".log")))}
        for entry in dump_offset_index(str(path)):
            assert ends.get(entry.offset) == entry.position, f"{path.name} names {entry}, where no batch is"


def check_recovered(rig: OwnerRole, before: Cells | None) -> None:
    """Right after a recovery: `rig` has published what there was, and nobody has done anything since.

    `before`: the control page after the kill; None where it did not survive.
    """
    cells = Cells.of(rig.control)
    cells.check()
    if before is not None:
        cells.check_follows(before)
    assert cells.hw == cells.written == cells.tail, f"nothing will move these any more: {cells}"
    check_producer_state(rig)


def check_log(world: World, rig: OwnerRole, *, lanes_survive: bool) -> None:
    """What is in the log, in ring, segments and memory, after the survivors went on."""
    cells = Cells.of(rig.control)
    cells.check()
    check_records(world, rig, lanes_survive=lanes_survive)
    check_lanes(world, rig)
    check_files(world, rig)
    check_largest_timestamps(world, rig)
    check_ring(rig)
    check_ring_equals_segments(world, rig)
    check_producer_state(rig)
    check_samples(rig)
    check_nothing_is_left_over(world, rig)


def check_samples(rig: OwnerRole) -> None:
    """Whatever is in the ring of samples is whole: its number is of its place, its times are in their order."""
    words = struct.Struct(f"<{layout.TRACE_WORDS}Q")
    ring = rig.control.mapping.read(layout.CTL_TRACE, layout.TRACE_ENTRIES * words.size)
    for place, (seq, offset, *times, _) in enumerate(words.iter_unpack(ring)):
        if seq:
            assert (seq - 1) % layout.TRACE_ENTRIES == place, f"sample {seq - 1} is in place {place}"
            assert times == sorted(times), f"sample {seq - 1} has times {times}"
            assert times[0] > 0
            assert offset < rig.control.high_watermark, f"sample {seq - 1} is of offset {offset}, which is not there"


def check_records(world: World, rig: OwnerRole, *, lanes_survive: bool) -> None:
    """Dense but for what compaction has removed, each once, in the order of their lanes, and all that was accepted."""
    start = rig.control.log_start_offset
    records = rig.read_all(start)
    offsets = [record.offset for record in records]
    missing = set(range(start, rig.publisher.tail_offset)) - set(offsets)
    assert offsets == sorted(set(offsets)), offsets
    assert missing <= world.removable, f"{missing - world.removable} are missing in {offsets}"
    there = {record.offset: record.value for record in records}
    for record in world.seen:
        assert record.offset < start or record.offset in missing or there.get(record.offset) == record.value, (
            f"a consumer was given {record.value!r} at {record.offset}, where {there.get(record.offset)!r} is now"
        )
    told = {offset: name_and_number(value) for offset, value in there.items()}
    told |= {offset: world.compacted[-1][offset] for offset in missing}
    numbers: dict[int, list[int]] = {party.name: [] for party in world.parties}
    for _, (name, number) in sorted(told.items()):
        numbers[name].append(number)
    for name, found in numbers.items():
        namesakes = [party for party in world.parties if party.name == name]
        check_lane_order(namesakes, found, start=start, all_of_it=lanes_survive)
    check_acknowledgements(world, told, start, all_settled=lanes_survive)


def check_lane_order(parties: list[Party], found: list[int], *, start: int, all_of_it: bool) -> None:
    accepted = max(party.accepted_for_good for party in parties)
    intended = max(party.intended_for_good for party in parties)
    what = f"lane {parties[0].name}: accepted {accepted}, begun {intended}, published {found}"
    assert all(later == earlier + 1 for earlier, later in pairwise(found)), what
    assert not found or found[-1] < intended, what
    assert not found or found[0] == 0 or start > 0, what
    if all_of_it and (start == 0 or found):
        assert accepted <= (found[-1] + 1 if found else 0), what


def check_acknowledgements(world: World, there: dict[int, tuple[int, int]], start: int, *, all_settled: bool) -> None:
    """What a survivor was told is true; and if the lanes are still there, he is told of everything."""
    for party in world.parties:
        if party.role is None:
            continue
        party.role.reclaim()
        for number, delivery in party.role.deliveries.items():
            what = f"record {number} of lane {party.name}"
            if party.refused_from is not None and number >= party.refused_from:
                assert not delivery.done or delivery.error is not None, f"{what} was acknowledged, but must be refused"
                continue
            if not delivery.done and not all_settled:
                continue
            assert delivery.done, f"{what} has no outcome"
            assert delivery.error is None, f"{what} failed: {delivery.error}"
            offset = delivery.result().offset
            assert -1 <= offset < start or there.get(offset) == (party.name, number), (
                f"{what} was acknowledged at offset {offset}, where {there.get(offset)} is"
            )


def check_lanes(world: World, rig: OwnerRole) -> None:
    """The terms of each lane are those that it was granted for; whoever dies now is drained; the slots of the lanes
    that are gone are free."""
    attached = rig.publisher.lane_ids()
    table = {lane.lane_id: lane.terms for lane in rig.control.lanes()}
    assert table == {lane_id: world.terms[lane_id] for lane_id in attached}, (table, attached)
    for party in world.parties:
        state = lane_state(rig.tag, party.lane_id)
        assert state != LaneState.QUARANTINED, f"lane {party.name} holds nonsense, though its producer was only killed"
        if party.lane_id in attached and party.refused_from is None:
            rig.close_lane(party.lane_id)
            assert party.lane_id not in rig.publisher.lane_ids(), f"lane {party.name} is not drained"
    assert {lane.lane_id for lane in rig.control.lanes()} == set(rig.publisher.lane_ids())


def lane_state(tag: str, lane_id: int) -> LaneState | None:
    try:
        mapping = region.open_region(names.lane(tag, lane_id))
    except (FileNotFoundError, CorruptRecordError):
        return None  # lost with the machine, or its maker was killed
    try:
        return LaneState(mapping.load(layout.LANE_STATE))
    finally:
        mapping.close()


def check_files(world: World, rig: OwnerRole) -> None:
    """Sound batches, indexes that their logs bear out, snapshots and checkpoints that can be read and are true."""
    directory = str(world.directory)
    for name in sorted(os.listdir(directory)):
        assert name in _CHECKPOINTS or name.endswith(_SUFFIXES), f"{name} was left over"
        if name.endswith(_SUFFIXES) and not name.endswith(DELETED_SUFFIX):
            verdict = verify(os.path.join(directory, name))
            assert verdict.sound, verdict.summary
    storage = OsStorage()
    assert read_topic_id(storage, directory) == rig.spec.topic_id
    assert read_recovery_point(storage, directory) <= rig.publisher.tail_offset
    assert read_clean_shutdown(storage, directory) is None
    rows = batches(directory)
    for row, after in pairwise(rows):
        assert row.header.next_offset <= after.header.base_offset, (row, after)
        assert set(range(row.header.next_offset, after.header.base_offset)) <= world.removable, (row, after)
    check_compacted(world, rig)
    told = [row for row in rows if row.header.producer_id >= 0]
    sequences = [(row.header.producer_id, row.header.producer_epoch, row.header.base_sequence) for row in told]
    assert len(sequences) == len(set(sequences)), f"a sequence number twice: {sequences}"
    epochs = read_leader_epochs(storage, directory)
    assert epochs[-1].epoch == rig.spec.leader_epoch, epochs
    for row in rows:
        of_offset = [start.epoch for start in epochs if start.start_offset <= row.header.base_offset][-1:]
        assert [row.header.leader_epoch] == of_offset or row.header.leader_epoch < epochs[0].epoch, (
            f"offset {row.header.base_offset} was written under epoch {row.header.leader_epoch}, not as in {epochs}"
        )


def check_compacted(world: World, rig: OwnerRole) -> None:
    """The files are without all records that a cleaning has removed, or they have all of them."""
    start = rig.control.log_start_offset
    there = {record.offset for record in open_log(str(world.directory)).records()}
    missing = set(range(start, rig.publisher.tail_offset)) - there
    expected = [{offset for offset in removed if offset >= start} for removed in world.compacted]
    assert missing in expected, f"{missing} are missing, and it should be one of {expected}"


def check_largest_timestamps(world: World, rig: OwnerRole) -> None:
    """What a batch says is its largest timestamp: seeks by time and retention go by it."""
    start = rig.control.log_start_offset
    timestamps = {record.offset: record.timestamp_ms for record in rig.read_all(start)}
    for row in batches(str(world.directory)):
        header = row.header
        if header.base_offset < start:
            continue
        there = [timestamps[k] for k in range(header.base_offset, header.next_offset) if k not in world.removable]
        if not there:
            continue  # all of its records are removed, or will be; it tells of its producer
        largest = max(there)
        assert header.max_timestamp_ms == largest, (
            f"the batch at {header.base_offset} says {header.max_timestamp_ms}, its records {largest}"
        )


def index_entries(rig: OwnerRole) -> list[IndexEntry]:
    index = region.open_region(names.index(rig.tag, PARTITION_ID, rig.control.generation))
    try:
        return read_entries(index.read(0, index.size_bytes))
    finally:
        index.close()


def check_ring(rig: OwnerRole) -> None:
    """The page describes the ring that is in force; what a reader may believe of its index, because it ends in front of
    the tail, is a chain."""
    assert (rig.control.ring_bytes, rig.control.index_entries) == (rig.publisher.capacity, rig.publisher.index_entries)
    entries = [entry for entry in index_entries(rig) if entry.pos_end <= rig.publisher.tail_pos]
    for earlier, later in pairwise(entries):
        assert later.seq == earlier.seq + 1, "the index has a hole"
        assert later.pos == earlier.pos_end, "positions of the ring are not contiguous"
        assert later.base_offset == earlier.next_offset, "offsets of the ring are not dense"
    if entries:
        assert entries[-1].pos_end == rig.publisher.tail_pos, "the last index entry does not end at the tail"


def check_ring_equals_segments(world: World, rig: OwnerRole) -> None:
    entries = index_entries(rig)
    intent, capacity = rig.control.mapping.load(layout.CTL_INTENT_POS), rig.publisher.capacity
    in_files = {}
    for base in list_base_offsets(OsStorage(), str(rig.directory)):
        path = segment_path(str(rig.directory), base, LOG_SUFFIX)
        with open(path, "rb") as file:
            data = file.read()
        for row in dump_log(path):
            assert isinstance(row, BatchRow)
            in_files[row.header.base_offset] = data[row.position : row.position + row.header.size_bytes]
    for entry in entries:
        if not world.removable.isdisjoint(range(entry.base_offset, entry.next_offset)):
            continue  # in the files it may be without them
        if intent - entry.pos <= capacity and entry.base_offset in in_files:
            in_ring = rig.publisher.ring_bytes_between(entry.pos, entry.pos_end)
            assert in_ring == in_files[entry.base_offset], f"ring and segment differ at offset {entry.base_offset}"


def check_producer_state(rig: OwnerRole) -> None:
    """The owner remembers of every producer the last batch that is in the log."""
    last = {}
    for row in batches(str(rig.directory)):
        header = row.header
        if header.producer_id >= 0:
            last[header.producer_id] = (header.producer_epoch, header.last_sequence, header.last_offset)
    known = {entry.producer_id: entry for entry in rig.keeper.producers()}
    for producer_id, expected in last.items():
        entry = known.get(producer_id)
        assert entry is not None, f"producer {producer_id} is forgotten"
        assert (entry.producer_epoch, entry.last_sequence, entry.last_offset) == expected, (
            producer_id,
            entry,
            expected,
        )


def check_nothing_is_left_over(world: World, rig: OwnerRole) -> None:
    generation = rig.control.generation
    wanted = {
        names.control_page(rig.tag, PARTITION_ID),
        names.bell(rig.tag, PARTITION_ID),
        names.ring(rig.tag, PARTITION_ID, generation),
        names.index(rig.tag, PARTITION_ID, generation),
        names.client(rig.tag, CLIENT_ID),
        *world.replicas.regions(),
    }
    there = {name for name, _ in region.list_regions(rig.tag)}
    lanes = {names.lane(rig.tag, lane_id) for lane_id in range(1, world.lanes_made + 1)}  # the supervisor's
    assert there - lanes == wanted, f"left over: {there - lanes - wanted}; missing: {wanted - there}"


def sound_batches(path: str) -> list[BatchRow]:
    """The batches of a file up to the first that is not whole."""
    return [
        row for row in takewhile(lambda row: isinstance(row, BatchRow), dump_log(path)) if isinstance(row, BatchRow)
    ]


def batches(directory: str) -> list[BatchRow]:
    """All batches of the log, in order."""
    rows: list[BatchRow] = []
    for base in list_base_offsets(OsStorage(), directory):
        for row in dump_log(segment_path(directory, base, LOG_SUFFIX)):
            assert isinstance(row, BatchRow), row
            rows.append(row)
    return rows

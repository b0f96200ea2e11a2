"""A successor over what a dead owner left: ring, lanes and files, wherever the owner stood."""

from __future__ import annotations

import struct
from pathlib import Path

from shmlog.log.checkpoint import EpochStart, read_leader_epochs
from shmlog.log.storage import OsStorage
from shmlog.memory import layout, names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.memory.layout import OwnerState
from shmlog.partition.regeneration import grow_ring
from shmlog.partition.ring_regions import make_ring
from shmlog.testing.partition_rig import TOPIC_NAME, Rig, open_rig


def test_what_was_accepted_but_not_taken_is_delivered_by_the_successor(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    rig.take_over(1)
    rig.run()
    assert rig.values() == [b"1", b"2"]


def test_a_batch_that_the_dead_owner_closed_but_did_not_publish_is_taken(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    word = lane.mapping.load(layout.LANE_OPEN)
    lane.mapping.store(layout.LANE_OPEN, word | 1 << 38)  # died between its fetch_or and the tail
    rig.take_over(1)
    rig.run()
    assert rig.values() == [b"1", b"2"]
    lane.send_all(b"3")
    rig.run()
    assert rig.values() == [b"1", b"2", b"3"]


def test_a_batch_that_is_published_is_not_taken_again_though_its_lanes_head_did_not_move(rig: Rig) -> None:
    lane = rig.lane(producer_id=-1)  # without idempotence, which would hide a second taking
    first = lane.send(TOPIC_NAME, b"1")
    rig.run()
    lane.mapping.store(layout.LANE_HEAD, 0)  # died between the tail and the frame's result
    lane.mapping.write(layout.LANE_DATA + layout.FRAME_STATUS, bytes(24))
    rig.take_over(1)
    rig.run()
    assert first.result().offset == 0
    assert rig.values() == [b"1"]


def test_what_was_published_but_not_written_is_written_at_its_place(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1")
    rig.run()
    size = rig.publisher.written_pos
    lane.send_all(b"2")
    rig.run()
    page = rig.control.mapping  # died before the pwrite of the second batch
    page.store(layout.CTL_WRITTEN_POS, size)
    page.store(layout.CTL_HW_POS, size)
    page.store(layout.CTL_HW_OFFSET, 1)
    path = rig.directory / f"{0:020d}.log"
    whole = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(size + 7)  # the pwrite itself may have been torn
    rig.take_over(1)
    rig.run()
    assert path.read_bytes() == whole
    assert rig.values() == [b"1", b"2"]


def test_a_torn_tail_is_read_from_the_index_and_not_from_the_offset_cell(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1")
    rig.run()
    rig.control.mapping.store(layout.CTL_TAIL_OFFSET, 99)  # the offset cell of a group whose position never came
    rig.take_over(1)
    lane.send_all(b"2")
    rig.run()
    assert [record.offset for record in rig.read_all()] == [0, 1]


def test_index_entries_of_a_group_that_was_not_published_are_erased(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1")
    rig.run()
    index = region.open_region(names.index(rig.tag, 1, rig.control.generation), writable=True)
    tail = rig.publisher.tail_pos
    index.write(layout.IDX_ENTRY_BYTES, struct.pack("<QQQIIIIQQQ", 2, tail + 500, 1, 500, 40, 0, 1, 4096, 0, 0))
    rig.take_over(1)
    assert index.load(layout.IDX_ENTRY_BYTES) == 0
    lane.send_all(b"2")
    rig.run()
    assert rig.values() == [b"1", b"2"]


def test_a_lane_that_was_closing_goes_on_closing(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1")
    rig.desk.begin_close(1, "closed")
    rig.take_over(1)
    rig.run()
    assert [lane_id for lane_id, _, _ in rig.desk.drained()] == [1]
    assert rig.values() == [b"1"]
    assert lane.writer.state == layout.LaneState.CLOSED


def test_nothing_is_taken_from_a_lane_that_was_already_closed(rig: Rig) -> None:
    lane = rig.lane()
    lane.mapping.store(layout.LANE_STATE, layout.LaneState.CLOSED)  # died before it freed the lane's slot
    word_of_one_record = (64 + 8) << 18 | 1
    lane.mapping.store(layout.LANE_OPEN, word_of_one_record)  # its producer carries this one into another lane
    rig.take_over(1)
    rig.run()
    assert rig.values() == []
    assert [lane_id for lane_id, _, _ in rig.desk.drained()] == [1]


def test_duplicates_are_recognised_across_a_takeover(rig: Rig) -> None:
    lane = rig.lane()
    for k in range(20):
        lane.send_all(b"%d" % k)
        rig.run()
    rig.take_over(1)
    again = rig.lane(sequence=19)
    delivery = again.send(TOPIC_NAME, b"19")
    rig.run()
    assert delivery.result().offset == 19
    assert len(rig.values()) == 20


def test_a_wrapped_ring_is_taken_over(tmp_path: Path) -> None:
    config = {"max.message.bytes": "65536", "segment.bytes": "1048576"}
    with open_rig(tmp_path / "flights-0", config) as rig:
        lane = rig.lane()
        sent = 0
        for epoch in range(1, 6):
            for _ in range(900):
                lane.send_all(b"%06d" % sent + bytes(600))
                sent += 1
                if sent % 40 == 0:
                    rig.run()
            rig.take_over(epoch)
        rig.run()
        assert rig.publisher.tail_pos > 2 * rig.publisher.capacity
        assert [int(value[:6]) for value in rig.values()] == list(range(sent))


def test_a_roll_whose_new_segment_never_got_a_byte_is_done_again(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "segment.bytes": "1048576"}) as rig:
        lane = rig.lane()
        for k in range(300):
            lane.send_all(b"%06d" % k + bytes(200))
        rig.run()
        (rig.directory / f"{10**9:020d}.log").touch()  # created, but not yet named in the ctl region
        rig.take_over(1)
        lane.send_all(b"%06d" % 300)
        rig.run()
        assert [int(value[:6]) for value in rig.values()] == list(range(301))
        assert not (rig.directory / f"{10**9:020d}.log").exists()


def test_without_the_ring_the_segments_are_recovered_and_readers_attach_again(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    rig.run()
    reader = rig.reader()
    assert len(reader.fetch(1 << 20)) == 2
    for name, _ in region.list_regions(rig.tag):
        if ".ring." in name:
            region.unlink(name)
    old_page = rig.control.mapping
    rig.take_over(1)
    assert old_page.load(layout.CTL_STATE) == OwnerState.REPLACED
    assert rig.values() == [b"1", b"2"]
    rig.lane(producer_id=8).send_all(b"3")
    rig.run()
    found = [record.value for _ in range(3) for record in reader.fetch(1 << 20)]
    assert found == [b"3"]


def test_a_larger_ring_is_opened_under_way_and_readers_follow(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    rig.run()
    reader = rig.reader()
    assert len(reader.fetch(1 << 20)) == 2
    grow_ring(rig.spec, 4_000_000, rig.control, rig.publisher)
    lane.send_all(b"3")
    rig.run()
    assert [record.value for _ in range(3) for record in reader.fetch(1 << 20)] == [b"3"]
    rig.take_over(1)
    lane.send_all(b"4")
    rig.run()
    assert rig.values() == [b"1", b"2", b"3", b"4"]


def test_a_successors_epoch_begins_behind_what_it_has_yet_to_write(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_all(b"1", b"2")
    rig.run()
    page = rig.control.mapping
    for cell in (layout.CTL_WRITTEN_POS, layout.CTL_HW_POS, layout.CTL_HW_OFFSET):  # died before the first pwrite
        page.store(cell, 0)
    (rig.directory / f"{0:020d}.log").write_bytes(b"")
    rig.take_over(1)
    assert read_leader_epochs(OsStorage(), str(rig.directory)) == [EpochStart(0, 0), EpochStart(1, 2)]
    rig.take_over(2)  # nothing was published under epoch 1, and what epoch 0 published is still to be written
    assert read_leader_epochs(OsStorage(), str(rig.directory)) == [EpochStart(0, 0), EpochStart(2, 2)]


def test_a_ring_that_never_came_into_force_leaves_nothing(rig: Rig) -> None:
    page, generation = rig.control.mapping, rig.control.generation
    ring, index = make_ring(rig.spec, 2 * rig.publisher.capacity, generation + 1)
    page.store(layout.CTL_RING_CAPACITY, ring.size_bytes)  # died before it stored the generation
    page.store(layout.CTL_INDEX_ENTRIES, index.size_bytes // layout.IDX_ENTRY_BYTES)
    rig.lane().send_all(b"1")
    rig.take_over(1)
    rig.run()
    assert rig.values() == [b"1"]
    assert (rig.control.ring_bytes, rig.control.index_entries) == (rig.publisher.capacity, rig.publisher.index_entries)
    assert not region.exists(names.ring(rig.tag, 1, generation + 1))
    assert not region.exists(names.index(rig.tag, 1, generation + 1))


def test_a_ring_that_its_owner_did_not_get_to_remove_is_removed_by_the_successor(rig: Rig) -> None:
    old = rig.control.generation
    grow_ring(rig.spec, 4_000_000, rig.control, rig.publisher)
    for name in (names.ring(rig.tag, 1, old), names.index(rig.tag, 1, old)):
        region.create(name, 4096)
    rig.take_over(1)
    rings = {name for name, _ in region.list_regions(rig.tag) if ".ring." in name or ".idx." in name}
    assert rings == {names.ring(rig.tag, 1, old + 1), names.index(rig.tag, 1, old + 1)}


def test_records_whose_sync_was_the_dead_owners_last_act_become_visible(tmp_path: Path) -> None:
    with open_rig(tmp_path / "flights-0", {"max.message.bytes": "65536", "flush.messages": "1"}) as rig:
        lane = rig.lane()
        delivery = lane.send(TOPIC_NAME, b"1")
        rig.run()
        page = rig.control.mapping
        page.store(layout.CTL_HW_POS, 0)  # died between the sync and the watermark
        page.store(layout.CTL_HW_OFFSET, 0)
        rig.take_over(1)
        rig.run()
        assert rig.values() == [b"1"]
        assert delivery.result().offset == 0


def test_every_duplicate_of_a_group_that_the_dead_owner_published_has_its_true_offset(rig: Rig) -> None:
    first = rig.lane()
    for value in (b"0", b"1", b"2"):
        first.send_all(value)
        first.writer.seal()
    rig.run()
    again = rig.lane(sequence=1)
    deliveries = []
    for value in (b"1", b"2", b"3"):  # two that are there, then one that is new
        deliveries.append(again.send(TOPIC_NAME, value))
        again.writer.seal()
    span = (again.mapping.load(layout.LANE_DATA) & 0xFFFFFFFF) + 7 & ~7
    rig.run()
    again.mapping.store(layout.LANE_HEAD, 0)  # died between the tail and the frames' results
    for k in range(3):
        again.mapping.write(layout.LANE_DATA + k * span + layout.FRAME_STATUS, bytes(24))
    rig.take_over(1)
    rig.run()
    assert [delivery.result().offset for delivery in deliveries] == [1, 2, 3]
    assert rig.values() == [b"0", b"1", b"2", b"3"]


def test_a_client_that_a_successor_gets_to_know_is_rung(rig: Rig) -> None:
    create_client_region(names.client(rig.tag, 5), client_id=5, mode=0o600)
    client = ClientRegion.open(names.client(rig.tag, 5))
    assert client.doorbell is not None
    ticket = client.doorbell.prepare()  # asleep since before its owner died
    rig.take_over(1)
    rig.publisher.attach_client(5, client.mapping)
    assert client.doorbell.wait(ticket, 10.0), "it slept on, past what the successor had made visible"

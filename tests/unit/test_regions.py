"""Regions are made whole or not at all, belong to whom they should, and say what they are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from shmlog.cli.memory import cells_of, list_all
from shmlog.errors import CorruptRecordError, ShmBudgetExceededError
from shmlog.limits import LANE_BATCHES_MIN, MAX_MESSAGE_BYTES_DEFAULT, PAGE_BYTES
from shmlog.memory import bell, lane, layout, names, region
from shmlog.memory.client_region import ClientRegion, create_client_region
from shmlog.memory.control_page import ControlPage, LaneSlot
from shmlog.memory.layout import ReplicaState
from shmlog.memory.replica_region import ReplicaRegion

_numbers = itertools.count()


@pytest.fixture
def tag() -> Iterator[str]:
    """A cluster's tag that nobody else has; its regions are removed afterwards."""
    tag = names.cluster_tag(f"test {next(_numbers)}", str(os.getpid()))
    yield tag
    region.sweep(tag)


# --- making and removing ----------------------------------------------------------------------------------------------


def test_a_new_region_is_zeroed_and_has_its_size(tag: str) -> None:
    name = names.bell(tag, 1)
    region.create(name, 2 * PAGE_BYTES)
    mapping = region.open_region(name)
    assert mapping.size_bytes == 2 * PAGE_BYTES
    assert mapping.read(0, 2 * PAGE_BYTES) == bytes(2 * PAGE_BYTES)
    assert not mapping.writable


def test_a_name_that_exists_is_not_taken_over(tag: str) -> None:
    name = names.bell(tag, 1)
    region.create(name, PAGE_BYTES)
    region.open_region(name, writable=True).store(0, 7)
    with pytest.raises(FileExistsError):
        region.create(name, PAGE_BYTES)
    assert region.open_region(name).load(0) == 7


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_permissions_are_those_asked_for_whatever_the_umask(tag: str, mode: int) -> None:
    name = names.bell(tag, 1)
    before = os.umask(0o077)
    try:
        region.create(name, PAGE_BYTES, mode=mode, group=os.getgid())
    finally:
        os.umask(before)
    status = os.stat(region.SHM_DIRECTORY + name)
    assert status.st_mode & 0o777 == mode
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


def test_memory_is_taken_at_once_so_that_a_full_mount_is_an_error_with_figures_and_leaves_nothing(tag: str) -> None:
    name = names.bell(tag, 1)
    status = os.statvfs(region.SHM_DIRECTORY)
    too_much = status.f_blocks * status.f_frsize + PAGE_BYTES
    with pytest.raises(ShmBudgetExceededError, match=rf"{too_much} bytes .* are free in /dev/shm; enlarge it"):
        region.create(name, too_much)
    assert not region.exists(name)


def test_a_region_that_is_not_there_is_named(tag: str) -> None:
    with pytest.raises(FileNotFoundError, match=names.bell(tag, 1)):
        region.open_region(names.bell(tag, 1))


def test_a_symbolic_link_is_not_followed(tag: str) -> None:
    region.create(names.bell(tag, 1), PAGE_BYTES)
    os.symlink(region.SHM_DIRECTORY + names.bell(tag, 1), region.SHM_DIRECTORY + names.bell(tag, 2))
    with pytest.raises(OSError, match="symbolic links"):
        region.open_region(names.bell(tag, 2))


def test_what_is_mapped_outlives_its_name(tag: str) -> None:
    name = names.bell(tag, 1)
    region.create(name, PAGE_BYTES)
    mapping = region.open_region(name, writable=True)
    region.unlink(name)
    region.unlink(name)
    mapping.store(0, 9)
    assert mapping.load(0) == 9
    assert not region.exists(name)


def test_a_sweep_removes_the_regions_of_one_cluster_only(tag: str) -> None:
    other = names.cluster_tag("another", str(os.getpid()))
    mine = [names.bell(tag, 1), names.lane(tag, 22), names.ring(tag, 1, 3)]
    try:
        for name in [*mine, names.bell(other, 1)]:
            region.create(name, PAGE_BYTES)
        assert region.list_regions(tag) == [(name, PAGE_BYTES) for name in sorted(mine)]
        assert region.sweep(tag) == sorted(mine)
        assert region.list_regions(tag) == []
        assert region.exists(names.bell(other, 1))
    finally:
        region.sweep(other)


def test_names_are_short_enough_for_any_number(tag: str) -> None:
    largest = 2**63 - 1
    assert len(names.ring(tag, largest, largest)) < 64


def test_the_tag_differs_by_cluster_and_by_runtime_directory() -> None:
    tags = {names.cluster_tag(cluster, place) for cluster in ("a", "b") for place in ("/x", "/y")}
    assert len(tags) == 4
    assert all(len(tag) == 8 for tag in tags)


# --- what is in them --------------------------------------------------------------------------------------------------


def test_a_client_shows_where_it_reads(tag: str) -> None:
    create_client_region(names.client(tag, 5), client_id=5, mode=0o600)
    client, other = ClientRegion.open(names.client(tag, 5)), ClientRegion.open(names.client(tag, 5), writable=False)
    first, second = client.claim_slot(0), client.claim_slot(8)
    first.store_position(17)
    second.store_position(2**40)
    assert other.positions() == [(0, 17), (8, 2**40)]
    first.release()
    assert other.positions() == [(8, 2**40)]
    assert client.claim_slot(3) is not None
    assert other.positions() == [(3, 0), (8, 2**40)]
    assert other.doorbell is None


def test_a_client_that_reads_too_many_partitions_is_told_how_many_it_may(tag: str) -> None:
    create_client_region(names.client(tag, 5), client_id=5, mode=0o600)
    client = ClientRegion.open(names.client(tag, 5))
    for partition_id in range(layout.CLIENT_SLOT_COUNT):
        client.claim_slot(partition_id)
    with pytest.raises(ShmBudgetExceededError, match=str(layout.CLIENT_SLOT_COUNT)):
        client.claim_slot(1)


def test_a_region_of_another_kind_is_not_taken_for_a_client_region(tag: str) -> None:
    bell.create_bell(tag, 1, mode=0o600)
    os.rename(region.SHM_DIRECTORY + names.bell(tag, 1), region.SHM_DIRECTORY + names.client(tag, 5))
    with pytest.raises(CorruptRecordError, match=names.client(tag, 5)):
        ClientRegion.open(names.client(tag, 5))


def test_a_bell_is_rung_through_its_region(tag: str) -> None:
    bell.create_bell(tag, 1, mode=0o600)
    owner, client = bell.open_bell(tag, 1), bell.open_bell(tag, 1)
    ticket = owner.prepare()
    assert client.ring()
    assert owner.wait(ticket, 10.0)


def test_a_new_control_page_says_that_its_owner_is_starting_and_nothing_else(tag: str) -> None:
    ControlPage.create(tag, 4, bytes(range(16)), mode=0o600, group=None)
    page = ControlPage.open(tag, 4)
    assert page.state == layout.OwnerState.STARTING
    assert (page.generation, page.high_watermark, page.log_end_offset, page.error_text) == (0, 0, 0, "")
    assert page.header.owner_uuid == bytes(range(16))
    assert page.lanes() == []
    assert set(page.counters().values()) == {0}
    assert not page.mapping.writable


def test_a_control_page_of_another_partition_is_refused(tag: str) -> None:
    ControlPage.create(tag, 4, bytes(16), mode=0o600, group=None)
    os.rename(region.SHM_DIRECTORY + names.control_page(tag, 4), region.SHM_DIRECTORY + names.control_page(tag, 5))
    with pytest.raises(CorruptRecordError, match="is of partition 4"):
        ControlPage.open(tag, 5)


@pytest.mark.parametrize("text", ["", "disk full", "ä" * 1000, "x" * 509 + "ä"])
def test_an_error_text_is_read_as_far_as_there_is_room(tag: str, text: str) -> None:
    page = ControlPage.create(tag, 4, bytes(16), mode=0o600, group=None)
    page.store_error_text(text)
    read = ControlPage.open(tag, 4).error_text
    assert text.startswith(read.rstrip("\ufffd"))
    assert len(read.encode(errors="replace")) >= min(len(text.encode()), 500)


def test_a_lane_begins_with_nothing_open_and_says_nothing_about_its_producer(tag: str) -> None:
    data_bytes = lane.lane_data_bytes(5000)
    lane.create_lane(names.lane(tag, 9), lane_id=9, data_bytes=data_bytes, linger_us=1500, mode=0o600)

    mapping = lane.open_lane(names.lane(tag, 9), data_bytes)

    assert mapping.load(layout.LANE_OPEN) == lane.OPEN_CLOSED
    assert mapping.load(layout.LANE_LINGER_US) == 1500
    assert len(memoryview(mapping)) == layout.LANE_DATA + 2 * data_bytes
    used = {layout.LANE_OPEN, layout.LANE_LINGER_US}
    cells = range(layout.HEADER_BYTES + (-layout.HEADER_BYTES % 8), layout.LANE_DATA, 8)
    assert {cell for cell in cells if mapping.load(cell)} == used


@pytest.mark.parametrize("pages", [-1, 1])
def test_a_lane_that_was_cut_or_stretched_is_not_mapped(tag: str, pages: int) -> None:
    data_bytes = lane.lane_data_bytes(5000)
    lane.create_lane(names.lane(tag, 9), lane_id=9, data_bytes=data_bytes, linger_us=0, mode=0o600)
    os.truncate(region.SHM_DIRECTORY + names.lane(tag, 9), layout.LANE_DATA + data_bytes + pages * PAGE_BYTES)
    with pytest.raises(CorruptRecordError, match=f"granted with {data_bytes} bytes of data and has"):
        lane.open_lane(names.lane(tag, 9), data_bytes)


def test_the_lane_table_keeps_what_a_lane_was_granted_for(tag: str) -> None:
    page = ControlPage.create(tag, 4, bytes(16), mode=0o600, group=None)
    terms = lane.LaneTerms(2**40, 2**62, 32_766, 33_554_432, 67_108_864)
    page.store_terms(1023, terms)
    assert page.lanes() == [], "until its id is stored, a slot is free"
    page.mapping.store(layout.CTL_LANES + 1023 * layout.CTL_LANE_SLOT_BYTES, 9)
    assert ControlPage.open(tag, 4).lanes() == [LaneSlot(1023, 9, terms)]
    page.free_slot(1023)
    assert page.lanes() == []


@pytest.mark.parametrize("max_batch_bytes", [1024, MAX_MESSAGE_BYTES_DEFAULT, 64 * 1024 * 1024])
def test_a_lane_has_room_for_two_of_the_largest_batches(max_batch_bytes: int) -> None:
    data_bytes = lane.lane_data_bytes(max_batch_bytes)
    assert data_bytes >= LANE_BATCHES_MIN * (max_batch_bytes + layout.FRAME_BYTES)
    assert data_bytes % PAGE_BYTES == 0


# --- replica regions --------------------------------------------------------------------------------------------------


def test_a_leader_reads_what_its_follower_says_and_rings_it(tag: str) -> None:
    follower = ReplicaRegion.create(tag, 1, 2, mode=0o600)
    leader = ReplicaRegion.open(names.replica(tag, 1, 2), 1, writable=True)
    assert (leader.state, leader.leader_epoch, leader.written_offset, leader.synced_offset) == (0, 0, 0, 0)
    follower.follow(4, 17, 9)
    follower.store_written(20)
    follower.store_synced(18)
    follower.store_state(ReplicaState.FOLLOWING)
    follower.beat(5)
    assert (leader.leader_epoch, leader.written_offset, leader.synced_offset) == (4, 20, 18)
    assert (leader.state, leader.pid, leader.heartbeat_ns) == (ReplicaState.FOLLOWING, os.getpid(), 5)
    assert follower.doorbell is not None
    assert leader.doorbell is not None
    ticket = follower.doorbell.prepare()
    assert leader.doorbell.ring()
    assert follower.doorbell.wait(ticket, 30.0)


def test_who_only_looks_at_a_replica_region_cannot_write_to_it(tag: str) -> None:
    ReplicaRegion.create(tag, 1, 2, mode=0o600)
    looking = ReplicaRegion.open(names.replica(tag, 1, 2), 1)
    assert looking.doorbell is None
    with pytest.raises(ValueError, match="read-only"):
        looking.store_written(7)


def test_a_follower_that_starts_again_has_a_region_of_its_own(tag: str) -> None:
    before = ReplicaRegion.create(tag, 1, 2, mode=0o600)
    before.follow(4, 17, 9)
    after = ReplicaRegion.create(tag, 1, 2, mode=0o600)
    before.store_written(99)
    assert (after.leader_epoch, after.written_offset) == (0, 0)


def test_a_replica_region_of_another_partition_is_refused(tag: str) -> None:
    ReplicaRegion.create(tag, 1, 2, mode=0o600)
    with pytest.raises(CorruptRecordError, match="is of partition 1"):
        ReplicaRegion.open(names.replica(tag, 1, 2), 7)


def test_people_can_see_what_a_follower_says_whatever_that_is(tag: str) -> None:
    follower = ReplicaRegion.create(tag, 5, 2, mode=0o600)
    follower.follow(4, 17, 9)
    follower.store_state(ReplicaState.FOLLOWING)
    (found,) = list_all(tag)
    assert (found.kind, found.number, found.bytes) == ("replica", 5, layout.REPLICA_SIZE)
    seen = {"state": "following", "pid": os.getpid(), "leader_epoch": 4, "written_offset": 17, "synced_offset": 9}
    assert cells_of(found) == seen
    follower.mapping.store(layout.REPLICA_STATE, 77)
    assert cells_of(found) == seen | {"state": "unknown (77)"}

"""Another replica takes over: a follower's copy becomes the partition's log, over the ring of the dead leader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shmlog.errors import StorageError
from shmlog.log.checkpoint import read_leader_epochs
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.memory import layout, names, region
from shmlog.memory.layout import SyncFailed, SyncRunning
from shmlog.native.producer_table import ProducerTable
from shmlog.partition.opening import open_partition
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.testing.follower_rig import (
    REPLICA_ID,
    FollowerRig,
    difference,
    lead_from,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    take_over,
)
from shmlog.testing.partition_rig import TOPIC_NAME, Rig


@pytest.fixture
def leader(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "leader") as rig:
        yield rig


@pytest.fixture
def follower(leader: Rig, tmp_path: Path) -> Iterator[FollowerRig]:
    with open_follower(leader, tmp_path / "follower") as one:
        one.work()
        yield one


def numbers(rig: Rig) -> list[int]:
    """Of the records that a consumer sees, as produce() counted them; their offsets must be dense."""
    records = rig.read_all()
    assert [record.offset for record in records] == list(range(len(records)))
    return [int(record.value.split(b";")[0]) for record in records if record.value is not None]


def test_a_follower_that_has_all_goes_on_with_the_ring_as_it_is(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 5)
    follower.work()
    generation = leader.control.generation
    follower.hand_over()
    lead_from(leader, follower, 1)
    assert leader.control.generation == generation
    assert leader.control.leader_replica == REPLICA_ID
    produce(leader, lane, 3)
    assert numbers(leader) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert [start.epoch for start in read_leader_epochs(OsStorage(), str(follower.directory))] == [0, 1]


def test_what_was_published_and_not_copied_is_taken_from_the_ring(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 30)  # over several segments
    follower.kill()  # it has nothing of that
    before = leader.directory
    lead_from(leader, follower, 1)
    assert numbers(leader) == list(range(30))
    segments = {path.name: path.read_bytes() for path in before.glob("*.log")}
    copied = {path.name: path.read_bytes() for path in follower.directory.glob("*.log")}
    assert b"".join(segments[name] for name in sorted(segments)) == b"".join(copied[name] for name in sorted(copied))
    produce(leader, lane, 1)
    assert numbers(leader) == [*range(30), 0]


def test_what_was_published_and_written_nowhere_is_taken_from_the_ring(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 2)
    follower.work()
    written = leader.publisher.written_pos
    sent = lane.send(TOPIC_NAME, b"2;")
    leader.run()
    page = leader.control.mapping  # the leader died before its pwrite
    page.store(layout.CTL_WRITTEN_POS, written)
    page.store(layout.CTL_WRITTEN_OFFSET, 2)
    follower.kill()
    lead_from(leader, follower, 1)
    assert numbers(leader) == [0, 1, 2]
    assert sent.result().offset == 2


def test_what_was_accepted_and_not_published_is_taken_by_the_new_leader(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 2)
    follower.hand_over()
    lane.send_all(b"2;")
    lead_from(leader, follower, 1)
    leader.run()
    assert numbers(leader) == [0, 1, 2]


def test_a_batch_that_is_sent_again_after_the_takeover_is_a_duplicate(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 4)
    follower.kill()
    lead_from(leader, follower, 1)
    again = leader.lane(sequence=3)  # the same producer, which did not hear that its last batch was published
    sent = again.send(TOPIC_NAME, (b"3;" * 200)[:200])
    leader.run()
    assert sent.result().offset == 3
    assert numbers(leader) == [0, 1, 2, 3]


def test_a_copy_that_was_handed_over_is_not_read_through(
    leader: Rig, follower: FollowerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(leader, leader.lane(), 4)
    follower.hand_over()
    monkeypatch.setattr("shmlog.log.opening.recover_cold", None)
    lead_from(leader, follower, 1)
    assert numbers(leader) == [0, 1, 2, 3]


def test_a_copy_whose_follower_was_killed_is_checked(leader: Rig, follower: FollowerRig) -> None:
    produce(leader, leader.lane(), 4)
    follower.work()
    follower.kill()
    newest = max(follower.directory.glob("*.log"))
    newest.write_bytes(newest.read_bytes()[:-7])  # it died in its last pwrite
    lead_from(leader, follower, 1)
    assert numbers(leader) == [0, 1, 2, 3]


def test_the_image_of_the_producers_is_the_new_leaders(leader: Rig, follower: FollowerRig) -> None:
    """Regression: images of the leader before counted as newer, and were too old for the ring after a while."""
    lane = leader.lane()
    for _ in range(5):
        leader.publisher.store_image()
    produce(leader, lane, 2)
    follower.hand_over()
    lead_from(leader, follower, 1)
    assert ProducerTable().restore_image(leader.control.mapping) == leader.publisher.tail_pos


def test_the_leader_before_can_follow_and_lead_again(leader: Rig, follower: FollowerRig, tmp_path: Path) -> None:
    lane = leader.lane()
    produce(leader, lane, 12)
    follower.hand_over()
    first, second = leader.directory, follower.directory
    lead_from(leader, follower, 1)
    produce(leader, lane, 12)
    with open_follower(leader, first) as back:
        back.work()
        assert back.end_offset == 24
        back.hand_over()
        leader.let_go()
        leader.directory, leader.replica_id = first, 0
        take_over(leader, 2)
        produce(leader, lane, 1)
    assert numbers(leader) == [*range(12), *range(12), 0]
    assert difference(first, second) != ""  # the newest record and the newest epoch


def test_a_takeover_that_was_killed_is_done_again(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 8)
    follower.kill()
    lead_from(leader, follower, 1)
    leader.control.mapping.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)
    take_over(leader, 2)
    assert leader.control.leader_replica == REPLICA_ID
    produce(leader, lane, 1)
    assert numbers(leader) == [*range(8), 0]


def test_after_a_takeover_that_was_killed_the_old_leader_may_lead_again(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane()
    produce(leader, lane, 8)
    first = leader.directory
    follower.kill()
    lead_from(leader, follower, 1)
    leader.let_go()
    leader.control.mapping.store(layout.CTL_LEADER_REPLICA, layout.NO_REPLICA)
    leader.directory, leader.replica_id = first, 0
    take_over(leader, 2)
    produce(leader, lane, 1)
    assert numbers(leader) == [*range(8), 0]


def test_trouble_with_the_old_leaders_disk_is_not_the_new_leaders(leader: Rig, follower: FollowerRig) -> None:
    produce(leader, leader.lane(), 3)
    follower.hand_over()
    leader.control.mapping.store(layout.CTL_SYNC_FAILED, SyncFailed.NOT_NOTED)
    leader.control.mapping.store(layout.CTL_SYNC_RUNNING, SyncRunning.RECORDS)
    lead_from(leader, follower, 1)
    assert leader.opened.log.rewritten == ""
    assert leader.control.mapping.load(layout.CTL_SYNC_FAILED) == SyncFailed.NO
    assert numbers(leader) == [0, 1, 2]


def test_without_shared_memory_the_copy_is_all_there_is(leader: Rig, follower: FollowerRig) -> None:
    produce(leader, leader.lane(), 3)
    follower.hand_over()
    lose_shared_memory(leader)
    leader.directory, leader.replica_id, leader.lives = follower.directory, REPLICA_ID, False
    take_over(leader, 1)
    assert numbers(leader) == [0, 1, 2]
    assert leader.control.leader_replica == REPLICA_ID


# --- with losses ------------------------------------------------------------------------------------------------------


def spoil_ring(rig: Rig, offset: int) -> None:
    """Change a byte of the batch at this offset, which is in no file but the old leader's any more."""
    ring = region.open_region(names.ring(rig.tag, 1, rig.control.generation), writable=True, doubled_from=0)
    marker = b"%d;" % offset * 3
    at = ring.read(0, ring.size_bytes // 2).index(marker)
    ring.write(at, b"\0")
    ring.close()


def test_what_is_not_sound_in_the_ring_is_taken_from_the_lanes_again(leader: Rig, follower: FollowerRig) -> None:
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    lane = leader.lane()
    produce(leader, lane, 2)
    follower.work()
    leader.publisher.settle()
    follower.kill()
    results = []
    for number in (2, 3, 4):
        results.append(lane.send(TOPIC_NAME, (b"%d;" % number * 200)[:200]))
        leader.run()  # published; the follower has none of it, so nothing of it is acknowledged
    lane.writer.reclaim()
    assert not any(one.done for one in results)
    spoil_ring(leader, 3)
    generation = leader.control.generation
    leader.in_sync = []
    lead_from(leader, follower, 2)
    assert leader.control.generation > generation
    assert "2 records" in leader.opened.recovered
    assert "of which 2 are still in their producers' lanes" in leader.opened.recovered
    leader.run()
    assert numbers(leader) == [0, 1, 2, 3, 4]
    assert [one.result().offset for one in results] == [2, 3, 4]


def test_a_batch_that_is_lost_is_not_acknowledged_by_others_in_its_place(leader: Rig, follower: FollowerRig) -> None:
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    lane, other = leader.lane(), leader.lane(producer_id=8)
    follower.kill()
    lost = lane.send(TOPIC_NAME, (b"0;" * 200)[:200])
    leader.run()
    spoil_ring(leader, 0)
    leader.in_sync = []
    lead_from(leader, follower, 2)
    lane.writer.reclaim()
    assert not lost.done
    other.send_all((b"1;" * 200)[:200])
    leader.run()
    lane.writer.reclaim()
    assert {record.value[:1] for record in leader.read_all() if record.value} == {b"0", b"1"}
    assert leader.read_all()[lost.result().offset].value == (b"0;" * 200)[:200]


def test_a_copy_that_the_ring_does_not_reach_is_led_from_its_end(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 3)
    follower.work()
    follower.kill()
    ring_bytes = leader.publisher.capacity
    sent = 3
    while leader.publisher.tail_pos < 2 * ring_bytes:
        produce(leader, lane, 10, size=2000)
        sent += 10
    lead_from(leader, follower, 1)
    assert f"{sent - 3} records behind offset 3 that only replica 0 of flights-0 had" in leader.opened.recovered
    assert "the ring begins at" in leader.opened.recovered
    assert numbers(leader) == [0, 1, 2]
    produce(leader, lane, 2)
    assert numbers(leader) == [0, 1, 2, 0, 1]


def test_consumers_that_still_have_the_old_ring_do_not_read_what_is_lost(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 2)
    follower.work()
    follower.kill()
    leader.in_sync = [REPLICA_ID]
    take_over(leader, 1)
    reader = leader.reader()
    assert [record.offset for record in reader.fetch(1 << 20)] == [0, 1]
    lane.send_all(b"lost", b"too")
    leader.run()  # not in sync: nothing more is shown
    assert reader.fetch(1 << 20) == []
    ring = region.open_region(names.ring(leader.tag, 1, leader.control.generation), writable=True, doubled_from=0)
    ring.write(ring.read(0, ring.size_bytes // 2).index(b"lost"), b"L")
    ring.close()
    lane.mapping.store(layout.LANE_FREE, lane.mapping.load(layout.LANE_HEAD))  # its producer has died
    leader.in_sync = []
    lead_from(leader, follower, 2)
    assert leader.control.high_watermark == 2
    assert reader.fetch(1 << 20) == []
    leader.lane(producer_id=8).send_all(b"another")
    leader.run()
    assert [(record.offset, record.value) for record in reader.fetch(1 << 20)] == [(2, b"another")]
    reader.close()


# --- a log that is gone -----------------------------------------------------------------------------------------------


def test_an_owner_begins_no_empty_log_in_the_place_of_one_that_is_gone(leader: Rig, tmp_path: Path) -> None:
    leader.let_go()
    leader.directory = tmp_path / "gone"
    with pytest.raises(StorageError, match="is gone from"):
        open_partition(replace(leader.spec_for(1), has_begun=True))
    assert not leader.directory.exists()


def test_of_a_copy_that_has_parted_from_the_ring_nothing_is_mixed(leader: Rig, follower: FollowerRig) -> None:
    lane = leader.lane(producer_id=-1)
    produce(leader, lane, 3)
    follower.work()
    produce(leader, lane, 3)
    follower.kill()
    log = PartitionLog.open(str(follower.directory), leader.opened.config, topic_id="A" * 22)
    log.append(encode_batch([NewRecord(value=b"9;", timestamp_ms=1)], base_offset=3, leader_epoch=0))
    log.close(clean=False)
    lead_from(leader, follower, 1)
    assert "3 records behind offset 4 that only replica 0" in leader.opened.recovered
    assert "nothing that shows that both have the same" in leader.opened.recovered
    assert numbers(leader) == [0, 1, 2, 9]
    produce(leader, lane, 2)
    assert numbers(leader) == [0, 1, 2, 9, 0, 1]

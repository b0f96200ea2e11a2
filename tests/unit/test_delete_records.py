"""Records that somebody wants deleted: the log begins behind them, durably, for owners, successors and followers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from shmlog.control.messages import DeleteBefore, Message, RecordsDeleted
from shmlog.errors import CorruptRecordError, OffsetOutOfRangeError
from shmlog.log.log_reader import open_log
from shmlog.log.log_start import LOG_START
from shmlog.log.partition_log import PartitionLog
from shmlog.memory import layout
from shmlog.partition.disk_room import DiskRoom
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.follower_rig import (
    FollowerRig,
    assert_same,
    lead_from,
    lose_shared_memory,
    open_follower,
    open_leader,
    produce,
    take_over,
)
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.storage import Failure, FaultyStorage, Killed

NOW_MS = 1_700_000_000_000


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_leader(tmp_path / "flights-0") as opened:
        yield opened


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "flights-0.r1"


def offsets(rig: Rig, position: int = 0) -> list[int]:
    return [record.offset for record in rig.read_all(position)]


def produce_batches(rig: Rig, batches: int, records: int = 5) -> None:
    """Batches of several records, so that a start can lie within one."""
    lane = rig.lane(producer_id=500 + rig.lanes_made)
    for _ in range(batches):
        lane.send_many(TOPIC_NAME, [b"x" * 100] * records)
        rig.run()
        lane.writer.reclaim()


def segment_bases(directory: Path) -> list[int]:
    return sorted(int(path.stem) for path in directory.glob("*.log"))


# --- an owner ---------------------------------------------------------------------------------------------------------


def test_the_log_begins_in_the_middle_of_a_batch_and_what_is_before_cannot_be_read(rig: Rig) -> None:
    produce_batches(rig, 3)
    assert rig.keeper.delete_before(7, NOW_MS) == 7
    assert offsets(rig, 7) == list(range(7, 15))
    assert rig.reader(7).watermarks() == (7, 15)
    with pytest.raises(OffsetOutOfRangeError, match="offset 6 of flights-0 is not in the log, which has 7 to 15"):
        rig.reader(6).fetch(1 << 20)


def test_a_reader_in_the_ring_is_told_that_what_comes_next_was_deleted(rig: Rig) -> None:
    produce_batches(rig, 3)
    reader = rig.reader()
    assert [record.offset for record in reader.fetch(1)] == [0, 1, 2, 3, 4]
    assert reader.ring_chunks == 1
    rig.keeper.delete_before(7, NOW_MS)
    with pytest.raises(OffsetOutOfRangeError, match="offset 5"):
        reader.fetch(1 << 20)
    reader.close()


def test_a_reader_gets_nothing_of_what_was_deleted_while_no_owner_is_ready(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.keeper.delete_before(7, NOW_MS)
    rig.control.mapping.store(layout.CTL_STATE, layout.OwnerState.RECOVERING)
    assert rig.reader(2).fetch(1 << 20) == []
    assert [record.offset for record in rig.reader(8).fetch(1 << 20)] == list(range(8, 15))


def test_segments_that_have_nothing_else_are_dropped(rig: Rig) -> None:
    produce(rig, rig.lane(), 60)
    bases = segment_bases(rig.directory)
    assert len(bases) > 4
    assert rig.keeper.delete_before(bases[2] + 1, NOW_MS) == bases[2] + 1
    assert segment_bases(rig.directory) == bases[2:]
    assert offsets(rig, bases[2] + 1) == list(range(bases[2] + 1, 60))


def test_when_everything_is_deleted_the_log_goes_on_in_a_new_segment(rig: Rig) -> None:
    lane = rig.lane()
    produce(rig, lane, 20)
    assert rig.keeper.delete_before(-1, NOW_MS) == 20
    assert segment_bases(rig.directory) == [20]
    assert rig.reader(20).watermarks() == (20, 20)
    produce(rig, lane, 2)
    assert offsets(rig, 20) == [20, 21]


def test_the_start_never_goes_back_and_never_beyond_the_high_watermark(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.keeper.delete_before(7, NOW_MS)
    assert rig.keeper.delete_before(3, NOW_MS) == 7
    with pytest.raises(OffsetOutOfRangeError, match="offset 16 is beyond the high watermark, 15"):
        rig.keeper.delete_before(16, NOW_MS)
    assert rig.control.log_start_offset == 7


def test_what_is_not_shown_yet_cannot_be_deleted(tmp_path: Path) -> None:
    with open_leader(tmp_path / "flights-0", {"flush.messages": "1"}) as rig:
        produce_batches(rig, 2)
        rig.publisher.hold_for_sync = True
        rig.publisher.sync_after_records = 0
        lane = rig.lane()
        lane.send_all(b"not synced")
        rig.run()
        with pytest.raises(OffsetOutOfRangeError, match="offset 11 is beyond the high watermark, 10"):
            rig.keeper.delete_before(11, NOW_MS)


def test_lookups_by_time_find_nothing_that_was_deleted(rig: Rig) -> None:
    lane = rig.lane()
    for k in range(6):
        lane.send(TOPIC_NAME, b"x", timestamp_ms=1000 * (k + 1))
    rig.run()
    rig.keeper.delete_before(3, NOW_MS)
    found = rig.reader().offset_for_timestamp(1500)
    assert found == (3, 4000)
    found = rig.reader().offset_for_timestamp(5500)
    assert found == (5, 6000)


def test_a_log_that_is_opened_without_its_cluster_begins_behind_what_was_deleted(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.keeper.delete_before(7, NOW_MS)
    log = open_log(rig.directory)
    assert (log.start_offset, [record.offset for record in log.records()]) == (7, list(range(7, 15)))


def test_retention_drops_what_was_deleted_under_every_policy(rig: Rig) -> None:
    """A segment that a sync holds is left at first."""
    produce(rig, rig.lane(), 40)
    rig.keeper.configure(TopicConfig.from_mapping(rig.config | {"cleanup.policy": "compact", "retention.ms": "1"}))
    bases = segment_bases(rig.directory)
    rig.opened.log.sealed.begin_at(bases[2])
    rig.keeper.apply_retention(NOW_MS)
    assert segment_bases(rig.directory) == bases[2:]
    assert rig.control.log_start_offset == bases[2]


def test_an_owner_answers_with_the_new_start_or_the_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Message] = []
    room = DiskRoom(rig.control, rig.keeper, rig.publisher, str(rig.directory), said.append)
    produce_batches(rig, 2)
    room.obey(DeleteBefore(1, 4))
    room.obey(DeleteBefore(2, 99))

    def refuse(offset: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.opened.log.sealed, "begin_at", refuse)
    room.obey(DeleteBefore(3, 6))
    done, beyond, full = said
    assert done == RecordsDeleted(1, 4)
    assert isinstance(beyond, RecordsDeleted)
    assert isinstance(full, RecordsDeleted)
    assert (beyond.order_id, beyond.error) == (2, "OffsetOutOfRangeError")
    assert (full.order_id, full.error) == (3, "DiskFullError")
    assert rig.control.log_start_offset == 4


# --- after its death --------------------------------------------------------------------------------------------------


def test_a_successor_begins_where_its_predecessor_did(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.keeper.delete_before(7, NOW_MS)
    take_over(rig, 1)
    assert rig.control.log_start_offset == rig.opened.log.log_start_offset == 7


def test_a_start_that_was_noted_counts_though_its_owner_could_tell_nobody(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.opened.log.sealed.begin_at(7)  # killed right after
    take_over(rig, 1)
    assert rig.control.log_start_offset == 7


def test_after_a_reboot_the_log_begins_where_it_did_also_with_a_tail_that_is_gone(rig: Rig) -> None:
    produce_batches(rig, 3)
    rig.keeper.delete_before(7, NOW_MS)
    lose_shared_memory(rig)
    rig.lives = False
    take_over(rig, 1)
    assert rig.control.log_start_offset == 7
    assert offsets(rig, 7) == list(range(7, 15))
    rig.keeper.delete_before(14, NOW_MS)
    lose_shared_memory(rig)
    rig.lives = False
    (active,) = rig.directory.glob("*.log")
    active.write_bytes(active.read_bytes()[:200])  # what the power loss has left: nothing that is not deleted
    take_over(rig, 2)
    assert "nothing is left of what was not deleted, from 14 on" in rig.opened.recovered
    assert (rig.control.log_start_offset, rig.publisher.tail_offset) == (14, 14)
    produce_batches(rig, 1)
    assert offsets(rig, 14) == list(range(14, 19))


def test_batches_of_producers_are_remembered_though_they_are_deleted(rig: Rig) -> None:
    lane = rig.lane(producer_id=9)
    lane.send_all(b"once")
    rig.run()
    produce_batches(rig, 2)
    rig.keeper.delete_before(8, NOW_MS)
    lose_shared_memory(rig)
    rig.lives = False
    take_over(rig, 1)
    again = rig.lane(producer_id=9)
    delivery = again.send(TOPIC_NAME, b"once")
    rig.run()
    assert delivery.result().offset == 0
    assert rig.publisher.tail_offset == 11


@pytest.mark.parametrize("text", ["", "0\n", "0\nx\n", "1\n7\n", "0\n7\n8\n", "0\n" + "9" * 19])
def test_a_damaged_note_of_the_start_is_named_and_nothing_comes_back(tmp_path: Path, text: str) -> None:
    config, topic_id = TopicConfig.from_mapping({}), "A" * 22
    PartitionLog.open(str(tmp_path / "x-0"), config, topic_id=topic_id).close(clean=True)
    (tmp_path / "x-0" / LOG_START).write_text(text)
    with pytest.raises(CorruptRecordError, match=f"{LOG_START} is damaged"):
        PartitionLog.open(str(tmp_path / "x-0"), config, topic_id=topic_id)


def test_a_start_that_the_disk_refuses_to_note_changes_nothing(tmp_path: Path) -> None:
    storage = FaultyStorage()
    log = PartitionLog.open(str(tmp_path / "x-0"), TopicConfig.from_mapping({}), topic_id="A" * 22, storage=storage)
    log.append(encode_batch([NewRecord(b"v")] * 5, base_offset=0))
    storage.failures.append(Failure("fdatasync", LOG_START))
    with pytest.raises(OSError, match="error"):
        log.sealed.begin_at(3)
    assert log.log_start_offset == 0
    log.close(clean=False)


def test_killed_anywhere_a_log_begins_where_it_did_or_where_it_was_to_begin(tmp_path: Path) -> None:
    config, end_offset = TopicConfig.from_mapping({}), 0
    for calls in count():
        directory, storage = str(tmp_path / f"x-{calls}"), FaultyStorage()
        log = PartitionLog.open(directory, config, topic_id="A" * 22, storage=storage)
        for _ in range(4):
            log.append(encode_batch([NewRecord(b"v")] * 5, base_offset=log.log_end_offset))
            end_offset = log.log_end_offset
            log.roll(end_offset)
        storage.calls_left, is_told = calls, False
        try:
            log.sealed.begin_at(12)
            is_told = True
            log.delete_segments(log.sealed.before(12))
        except Killed:
            pass
        is_killed = storage.calls_left == 0
        storage.close_all()
        again = PartitionLog.open(directory, config, topic_id="A" * 22)
        assert again.log_start_offset in ({12} if is_told else {0, 12})
        assert again.log_end_offset == end_offset
        first = next(again.headers(again.log_start_offset))
        assert first.base_offset <= again.log_start_offset <= first.last_offset
        again.close(clean=False)
        if not is_killed:
            return


# --- followers --------------------------------------------------------------------------------------------------------


def keep_house(follower: FollowerRig) -> int:
    """A second later; where its log begins."""
    follower.keep_house()
    return follower.following.copy.log.log_start_offset


def test_a_follower_begins_where_its_leader_does_and_keeps_it_when_it_leads(rig: Rig, copy: Path) -> None:
    produce_batches(rig, 3)
    with open_follower(rig, copy) as follower:
        follower.work()
        rig.keeper.delete_before(7, NOW_MS)
        assert keep_house(follower) == 7
        assert_same(follower)
        follower.restart()
        assert follower.following.copy.log.log_start_offset == 7
        follower.hand_over()
        lose_shared_memory(rig)
        rig.lives = False
        rig.directory, rig.replica_id = copy, 1
        take_over(rig, 1)
        assert rig.control.log_start_offset == 7


def test_a_follower_that_takes_over_keeps_what_the_leader_had_said(rig: Rig, copy: Path) -> None:
    """It had no time to follow the start: the page has it, and the copy's directory then, too."""
    produce_batches(rig, 3)
    with open_follower(rig, copy) as follower:
        follower.work()
        rig.keeper.delete_before(7, NOW_MS)
        follower.hand_over()
        lead_from(rig, follower, 1)
    assert rig.control.log_start_offset == 7
    assert (copy / LOG_START).read_text() == "0\n7\n"


def test_a_follower_that_begins_anew_begins_with_the_batch_that_its_leaders_start_is_in(rig: Rig, copy: Path) -> None:
    produce_batches(rig, 60)
    bases = segment_bases(rig.directory)
    start = bases[3] + 7
    rig.keeper.delete_before(start, NOW_MS)
    with open_follower(rig, copy) as follower:
        follower.work()
        assert follower.end_offset == rig.publisher.written_offset
        assert segment_bases(copy)[0] == bases[3] + 5
        assert keep_house(follower) == start
        produce_batches(rig, 3)
        follower.work()
        assert follower.end_offset == rig.publisher.written_offset


def test_a_follower_that_is_behind_the_start_does_not_copy_what_was_deleted(rig: Rig, copy: Path) -> None:
    produce_batches(rig, 2)
    with open_follower(rig, copy) as follower:
        follower.work()
        produce_batches(rig, 60)
        start = segment_bases(rig.directory)[4] + 7
        rig.keeper.delete_before(start, NOW_MS)
        follower.work()
        assert follower.end_offset == rig.publisher.written_offset
        assert segment_bases(copy)[0] == start - 2
        assert keep_house(follower) == start

"""Consumers notice that a log was cut and grew again: their positions know the leader epoch that they were read in."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.client.consumer import NativeConsumer
from shmlog.errors import InvalidArgumentError, LogTruncationError
from shmlog.log.checkpoint import EpochStart, read_leader_epochs
from shmlog.log.leader_epochs import end_of
from shmlog.log.storage import OsStorage
from shmlog.memory import layout
from shmlog.memory.layout import OwnerState
from shmlog.native.columns import decode_columns
from shmlog.native.records import Record, decode_batches
from shmlog.partition.reader import PartitionReader
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.testing.fake_cluster import P0, FakeCluster, offsets
from shmlog.testing.fake_partition import FakePartition
from shmlog.testing.partition_rig import Rig, open_rig

CHUNK = 1 << 20
LIMIT = 1 << 62


def partition_of(count: int) -> FakePartition:
    """One record a batch, all in leader epoch 0."""
    partition = FakePartition(epochs=[EpochStart(0, 0)])
    grow(partition, count)
    return partition


def grow(partition: FakePartition, count: int) -> None:
    for number in range(count):
        partition.append(b"%d" % number)


def reader_at(partition: FakePartition, count: int) -> PartitionReader:
    """That has read so many records, out of the ring."""
    reader = PartitionReader(P0, partition.attach, partition.segments)
    while reader.position < count:
        assert reader.fetch(1)
    return reader


# --- the leader epoch of what was read --------------------------------------------------------------------------------


def test_records_carry_the_leader_epoch_of_their_batch_also_those_of_columns_and_pickled_ones() -> None:
    marker = encode_marker(
        Marker(MarkerType.COMMIT, 0), base_offset=3, producer_id=7, producer_epoch=0, timestamp_ms=0, leader_epoch=6
    )
    chunk = (
        encode_batch([NewRecord(b"a"), NewRecord(b"b")], base_offset=0, leader_epoch=2)
        + encode_batch([NewRecord(b"c")], base_offset=2, leader_epoch=5)
        + marker
        + encode_batch([NewRecord(b"d"), NewRecord(b"e")], base_offset=4, leader_epoch=6)
    )
    records, *rest = decode_batches(chunk, "t", 0, 0, LIMIT, 100)
    columns, *columns_rest = decode_columns(chunk, "t", 0, 0, LIMIT, 100)
    assert [record.leader_epoch for record in records] == [2, 2, 5, 6, 6]
    assert [record.leader_epoch for record in columns] == [2, 2, 5, 6, 6]
    assert [record.leader_epoch for record in columns[1:4]] == [2, 5, 6]
    assert rest == columns_rest == [6, len(chunk), 6]
    assert decode_batches(chunk, "t", 0, 0, LIMIT, 2)[3] == 2
    assert decode_batches(chunk[: chunk.index(marker) + len(marker)], "t", 0, 0, LIMIT, 100)[3] == 6  # stepped over
    assert decode_batches(b"", "t", 0, 0, LIMIT, 100)[3] == -1
    assert pickle.loads(pickle.dumps(records[2])).leader_epoch == 5
    assert records[2] == Record("t", 0, 2, 0, None, b"c")


def test_an_epoch_ends_where_a_later_one_begins_and_the_last_one_with_the_log() -> None:
    starts = [EpochStart(2, 0), EpochStart(5, 30), EpochStart(7, 80)]
    assert [end_of(epoch, starts, 100) for epoch in (2, 4, 5, 6, 7, 9)] == [30, 30, 80, 80, 100, 100]
    assert end_of(1, starts, 100) == 0
    assert end_of(1, [], 100) == 100


# --- readers ----------------------------------------------------------------------------------------------------------


def test_a_log_that_was_cut_and_grew_beyond_a_position_again_is_told_from_the_one_that_was_read() -> None:
    partition = partition_of(10)
    reader = reader_at(partition, 8)
    partition.next_leader(ends_at=5)
    grow(partition, 10)
    for _ in range(2):  # until somebody goes elsewhere
        with pytest.raises(LogTruncationError, match="seek to 5 for what it has there now") as caught:
            reader.fetch(CHUNK)
        assert (caught.value.partition, caught.value.offset, caught.value.divergent_offset) == (P0, 8, 5)
    reader.seek(5)
    assert [record.leader_epoch for record in reader.fetch(CHUNK)] == [1] * 10


def test_a_log_that_was_cut_behind_a_position_is_read_on() -> None:
    partition = partition_of(10)
    reader = reader_at(partition, 5)
    partition.next_leader(ends_at=5)
    grow(partition, 2)
    assert offsets(reader.fetch(CHUNK)) == [5, 6]
    partition.next_leader()
    grow(partition, 1)
    assert offsets(reader.fetch(CHUNK)) == [7]


def test_a_log_that_was_cut_is_noticed_with_a_new_page_and_in_files_too() -> None:
    for has_ring in (True, False):
        partition = partition_of(10)
        reader = reader_at(partition, 8)
        partition.next_leader(ends_at=5)
        partition.come_back_from_nothing()
        grow(partition, 10)
        partition.has_ring = has_ring
        reader.reattach_if_replaced()
        with pytest.raises(LogTruncationError):
            reader.fetch(CHUNK)


def test_a_log_that_is_shorter_than_what_was_read_is_cut_and_not_out_of_range() -> None:
    partition = partition_of(10)
    reader = reader_at(partition, 8)
    partition.next_leader(ends_at=5)
    with pytest.raises(LogTruncationError) as caught:
        reader.fetch(CHUNK)
    assert caught.value.divergent_offset == 5


def test_nothing_is_asked_in_the_ring_and_once_for_each_leader_elsewhere() -> None:
    partition = partition_of(10)
    reader = reader_at(partition, 4)
    partition.page.leader_epoch += 1  # a successor goes on in the same ring
    assert offsets(reader.fetch(1)) == [4]
    assert partition.opened_under == []
    partition.overrun(9)
    assert [offsets(reader.fetch(1)) for _ in range(3)] == [[5], [6], [7]]
    assert partition.opened_under == [1]
    assert partition.epoch_reads == 1


def test_a_reader_waits_for_a_leader_that_is_not_ready_to_say_what_it_has() -> None:
    partition = partition_of(10)
    reader = reader_at(partition, 4)
    partition.next_leader()
    partition.page.state = OwnerState.RECOVERING
    assert reader.fetch(CHUNK) == []
    assert not reader.has_data()
    partition.page.state = OwnerState.RUN
    assert reader.has_data()  # at the second look before a sleep
    assert offsets(reader.fetch(CHUNK)) == list(range(4, 10))


def test_a_reader_that_starts_with_a_position_of_before_is_told_the_same() -> None:
    partition = partition_of(10)
    partition.next_leader(ends_at=5)
    grow(partition, 10)
    reader = PartitionReader(P0, partition.attach, partition.segments)
    reader.seek(8, leader_epoch=0)
    with pytest.raises(LogTruncationError):
        reader.fetch(CHUNK)
    reader.seek(8)  # whoever does not say the epoch gets what is there
    assert offsets(reader.fetch(1)) == [8]
    reader.seek(9, leader_epoch=1)
    assert offsets(reader.fetch(1)) == [9]
    reader.seek(3, leader_epoch=0)
    assert offsets(reader.fetch(1)) == [3]
    reader.seek(9, leader_epoch=0)
    with pytest.raises(LogTruncationError):
        reader.fetch(CHUNK)


# --- consumers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> Iterator[FakeCluster]:
    with FakeCluster() as world:
        world.partitions[P0] = FakePartition(epochs=[EpochStart(0, 0)])
        world.fill(20)
        yield world


def cut(world: FakeCluster, ends_at: int) -> None:
    world.partitions[P0].next_leader(ends_at=ends_at)
    world.fill(20)


def consumer_at(world: FakeCluster, count: int, **settings: object) -> NativeConsumer:
    consumer = world.consumer(**settings)
    consumer.assign([P0])
    consumer.seek(P0, 0)
    assert len(consumer.poll(count)) == count
    return consumer


def test_a_consumer_without_a_choice_is_told_and_its_position_stays(world: FakeCluster) -> None:
    consumer = consumer_at(world, 20, auto_offset_reset="none")
    cut(world, 10)
    with pytest.raises(LogTruncationError) as caught:
        consumer.poll()
    error = caught.value
    assert (error.partition, error.offset, error.divergent_offset) == (P0, 20, 10)
    assert consumer.position(P0) == 20
    consumer.seek(P0, error.divergent_offset)
    assert offsets(consumer.poll()) == list(range(10, 20))


def test_a_consumer_with_a_choice_goes_on_where_the_log_was_cut_with_a_warning(
    world: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    consumer = consumer_at(world, 20, auto_offset_reset="latest")
    cut(world, 10)
    with caplog.at_level(logging.WARNING, "shmlog.consumer"):
        assert offsets(consumer.poll()) == list(range(10, 20))
    assert "going on at 10 (auto.offset.reset=latest)" in caplog.text
    assert consumer.metrics()["offset_resets"] == 1
    cut(world, 10)  # a log can be cut again at the same place
    assert offsets(consumer.poll()) == list(range(10, 20))


def test_what_was_read_ahead_of_a_log_that_was_cut_is_measured_by_where_the_application_is(world: FakeCluster) -> None:
    consumer = consumer_at(world, 5, auto_offset_reset="none")  # all of it was read ahead
    consumer.pause(P0)
    consumer.resume(P0)
    cut(world, 10)
    assert offsets(consumer.poll(5)) == list(range(5, 10))
    consumer.pause(P0)
    consumer.resume(P0)
    cut(world, 8)
    with pytest.raises(LogTruncationError) as caught:
        consumer.poll()
    assert (caught.value.offset, caught.value.divergent_offset) == (10, 8)


def test_a_consumer_resumes_at_an_offset_and_its_leader_epoch(world: FakeCluster) -> None:
    cut(world, 10)
    consumer = world.consumer(auto_offset_reset="none")
    consumer.assign([P0])
    consumer.seek(P0, 20, leader_epoch=0)
    with pytest.raises(LogTruncationError):
        consumer.poll()
    consumer.seek(P0, 20, leader_epoch=1)
    assert consumer.poll() == []
    with pytest.raises(InvalidArgumentError, match="leader_epoch"):
        consumer.seek(P0, 20, leader_epoch="1")  # type: ignore[arg-type]  # what a beginner writes


def test_deserialized_records_keep_their_leader_epoch(world: FakeCluster) -> None:
    cut(world, 10)
    consumer = consumer_at(world, 10, value_deserializer="str")
    assert {record.leader_epoch for record in consumer.poll()} == {1}


# --- what it stands on ------------------------------------------------------------------------------------------------


def test_a_real_log_that_loses_its_end_and_grows_again_is_noticed(tmp_path: Path) -> None:
    with open_rig(tmp_path, epoch=0) as rig:
        send_one_by_one(rig, b"a", b"b", b"c", b"d")
        reader = rig.reader()
        assert len(reader.fetch(CHUNK)) == 4
        rig.let_go()
        rig.control.mapping.store(layout.CTL_STATE, OwnerState.CLOSED)  # memory is gone with the power
        path = tmp_path / "00000000000000000000.log"
        os.truncate(path, path.stat().st_size // 2)
        rig.take_over(1)
        send_one_by_one(rig, b"x", b"y", b"z")
        assert read_leader_epochs(OsStorage(), str(tmp_path)) == [EpochStart(0, 0), EpochStart(1, 2)]
        assert reader.fetch(CHUNK) == []  # the old page's news is that it is old
        with pytest.raises(LogTruncationError) as caught:
            reader.fetch(CHUNK)
        assert caught.value.divergent_offset == 2
        assert rig.values() == [b"a", b"b", b"x", b"y", b"z"]
        reader.close()


def send_one_by_one(rig: Rig, *values: bytes) -> None:
    """A batch each."""
    lane = rig.lane(producer_id=7 + rig.lanes_made)
    for value in values:
        lane.send_all(value)
        rig.run()

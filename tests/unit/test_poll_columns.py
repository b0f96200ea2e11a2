"""A consumer that gives out columns, alone and in turn with records; and batches that fill up for a while."""

from __future__ import annotations

import asyncio
import threading

import pytest

from shmlog.errors import CorruptRecordError, InvalidArgumentError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from shmlog.memory.layout import OwnerState
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, FakeCluster, offsets


def test_columns_give_every_record_of_one_partition_after_the_other(world: FakeCluster) -> None:
    world.fill(20, 7, 13)
    with world.consumer("flights") as consumer:
        seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
        while columns := consumer.poll_columns():
            assert columns.topic == "flights"
            assert columns.values() == [b"%d:%d" % (columns.partition, offset) for offset in columns.offsets]
            seen[columns.partition] += columns.offsets.tolist()
        assert seen == {0: list(range(20)), 1: list(range(7)), 2: list(range(13))}
        assert consumer.metrics()["records"] == 40


def test_a_limit_is_kept_and_nothing_is_lost_between_polls(world: FakeCluster) -> None:
    world.fill(23)
    with world.consumer("flights") as consumer:
        found: list[int] = []
        while columns := consumer.poll_columns(4):
            assert len(columns) <= 4
            found += columns.offsets.tolist()
            assert consumer.position(P0) == found[-1] + 1
        assert found == list(range(23))
        with pytest.raises(InvalidArgumentError, match="from 1 to"):
            consumer.poll_columns(0)


def test_columns_poll_and_iteration_may_alternate(world: FakeCluster) -> None:
    """Whatever was read ahead for one of them is there for the others, once."""
    world.fill(60)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        found: list[int] = []
        for turn in range(4):
            found += consumer.poll_columns(3).offsets.tolist()
            found += offsets(consumer.poll(2))
            for record in consumer:
                found.append(record.offset)
                if len(found) % 4 == turn:
                    break
            assert consumer.position(P0) == found[-1] + 1
        while columns := consumer.poll_columns(5):
            found += columns.offsets.tolist()
        assert found == list(range(60))
        assert sum(consumer.lag().values()) == 0


def test_polling_columns_inside_a_loop_over_records_takes_them_out_of_the_loop(world: FakeCluster) -> None:
    world.fill(20)
    found: list[int] = []
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        for record in consumer:
            found.append(record.offset)
            if record.offset == 4:
                found += consumer.poll_columns(3).offsets.tolist()
    assert found == list(range(20))


def test_seek_and_pause_take_effect_on_what_was_read_ahead(world: FakeCluster) -> None:
    world.fill(20, 20)
    with world.consumer("flights") as consumer:
        assert consumer.poll_columns(3).partition == 0
        consumer.seek(P0, 15)
        consumer.pause(P1)
        assert consumer.poll_columns().offsets.tolist() == list(range(15, 20))
        consumer.resume(P1)
        assert consumer.poll_columns(3).offsets.tolist() == [0, 1, 2]
        consumer.pause(P1)
        assert not consumer.poll_columns()
        assert consumer.position(P1) == 3
        consumer.resume(P1)
        assert consumer.poll_columns(2).offsets.tolist() == [3, 4]


def test_deserializers_are_not_asked(world: FakeCluster) -> None:
    world.fill(1)
    with world.consumer("flights", value_deserializer=lambda _: pytest.fail("was asked")) as consumer:
        assert consumer.poll_columns().values() == [b"0:0"]


def test_columns_wake_up_for_a_record_that_comes_while_they_are_waited_for(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:
        consumer.poll_columns()

        def produce() -> None:
            wait_until(lambda: consumer.metrics()["sleeps"])
            world.fill(6)

        thread = threading.Thread(target=produce)
        thread.start()
        assert consumer.poll_columns(timeout=20.0).offsets.tolist() == [5]
        thread.join()


def test_a_task_waits_for_columns(world: FakeCluster) -> None:
    world.fill(5)

    async def main() -> None:
        with world.consumer("flights") as consumer:
            assert len(await consumer.apoll_columns(3)) == 3
            assert len(await consumer.apoll_columns(timeout=20.0)) == 2
            assert not await consumer.apoll_columns(timeout=0.0)

    asyncio.run(main())


def test_a_position_that_the_log_has_lost_is_reset_or_told(world: FakeCluster) -> None:
    world.fill(11)
    world.partitions[P0].delete_before(10)
    with world.consumer("flights", auto_offset_reset="earliest") as consumer:
        consumer.seek(P0, 3)
        assert consumer.poll_columns().offsets.tolist() == [10]
    with world.consumer("flights", auto_offset_reset="none") as consumer:
        consumer.assign([P0])
        consumer.seek(P0, 3)
        with pytest.raises(OffsetOutOfRangeError):
            consumer.poll_columns()


def test_a_deleted_topic_and_damage_are_told_as_to_poll(world: FakeCluster) -> None:
    world.fill(10)
    with world.consumer("flights") as consumer:
        consumer.assign([P0])
        partition = world.partitions[P0]
        partition.batches[1] = partition.batches[1][:-1] + b"!"
        assert consumer.poll_columns().offsets.tolist() == list(range(5))
        with pytest.raises(CorruptRecordError, match="checksum"):
            consumer.poll_columns()
        assert consumer.position(P0) == 5
        consumer.seek(P0, 10)
        partition.page.state = OwnerState.DELETED
        with pytest.raises(UnknownTopicOrPartitionError, match="deleted"):
            consumer.poll_columns()


def test_batches_are_full_or_have_waited(world: FakeCluster) -> None:
    world.fill(23)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        assert [len(batch) for batch in consumer.batches(10, max_wait_ms=0)] == [10, 10, 3]
        assert consumer.position(P0) == 23


def test_a_batch_waits_for_more_records_until_it_is_full(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:

        def produce() -> None:
            wait_until(lambda: consumer.metrics()["sleeps"])
            world.fill(10)

        thread = threading.Thread(target=produce)
        thread.start()
        assert offsets(next(consumer.batches(10, max_wait_ms=20_000))) == list(range(10))
        thread.join()


@pytest.mark.parametrize("arguments", [{"max_records": 0}, {"max_wait_ms": -1}, {"max_wait_ms": 0.5}])
def test_wrong_arguments_of_batches_are_told_at_once(world: FakeCluster, arguments: dict[str, int]) -> None:
    world.fill(1)
    with world.consumer("flights") as consumer, pytest.raises(InvalidArgumentError):
        consumer.batches(**arguments)

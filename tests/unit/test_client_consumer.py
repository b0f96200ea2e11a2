"""A consumer over partitions on the heap: what the application sees, record by record."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from shmlog.errors import (
    CorruptRecordError,
    ForkedHandleError,
    HandleClosedError,
    InvalidRequestError,
    OffsetOutOfRangeError,
    SerializationError,
)
from shmlog.model import OffsetAndTimestamp, Watermarks
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, P2, FakeCluster, offsets
from shmlog.testing.fake_partition import FakePartition

# --- records ----------------------------------------------------------------------------------------------------------


def test_iteration_gives_every_record_of_every_partition_in_partition_order(world: FakeCluster) -> None:
    world.fill(20, 7, 13)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for record in consumer:
            assert record.value == b"%d:%d" % (record.partition, record.offset)
            seen[record.partition].append(record.offset)
        assert seen == {0: list(range(20)), 1: list(range(7)), 2: list(range(13))}


def test_iteration_goes_on_where_the_last_loop_was_left(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        for record in consumer:
            if record.offset == 6:
                break
        assert consumer.position(P0) == 7
        assert next(consumer).offset == 7
        assert offsets(consumer.poll(2)) == [8, 9]
        assert offsets(consumer) == list(range(10, 20))
        with pytest.raises(StopIteration):
            next(consumer)
        world.fill(20 + 5)
        assert next(consumer).offset == 20


def test_poll_gives_at_most_what_was_asked_for_and_loses_nothing_between_polls(world: FakeCluster) -> None:
    world.fill(23)
    with world.consumer("flights", max_poll_records=4) as consumer:
        found: list[int] = []
        while records := consumer.poll():
            assert len(records) <= 4
            found += offsets(records)
            assert consumer.position(P0) == found[-1] + 1
        assert found == list(range(23))
        with pytest.raises(InvalidRequestError, match="from 1 to"):
            consumer.poll(0)


def test_no_partition_starves_while_another_has_much(world: FakeCluster) -> None:
    world.fill(1000, 10, 10)
    with world.consumer("flights", fetch_max_bytes=1) as consumer:
        partitions = {record.partition for _ in range(3) for record in consumer.poll(5)}
        assert partitions == {0, 1, 2}


def test_poll_wakes_up_for_a_record_that_comes_while_it_waits(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:
        assert len(consumer.poll()) == 5

        def produce() -> None:
            wait_until(lambda: consumer.metrics()["sleeps"])
            world.fill(5 + 5)
            wait_until(world.connection.doorbell.ring)

        producing = threading.Thread(target=produce)
        producing.start()
        assert offsets(consumer.poll(timeout=30.0)) == [5, 6, 7, 8, 9]
        producing.join()


def test_poll_without_news_gives_nothing_when_its_time_is_over(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:
        assert consumer.poll(timeout=0.02) == []
        assert 1 <= consumer.metrics()["sleeps"] < 10, "it did not spin"


def test_ctrl_c_interrupts_a_consumer_that_waits_for_ever(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:

        def interrupt() -> None:
            wait_until(lambda: consumer.metrics()["sleeps"])
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            next(consumer)
        interrupting.join()
        world.fill(5)
        assert next(consumer).offset == 0  # and it can be used further


# --- positions --------------------------------------------------------------------------------------------------------


def test_a_consumer_begins_at_the_earliest_record_unless_told_otherwise(world: FakeCluster) -> None:
    world.fill(20)
    world.partitions[P0].delete_before(5)
    with world.consumer("flights") as consumer, world.consumer("flights", auto_offset_reset="latest") as late:
        assert consumer.position(P0) == 5
        assert late.position(P0) == 20  # as it was when the consumer was made
        world.fill(20 + 5)
        assert offsets(late.poll()) == [20, 21, 22, 23, 24]


def test_a_consumer_that_has_no_position_and_may_not_choose_one_says_so(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights", auto_offset_reset="none") as consumer:
        with pytest.raises(OffsetOutOfRangeError, match=r"seek\(\) first"):
            consumer.poll()
        for partition in (P0, P1, P2):
            consumer.seek(partition, 0)
        assert len(consumer.poll()) == 5


def test_seek_in_the_middle_of_a_loop_takes_effect_at_once(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        seen: list[int] = []
        for record in consumer:
            seen.append(record.offset)
            if seen == [0, 1, 2]:
                consumer.seek(P0, 17)
        assert seen == [0, 1, 2, 17, 18, 19]


def test_the_ends_can_be_sought(world: FakeCluster) -> None:
    world.fill(20, 10)
    world.partitions[P1].delete_before(5)
    with world.consumer("flights") as consumer:
        consumer.seek_to_end()
        assert [consumer.position(partition) for partition in (P0, P1, P2)] == [20, 10, 0]
        assert consumer.poll() == []
        consumer.seek_to_beginning(P1)
        assert [(record.partition, record.offset) for record in consumer.poll()] == [
            (1, offset) for offset in range(5, 10)
        ]
        with pytest.raises(InvalidRequestError, match="an integer from 0 .* seek_to_end"):
            consumer.seek(P0, -1)


def test_records_that_retention_took_away_are_skipped_with_a_count_or_an_error(
    world: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    world.fill(20)
    with world.consumer("flights") as consumer, world.consumer("flights", auto_offset_reset="none") as strict:
        for partition in (P0, P1, P2):
            strict.seek(partition, 0)
        world.partitions[P0].delete_before(15)
        assert offsets(consumer.poll()) == list(range(15, 20))
        assert consumer.metrics()["offset_resets"] == 1
        assert "offset 0 of flights-0 is not in the log, which has 15 to 20" in caplog.text
        with pytest.raises(OffsetOutOfRangeError):
            strict.poll()


def test_watermarks_lag_and_offsets_by_time(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights") as consumer:
        consumer.poll(3)
        assert consumer.watermarks(P0) == Watermarks(0, 20)
        assert consumer.lag() == {P0: 17, P1: 0, P2: 0}
        assert consumer.metrics()["lag"] == 17
        assert consumer.offsets_for_times({P0: 1006, P1: 0}) == {P0: OffsetAndTimestamp(10, 1010), P1: None}


def test_others_can_see_how_far_the_application_is(world: FakeCluster) -> None:
    world.fill(20)
    with world.consumer("flights") as consumer:
        consumer.poll(3)
        assert dict(world.connection.region.positions())[1000] == 3
        consumer.poll(100)
        assert dict(world.connection.region.positions())[1000] == 20
    assert world.connection.region.positions() == []


# --- bad records ------------------------------------------------------------------------------------------------------


def test_deserializers_make_objects_of_keys_and_values(world: FakeCluster) -> None:
    fake = world.partitions.setdefault(P0, FakePartition())
    fake.append(b'{"delay": 3}', b"[1]")
    with world.consumer("flights", value_deserializer="json", consumer_timeout_ms=0) as consumer:
        assert [record.value for record in consumer] == [{"delay": 3}, [1]]
        consumer.seek(P0, 0)
        assert [record.value for record in consumer.poll()] == [{"delay": 3}, [1]]


def test_a_value_that_cannot_be_deserialized_stops_the_consumer_at_it_and_nothing_before_it_is_lost(
    world: FakeCluster,
) -> None:
    fake = world.partitions.setdefault(P0, FakePartition())
    fake.append(b"1", b"2", b"{", b"4")
    with world.consumer("flights", value_deserializer="json", consumer_timeout_ms=0) as consumer:
        assert [record.value for record in consumer.poll()] == [1, 2]
        for _ in range(2):
            with pytest.raises(SerializationError, match="value.deserializer failed on the record at flights-0@2"):
                consumer.poll()
            with pytest.raises(SerializationError):
                next(consumer)
            assert consumer.position(P0) == 2
        consumer.seek(P0, 3)
        assert [record.value for record in consumer] == [4]


def test_a_corrupt_batch_stops_its_partition_only(world: FakeCluster) -> None:
    world.fill(10, 10)
    damaged = bytearray(world.partitions[P0].batches[1])
    damaged[-1] ^= 1
    world.partitions[P0].batches[1] = bytes(damaged)
    with world.consumer("flights", fetch_max_bytes=1) as consumer:
        seen: list[tuple[int, int]] = []
        errors = 0
        for _ in range(10):
            try:
                seen += [(record.partition, record.offset) for record in consumer.poll(5)]
            except CorruptRecordError:
                errors += 1
        assert errors
        assert sorted(seen) == [*((0, offset) for offset in range(5)), *((1, offset) for offset in range(10))]
        assert consumer.position(P0) == 5


# --- the end of a handle ----------------------------------------------------------------------------------------------


def test_a_closed_consumer_says_so_whatever_is_asked(world: FakeCluster) -> None:
    world.fill(20)
    consumer = world.consumer("flights")
    iterator = iter(consumer)
    next(iterator)
    consumer.close()
    consumer.close()
    for use in (
        consumer.poll,
        consumer.__next__,
        iterator.__next__,
        consumer.assignment,
        consumer.metrics,
        consumer.lag,
        lambda: consumer.seek(P0, 0),
        lambda: consumer.assign([P0]),
    ):
        with pytest.raises(HandleClosedError, match="this consumer is closed"):
            use()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_no_record_of_its_parents_consumer_and_does_not_disturb_it(world: FakeCluster) -> None:
    world.fill(20)
    consumer = world.consumer("flights", consumer_timeout_ms=0)
    iterator = iter(consumer)
    next(iterator)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        errors = 0
        with suppress(BaseException):
            for use in (iterator.__next__, consumer.poll, consumer.__next__):
                try:
                    use()
                except ForkedHandleError:
                    errors += 1
            consumer.close()
        os.write(write, b"%d" % errors)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert os.read(read, 10) == b"3"
    os.close(read)
    assert offsets(iterator) == list(range(1, 20))
    consumer.close()


def test_lag_in_seconds_is_the_age_of_the_next_record(world: FakeCluster) -> None:
    world.fill(20, 5)
    now_s = time.time()
    with world.consumer("flights") as consumer:
        consumer.poll(7)  # the records of a batch have one time: 1000 + its first offset, in ms since 1970
        lags = consumer.lag_seconds()
        assert consumer.position(P0) == 7
        assert lags[P0] == pytest.approx(now_s - 1.005, abs=60)
        assert lags[P2] == 0.0
        assert offsets(consumer.poll(100))[:3] == [7, 8, 9]
        assert consumer.lag_seconds() == {P0: 0.0, P1: 0.0, P2: 0.0}

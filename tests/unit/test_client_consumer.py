"""A consumer over partitions on the heap: what the application sees, record by record."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from shmlog.client import subscription as subscription_module
from shmlog.client.connection import Connection
from shmlog.client.consumer import NativeConsumer
from shmlog.control.messages import DescribeTopics, PartitionDescription
from shmlog.control.paths import runtime_paths
from shmlog.errors import (
    CorruptRecordError,
    ForkedHandleError,
    HandleClosedError,
    InvalidConfigError,
    InvalidRequestError,
    OffsetOutOfRangeError,
    SerializationError,
    UnknownTopicOrPartitionError,
)
from shmlog.memory.layout import OwnerState
from shmlog.model import OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.records import Record
from shmlog.partition.reader import PartitionReader
from shmlog.testing import wait_until
from shmlog.testing.fake_partition import FakePartition
from shmlog.testing.fake_supervisor import FakeSupervisor

P0, P1, P2 = (TopicPartition("flights", number) for number in range(3))


@dataclass
class World:
    """A topic `flights` with three partitions, and whoever asks for consumers."""

    supervisor: FakeSupervisor
    connection: Connection
    partitions: dict[TopicPartition, FakePartition] = field(default_factory=dict)

    def open_reader(self, partition: TopicPartition, _: PartitionDescription) -> PartitionReader:
        fake = self.partitions.setdefault(partition, FakePartition())
        return PartitionReader(partition, fake.attach, fake.segments)

    def consumer(self, *topics: str, **settings: object) -> NativeConsumer:
        return NativeConsumer(self.connection, self.open_reader, topics, settings)

    def fill(self, *counts: int) -> None:
        """Up to so many records in partition 0, 1, ..: five a batch, values are `partition:offset`."""
        for number, count in enumerate(counts):
            fake = self.partitions.setdefault(TopicPartition("flights", number), FakePartition())
            for first in range(fake.page.log_end_offset, count, 5):
                values = [b"%d:%d" % (number, offset) for offset in range(first, min(first + 5, count))]
                fake.append(*values, timestamp_ms=1000 + first)


@pytest.fixture
def world() -> Iterator[World]:
    supervisor = FakeSupervisor(runtime_paths("planes"))
    supervisor.topics["flights"] = 3
    made = World(supervisor, Connection("planes", supervisor.paths))
    yield made
    made.connection.close()
    made.supervisor.stop(forget=True)


def offsets(records: Iterable[Record]) -> list[int]:
    return [record.offset for record in records]


# --- records ----------------------------------------------------------------------------------------------------------


def test_iteration_gives_every_record_of_every_partition_in_partition_order(world: World) -> None:
    world.fill(20, 7, 13)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for record in consumer:
            assert record.value == b"%d:%d" % (record.partition, record.offset)
            seen[record.partition].append(record.offset)
        assert seen == {0: list(range(20)), 1: list(range(7)), 2: list(range(13))}


def test_iteration_goes_on_where_the_last_loop_was_left(world: World) -> None:
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


def test_poll_gives_at_most_what_was_asked_for_and_loses_nothing_between_polls(world: World) -> None:
    world.fill(23)
    with world.consumer("flights", max_poll_records=4) as consumer:
        found: list[int] = []
        while records := consumer.poll():
            assert len(records) <= 4
            found += offsets(records)
            assert consumer.position(P0) == found[-1] + 1
        assert found == list(range(23))
        with pytest.raises(InvalidRequestError, match="at least 1"):
            consumer.poll(0)


def test_no_partition_starves_while_another_has_much(world: World) -> None:
    world.fill(1000, 10, 10)
    with world.consumer("flights", fetch_max_bytes=1) as consumer:
        partitions = {record.partition for _ in range(3) for record in consumer.poll(5)}
        assert partitions == {0, 1, 2}


def test_poll_wakes_up_for_a_record_that_comes_while_it_waits(world: World) -> None:
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


def test_poll_without_news_gives_nothing_when_its_time_is_over(world: World) -> None:
    with world.consumer("flights") as consumer:
        assert consumer.poll(timeout=0.02) == []
        assert consumer.metrics()["sleeps"] == 1


def test_ctrl_c_interrupts_a_consumer_that_waits_for_ever(world: World) -> None:
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


def test_a_consumer_begins_at_the_earliest_record_unless_told_otherwise(world: World) -> None:
    world.fill(20)
    world.partitions[P0].delete_before(5)
    with world.consumer("flights") as consumer, world.consumer("flights", auto_offset_reset="latest") as late:
        assert consumer.position(P0) == 5
        assert late.position(P0) == 20  # as it was when the consumer was made
        world.fill(20 + 5)
        assert offsets(late.poll()) == [20, 21, 22, 23, 24]


def test_a_consumer_that_has_no_position_and_may_not_choose_one_says_so(world: World) -> None:
    world.fill(5)
    with world.consumer("flights", auto_offset_reset="none") as consumer:
        with pytest.raises(OffsetOutOfRangeError, match=r"seek\(\) first"):
            consumer.poll()
        for partition in (P0, P1, P2):
            consumer.seek(partition, 0)
        assert len(consumer.poll()) == 5


def test_seek_in_the_middle_of_a_loop_takes_effect_at_once(world: World) -> None:
    world.fill(20)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        seen: list[int] = []
        for record in consumer:
            seen.append(record.offset)
            if seen == [0, 1, 2]:
                consumer.seek(P0, 17)
        assert seen == [0, 1, 2, 17, 18, 19]


def test_the_ends_can_be_sought(world: World) -> None:
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
        with pytest.raises(InvalidRequestError, match="not negative"):
            consumer.seek(P0, -1)


def test_records_that_retention_took_away_are_skipped_with_a_count_or_an_error(
    world: World, caplog: pytest.LogCaptureFixture
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


def test_watermarks_lag_and_offsets_by_time(world: World) -> None:
    world.fill(20)
    with world.consumer("flights") as consumer:
        consumer.poll(3)
        assert consumer.watermarks(P0) == Watermarks(0, 20)
        assert consumer.lag() == {P0: 17, P1: 0, P2: 0}
        assert consumer.metrics()["lag"] == 17
        assert consumer.offsets_for_times({P0: 1006, P1: 0}) == {P0: OffsetAndTimestamp(10, 1010), P1: None}


def test_others_can_see_how_far_the_application_is(world: World) -> None:
    world.fill(20)
    with world.consumer("flights") as consumer:
        consumer.poll(3)
        assert dict(world.connection.region.positions())[1000] == 3
        consumer.poll(100)
        assert dict(world.connection.region.positions())[1000] == 20
    assert world.connection.region.positions() == []


# --- which partitions -------------------------------------------------------------------------------------------------


def test_an_unknown_topic_is_an_error_with_a_suggestion(world: World) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="did you mean 'flights'"):
        world.consumer("flihgts")


def test_an_unknown_setting_is_an_error_with_a_suggestion(world: World) -> None:
    with pytest.raises(InvalidConfigError, match="did you mean"):
        world.consumer("flights", auto_ofset_reset="latest")


def test_partitions_can_be_assigned_one_by_one(world: World) -> None:
    world.fill(5, 5, 5)
    with world.consumer() as consumer:
        with pytest.raises(InvalidRequestError, match=r"assign\(\)"):
            consumer.poll()
        consumer.assign([P1])
        assert consumer.assignment() == {P1}
        assert {record.partition for record in consumer.poll()} == {1}
        consumer.assign([P1, P2])
        assert {record.partition for record in consumer.poll()} == {2}  # what P1 had was read, and stays read
        wait_until(lambda: world.supervisor.subscribed == {1001, 1002})
        with pytest.raises(UnknownTopicOrPartitionError, match="topic 'flights' has no partition 3: it has 3"):
            consumer.assign([TopicPartition("flights", 3)])
        with pytest.raises(InvalidRequestError, match="flights-0 is not assigned"):
            consumer.seek(P0, 0)
    wait_until(lambda: world.supervisor.subscribed == set())


def test_paused_partitions_give_nothing_and_continue_where_they_were(world: World) -> None:
    world.fill(10, 10)
    with world.consumer("flights", consumer_timeout_ms=0) as consumer:
        seen = []
        for record in consumer:
            seen.append((record.partition, record.offset))
            if seen[-1] == (0, 2):
                consumer.pause(P0)
        assert seen == [(0, 0), (0, 1), (0, 2), *((1, offset) for offset in range(10))]
        assert consumer.paused() == {P0}
        assert consumer.position(P0) == 3
        consumer.resume(P0)
        assert offsets(consumer) == list(range(3, 10))


def test_partitions_that_are_added_later_are_read_from_their_first_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    with world.consumer("flights", auto_offset_reset="latest") as consumer:
        world.supervisor.topics["flights"] = 4
        world.fill(0, 0, 0, 5)
        records = wait_until(consumer.poll)
        assert [(record.partition, record.offset) for record in records] == [(3, offset) for offset in range(5)]


def test_the_supervisor_is_not_asked_at_every_poll(world: World) -> None:
    with world.consumer("flights") as consumer:
        for _ in range(100):
            consumer.poll()
        assert sum(isinstance(message, DescribeTopics) for message in world.supervisor.received) == 1


def test_a_topic_that_was_deleted_is_an_error_also_when_no_owner_lived_to_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    world.fill(5)
    with world.consumer("flights") as consumer:
        consumer.poll()
        del world.supervisor.topics["flights"]
        with pytest.raises(UnknownTopicOrPartitionError, match="no topic 'flights'"):
            wait_until(consumer.poll)


def test_a_topic_that_was_deleted_is_an_error_as_soon_as_its_owner_says_so(world: World) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:
        world.partitions[P2].page.state = OwnerState.DELETED
        assert len(consumer.poll(100)) == 5  # what was there before the error is given out first
        with pytest.raises(UnknownTopicOrPartitionError, match="was deleted"):
            wait_until(consumer.poll)


# --- bad records ------------------------------------------------------------------------------------------------------


def test_deserializers_make_objects_of_keys_and_values(world: World) -> None:
    fake = world.partitions.setdefault(P0, FakePartition())
    fake.append(b'{"delay": 3}', b"[1]")
    with world.consumer("flights", value_deserializer="json", consumer_timeout_ms=0) as consumer:
        assert [record.value for record in consumer] == [{"delay": 3}, [1]]
        consumer.seek(P0, 0)
        assert [record.value for record in consumer.poll()] == [{"delay": 3}, [1]]


def test_a_value_that_cannot_be_deserialized_stops_the_consumer_at_it_and_nothing_before_it_is_lost(
    world: World,
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


def test_a_corrupt_batch_stops_its_partition_only(world: World) -> None:
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


def test_a_closed_consumer_says_so_whatever_is_asked(world: World) -> None:
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
def test_a_forked_child_gets_no_record_of_its_parents_consumer_and_does_not_disturb_it(world: World) -> None:
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


# --- a cluster that comes back ----------------------------------------------------------------------------------------


def test_a_consumer_goes_on_after_its_cluster_was_killed_and_started_again(world: World) -> None:
    world.fill(10)
    consumer = world.consumer("flights")
    assert len(consumer.poll()) == 10
    world.supervisor.stop(forget=True)
    world.partitions[P0].come_back_from_nothing()
    world.fill(10 + 5)
    world.supervisor = FakeSupervisor(world.supervisor.paths, first_client_id=5)
    world.supervisor.topics["flights"] = 3
    world.supervisor.knows_old_clients = False
    assert offsets(consumer.poll(timeout=30.0)) == [10, 11, 12, 13, 14]
    assert world.supervisor.subscribed == {1000, 1001, 1002}
    assert dict(world.connection.region.positions())[1000] == 15
    consumer.close()


def test_records_flow_while_the_supervisor_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    with world.consumer("flights") as consumer:
        world.supervisor.stop()
        started = time.monotonic()
        for _ in range(50):
            world.partitions[P0].append(b"x")
            assert len(consumer.poll()) == 1
        assert time.monotonic() - started < 4.0  # one wait for the supervisor would be CONNECT_TIMEOUT_S
        world.supervisor = FakeSupervisor(world.supervisor.paths)

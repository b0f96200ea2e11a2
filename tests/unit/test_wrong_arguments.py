"""What users mistype: the error names the argument, what was given and what is expected, and nothing was done."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import shmlog
from shmlog.client.admin import NativeAdmin
from shmlog.client.consumer import NativeConsumer
from shmlog.client.producer import NativeProducer
from shmlog.errors import InvalidArgumentError, InvalidRequestError, SerializationError, UnknownTopicOrPartitionError
from shmlog.model import OffsetAndTimestamp, TopicPartition
from shmlog.native.records import Record
from shmlog.testing.fake_cluster import P0, FakeCluster, offsets
from shmlog.testing.partition_rig import TOPIC_NAME, Rig
from shmlog.testing.rig_producer import RigConnection, producer_of

# --- a record that is sent --------------------------------------------------------------------------------------------

WRONG_TOPICS = [b"flights", None, 5, ["flights"], P0, "\ud800"]
WRONG_HEADERS = [
    {"source": b"csv"},
    {},
    "source",
    ["ab"],
    ("source", b"csv"),
    [("source", b"csv", 1)],
    [("source", "csv")],
    [(b"source", b"csv")],
    [("\ud800", b"")],
    [5],
    5,
    False,
    np.array([1, 2]),
]
WRONG_TIMES = ["5", 1.5, time.time(), -1, 2**63 - 1, 2**70, time.time_ns(), dt.datetime(2013, 1, 1), True]
WRONG_NUMBERS = ["0", 0.0, 1.5, True, P0]


def refused(call: Callable[[], object], names: str) -> str:
    """What the error says; it must be one of ours and one of Python's, and begin with what was wrong."""
    with pytest.raises(InvalidArgumentError, match=f"^{names} must be .*, not ") as caught:
        call()
    assert isinstance(caught.value, InvalidRequestError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "names"),
    [
        *(
            ("headers", wrong, "(headers|the name of a header|the content of header 'source')")
            for wrong in WRONG_HEADERS
        ),
        *(("timestamp_ms", wrong, "timestamp_ms") for wrong in WRONG_TIMES),
        *(("partition", wrong, "partition") for wrong in WRONG_NUMBERS),
        ("on_delivery", "report", "on_delivery"),
    ],
)
def test_a_wrong_argument_of_send_is_named_and_the_record_is_not_accepted(
    connection: RigConnection, name: str, value: Any, names: str
) -> None:
    producer = producer_of(connection)
    refused(lambda: producer.send(TOPIC_NAME, b"1", **{name: value}), names)
    assert producer.metrics()["records"] == 0


@pytest.mark.parametrize("topic", WRONG_TOPICS)
def test_a_topic_that_is_no_text_is_refused(connection: RigConnection, topic: Any) -> None:
    producer = producer_of(connection)
    refused(lambda: producer.send(topic, b"1"), "topic")
    refused(lambda: producer.send_many(topic, [b"1"]), "topic")


@pytest.mark.parametrize("partition", [-1, 1, 2**31, 2**32, 2**70])
def test_a_partition_that_the_topic_has_not_is_refused_however_large(connection: RigConnection, partition: int) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match=f"has partitions 0 to 0, not {partition}$"):
        producer_of(connection).send(TOPIC_NAME, b"1", partition=partition)
    with pytest.raises(UnknownTopicOrPartitionError, match=f"has partitions 0 to 0, not {partition}$"):
        producer_of(connection, partitioner=lambda *_: partition).send(TOPIC_NAME, b"1")


@pytest.mark.parametrize("answer", [*WRONG_NUMBERS, None])
def test_a_partitioner_that_returns_no_number_is_refused(connection: RigConnection, answer: Any) -> None:
    producer = producer_of(connection, partitioner=lambda *_: answer)
    refused(lambda: producer.send(TOPIC_NAME, b"1"), "what the partitioner returns")


def test_numbers_of_numpy_and_lists_as_pairs_are_as_good_as_pythons_own(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    words = memoryview(bytearray(b"12345678")).cast("I")  # two items, eight bytes
    headers: Any = iter([["list", b"1"], ("view", memoryview(b"abc")[::-1]), ("words", words), ("none", None)])
    partition: Any = np.int32(0)
    time_ms: Any = np.int64(1_700_000_000_000)
    times_ms: Any = np.array([5])
    producer.send(TOPIC_NAME, b"1", headers=headers, partition=partition, timestamp_ms=time_ms)
    producer.send_many(TOPIC_NAME, [b"2"], timestamps_ms=times_ms, headers=([],))
    rig.run()
    first, second = rig.read_all()
    assert first.timestamp_ms == time_ms
    assert first.headers == (("list", b"1"), ("view", b"cba"), ("words", b"12345678"), ("none", None))
    assert (second.timestamp_ms, second.headers) == (5, ())


@pytest.mark.parametrize("values", ["abc", b"abc", {"a": b"1"}, None, 5])
def test_values_that_are_no_sequence_of_records_are_refused(connection: RigConnection, values: Any) -> None:
    producer = producer_of(connection, value_serializer="str")
    refused(lambda: producer.send_many(TOPIC_NAME, values), "values")
    assert producer.metrics()["records"] == 0


@pytest.mark.parametrize("name", ["keys", "headers", "timestamps_ms"])
@pytest.mark.parametrize("column", [b"1", {0: b"1"}, 5])
def test_a_column_that_is_no_sequence_is_refused(connection: RigConnection, name: str, column: Any) -> None:
    refused(lambda: producer_of(connection).send_many(TOPIC_NAME, [b"1"], **{name: column}), name)


def test_a_column_of_another_length_is_refused_before_anything_is_sent(connection: RigConnection) -> None:
    producer = producer_of(connection)
    with pytest.raises(InvalidArgumentError, match="keys has 1 items for 2 values"):
        producer.send_many(TOPIC_NAME, [b"1", b"2"], keys=[b"a"])
    assert producer.metrics()["records"] == 0


def test_an_error_of_send_many_says_at_which_record_it_stopped(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection)
    with pytest.raises(SerializationError) as caught:
        producer.send_many(TOPIC_NAME, [b"0", b"1", 2, b"3"])
    assert caught.value.__notes__ == ["this was record 2 (from 0) of 4 in send_many(); those before it were accepted"]
    rig.run()
    assert [record.value for record in rig.read_all()] == [b"0", b"1"]


def test_values_that_a_serializer_takes_away_meanwhile_are_an_error(connection: RigConnection) -> None:
    values = [b"1", b"2", b"3"]

    def serialize(value: bytes) -> bytes:
        del values[1:]
        return value

    with pytest.raises(IndexError):
        producer_of(connection, value_serializer=serialize).send_many(TOPIC_NAME, values)


# --- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["1", float("nan"), True, dt.timedelta(seconds=1)])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(
    connection: RigConnection, world: FakeCluster, timeout: Any
) -> None:
    producer = producer_of(connection)
    deliveries = producer.send_many(TOPIC_NAME, [b"1"])
    for wait in (producer.flush, producer.close, deliveries.result, deliveries[0].result):
        refused(partial(wait, timeout), "timeout")
    refused(lambda: world.consumer("flights").poll(timeout=timeout), "timeout")


@pytest.mark.parametrize("timeout", [None, float("inf"), 60, np.float32(60)])
def test_every_way_to_say_long_is_understood(
    rig: Rig, connection: RigConnection, world: FakeCluster, timeout: Any
) -> None:
    producer = producer_of(connection)
    deliveries = producer.send_many(TOPIC_NAME, [b"1"])
    rig.run()
    assert deliveries.result(timeout) == [0]
    producer.flush(timeout)
    world.fill(5)
    with world.consumer("flights") as consumer:
        assert offsets(consumer.poll(timeout=timeout)) == list(range(5))


# --- a consumer -------------------------------------------------------------------------------------------------------

NO_PARTITIONS = ["flights", ("flights", "0"), ("flights",), 0, None, ("flights", 0.5), (b"flights", 0)]


@pytest.mark.parametrize("partition", NO_PARTITIONS)
@pytest.mark.parametrize(
    "use",
    [
        lambda consumer, partition: consumer.seek(partition, 0),
        lambda consumer, partition: consumer.offsets_for_times({partition: 0}),
        lambda consumer, partition: consumer.assign([partition]),
        NativeConsumer.position,
        NativeConsumer.watermarks,
        NativeConsumer.pause,
        NativeConsumer.resume,
        NativeConsumer.seek_to_beginning,
        NativeConsumer.seek_to_end,
    ],
)
def test_what_is_no_partition_is_refused_wherever_one_is_wanted(
    world: FakeCluster, use: Callable[[NativeConsumer, Any], object], partition: Any
) -> None:
    with world.consumer("flights") as consumer:
        refused(lambda: use(consumer, partition), "a partition")


def test_a_list_of_partitions_where_several_arguments_are_wanted_is_told_so(world: FakeCluster) -> None:
    wrong: Any = [P0]
    with world.consumer("flights") as consumer:
        for use in (consumer.pause, consumer.resume, consumer.seek_to_beginning, consumer.seek_to_end):
            assert refused(partial(use, wrong), "a partition").endswith("put a * in front")


@pytest.mark.parametrize("partitions", ["flights", P0, {P0: 5}, None, 5])
def test_assign_wants_a_list_of_partitions(world: FakeCluster, partitions: Any) -> None:
    with world.consumer("flights") as consumer:
        assigned = consumer.assignment()
        refused(lambda: consumer.assign(partitions), "partitions")
        assert consumer.assignment() == assigned


def test_pairs_and_sets_are_as_good_as_partitions(world: FakeCluster) -> None:
    world.fill(5)
    pair: Any = ("flights", 0)
    offset: Any = np.int64(3)
    with world.consumer("flights") as consumer:
        consumer.assign({P0})
        consumer.assign([pair])
        consumer.seek(pair, offset)
        assert consumer.position(pair) == 3
        assert type(consumer.position(pair)) is int
        assert [type(found) for found in consumer.offsets_for_times({pair: 0})] == [TopicPartition]


@pytest.mark.parametrize("offset", ["3", 1.5, None, True, -1, 2**63, OffsetAndTimestamp(3, 1000)])
def test_an_offset_that_is_none_is_refused_and_the_position_stays(world: FakeCluster, offset: Any) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:
        consumer.seek(P0, 2)
        refused(lambda: consumer.seek(P0, offset), "offset")
        assert consumer.position(P0) == 2


@pytest.mark.parametrize("time_ms", [*WRONG_TIMES, None, -2])
def test_a_search_for_what_is_no_time_is_refused(world: FakeCluster, time_ms: Any) -> None:
    with world.consumer("flights") as consumer:
        refused(lambda: consumer.offsets_for_times({P0: time_ms}), "the time for flights-0")


@pytest.mark.parametrize("times", [[P0], P0, None, 5])
def test_a_search_wants_a_time_for_each_partition(world: FakeCluster, times: Any) -> None:
    with world.consumer("flights") as consumer:
        refused(lambda: consumer.offsets_for_times(times), "times_ms")


@pytest.mark.parametrize("count", ["5", 1.5, True, 0, -1, 2**70])
def test_a_number_of_records_that_is_none_is_refused(world: FakeCluster, count: Any) -> None:
    with world.consumer("flights") as consumer:
        assert "how long to wait is timeout=SECONDS" in refused(lambda: consumer.poll(count), "max_records")


@pytest.mark.parametrize("topic", [b"flights", None, 5, [["flights"]], ("flights", 5), P0, {"flights": 1}])
def test_a_consumer_is_made_of_names_of_topics(world: FakeCluster, topic: Any) -> None:
    assert "several topics are several arguments" in refused(lambda: world.consumer(topic), "a topic")


@pytest.mark.parametrize("topics", [["flights"], ("flights",), {"flights"}, ["flights", "flights"]])
def test_a_consumer_takes_a_list_of_topics(world: FakeCluster, topics: Any) -> None:
    with world.consumer(topics) as consumer:
        assert P0 in consumer.assignment()
    with world.consumer([]) as consumer:
        assert not consumer.assignment()


# --- topics -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda admin: admin.create_topic(b"flights"), "name"),
        (lambda admin: admin.create_topic("flights", partitions="6"), "partitions"),
        (lambda admin: admin.create_topic("flights", partitions=6.0), "partitions"),
        (lambda admin: admin.create_topic("flights", replication_factor="2"), "replication_factor"),
        (lambda admin: admin.create_topic("flights", config="retention.ms=5"), "config"),
        (lambda admin: admin.create_topic("flights", config=[("retention.ms", 5)]), "config"),
        (lambda admin: admin.create_topic("flights", config={5: 5}), "each of the settings in config"),
        (lambda admin: admin.delete_topic(None), "name"),
        (lambda admin: admin.describe_topic(["flights"]), "name"),
        (lambda admin: admin.describe_topics("flights"), "names"),
        (lambda admin: admin.describe_topics([b"flights"]), "each of names"),
        (lambda admin: admin.alter_topic("\ud800"), "name"),
        (lambda admin: admin.alter_topic("flights", set=5), "set"),
        (lambda admin: admin.alter_topic("flights", unset="retention.ms"), "unset"),
        (lambda admin: admin.alter_configs(5, []), "topic"),
        (lambda admin: admin.alter_configs("flights", {"retention.ms": 5}), "changes"),
        (lambda admin: admin.describe_configs(None), "name"),
        (lambda admin: admin.create_partitions("flights", "6"), "total"),
        (lambda admin: admin.create_partitions("flights", None), "total"),
    ],
)
def test_a_wrong_argument_about_topics_is_named(world: FakeCluster, call: Callable[[Any], object], names: str) -> None:
    refused(lambda: call(NativeAdmin(world.connection)), names)


# --- clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: shmlog.connect(b"default"), "name"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.connect(5), "name"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.connect(timeout="1"), "timeout"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.connect(timeout=float("nan")), "timeout"),
        (lambda: shmlog.connect(timeout=None), "timeout"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.start(5), "data_dir"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.start(b"data"), "data_dir"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.start(name=5), "name"),  # type: ignore[arg-type]  # what is tested
        (lambda: shmlog.start(config=[("num.partitions", 3)]), "config"),  # type: ignore[arg-type]  # what is tested
    ],
)
def test_a_wrong_argument_about_a_cluster_is_named(call: Callable[[], object], names: str) -> None:
    refused(call, names)


# --- values and handles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("topic", wrong) for wrong in WRONG_TOPICS[:-1]),
        *((name, wrong) for name in ("partition", "offset", "timestamp_ms") for wrong in (*WRONG_NUMBERS, None, 2**70)),
        *(("headers", wrong) for wrong in (*WRONG_HEADERS[:8], None)),
    ],
)
def test_a_wrong_field_of_a_record_is_named(name: str, value: Any) -> None:
    names = "(headers|the name of a header|the content of header 'source')" if name == "headers" else name
    refused(lambda: Record(**{name: value}), names)


def test_a_producer_a_consumer_and_a_delivery_cannot_travel_and_say_what_to_do(
    connection: RigConnection, world: FakeCluster
) -> None:
    producer = producer_of(connection)
    deliveries = producer.send_many(TOPIC_NAME, [b"1"])
    with world.consumer("flights") as consumer:
        for handle in (producer, consumer, world.connection):
            for use in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(InvalidArgumentError, match=r"cannot be pickled or copied.*shmlog\.connect\(NAME\)"):
                    use(handle)
    for delivery in (deliveries, deliveries[0]):
        with pytest.raises(InvalidArgumentError, match=r"pass on what its result\(\) returns"):
            pickle.dumps(delivery)


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (NativeConsumer, ["commit_async", "store_offsets", "memberid", "end_offsets", "consume", "list_topics"]),
        (NativeProducer, ["produce", "poll", "send_and_wait", "begin_transaction", "list_topics"]),
    ],
)
def test_a_name_of_kafkas_clients_says_how_it_is_done_here(owner: type, names: list[str]) -> None:
    for name in names:
        assert not hasattr(owner, name)
        with pytest.raises(AttributeError, match=rf"there is no {name}\(\) here: "):
            getattr(owner, name)

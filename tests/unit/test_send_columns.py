"""Columns into a lane: every form of them, what is refused, and what a run of records is counted as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from shmlog.client.producer import NativeProducer
from shmlog.errors import InvalidArgumentError, RecordTooLargeError
from shmlog.log.dump import BatchRow, dump_log
from shmlog.native.checksum import murmur2
from shmlog.record.header import BatchHeader
from shmlog.testing.partition_rig import TOPIC_NAME, LaneFullError, Rig
from shmlog.testing.rig_producer import RigConnection, producer_of

Items = Sequence[bytes | None]
VALUES = [b"", b"a", b"\0", b"two\0", b"x" * 15, b"x" * 16, b"x" * 17, b"y" * 127, b"y" * 128, b"y" * 129, b"z" * 9000]


def pair(items: Items, dtype: str = "int64") -> tuple[np.ndarray[Any, Any], bytes]:
    whole = [item or b"" for item in items]
    return np.cumsum([0, *map(len, whole)], dtype=dtype), b"".join(whole)


FORMS: dict[str, Callable[[Items], object]] = {
    "offsets of 64 bits": pair,
    "offsets of 32 bits": lambda items: pair(items, "int32"),
    "a bytearray behind the offsets": lambda items: (pair(items)[0], bytearray(pair(items)[1])),
}


@pytest.mark.parametrize("form", FORMS)
def test_values_arrive_as_they_were_in_every_form(rig: Rig, form: str) -> None:
    lane = rig.lane()
    deliveries = lane.send_columns(TOPIC_NAME, FORMS[form](VALUES))
    rig.run()
    assert rig.values() == VALUES
    assert len(deliveries) == len(VALUES)
    lane.writer.reclaim()
    assert deliveries.result() == list(range(len(VALUES)))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(12, dtype=np.uint8).reshape(3, 4), [bytes(range(4)), bytes(range(4, 8)), bytes(range(8, 12))]),
        (np.arange(12, dtype=np.uint8).reshape(3, 4)[::-2, 1:3], [bytes([9, 10]), bytes([1, 2])]),
        (np.empty((3, 0), dtype=np.uint8), [b"", b"", b""]),
        (np.array([b"ab", b"", b"a\0b"]), [b"ab", b"", b"a\0b"]),
        (np.array([b"a\0", b"\0\0"], dtype="S2"), [b"a", b""]),
        (np.array([b"a\0", b"\0\0"], dtype="V2"), [b"a\0", b"\0\0"]),
        (np.array([(1, 2)], dtype=[("a", "<u2"), ("b", "u1")]), [b"\1\0\2"]),
    ],
)
def test_items_of_a_fixed_width_are_cut_out_of_their_rows(
    rig: Rig, array: object, expected: list[bytes | None]
) -> None:
    """dtype S has no zero bytes at its end, as numpy gives it out; everything else is taken as it is."""
    rig.lane().send_columns(TOPIC_NAME, array)
    rig.run()
    assert rig.values() == expected


@pytest.mark.parametrize(
    ("timestamps", "expected"),
    [
        ([5, 3, 9], [5, 3, 9]),
        (np.array([5, 3, 9], dtype=np.int32), [5, 3, 9]),
        (np.array(["1970-01-01T00:00:01"] * 3, dtype="datetime64[s]"), [1000] * 3),
    ],
)
def test_timestamps_are_integers_or_times(rig: Rig, timestamps: object, expected: list[int]) -> None:
    lane = rig.lane()
    deliveries = lane.send_columns(TOPIC_NAME, pair([b"a", b"b", b"c"]), timestamps_ms=timestamps)
    rig.run()
    assert [record.timestamp_ms for record in rig.read_all()] == expected
    lane.writer.reclaim()
    assert [delivery.result().timestamp_ms for delivery in deliveries] == expected


def test_records_without_timestamps_are_of_now(rig: Rig) -> None:
    lane = rig.lane()
    lane.send_columns(TOPIC_NAME, pair([b"a", b"b"]))
    lane.send_many(TOPIC_NAME, [b"c", b"d"])
    before = lane.send(TOPIC_NAME, b"e")
    rig.run()
    lane.writer.reclaim()
    last = before.result().timestamp_ms
    times = [record.timestamp_ms for record in rig.read_all()]
    assert times == sorted(times)
    assert last - 60_000 < times[0] <= last


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([b"a"], "for a list there is send_many"),
        (b"abc", "values must be an array of fixed width"),
        (7, "values must be"),
        (np.arange(3), "this is of 1 dimensions and format 'l'"),
        (np.array(["text"]), "format '4w'"),
        (np.array([b"a", None], dtype=object), "format 'O'"),
        (np.zeros((2, 2, 2), dtype=np.uint8), "of 3 dimensions"),
        (np.zeros((4, 4), dtype=np.uint8)[:, ::2], "of 2 dimensions"),
        ((np.array([0, 1]), [b"a"]), "contiguous buffer"),
        ((np.array([0.0, 1.0]), b"a"), "the offsets of values must be a contiguous array of int32 or int64"),
        ((np.array([], dtype=np.int64), b"a"), "one more than records"),
        ((np.array([0, 9, 1, 9, 2])[::2], b"aa"), "contiguous"),
        ((np.array([0, 2, 1]), b"aa"), r"those of record 1 \(from 0\) do not"),
        ((np.array([0, 3]), b"aa"), "within its buffer of 2 bytes; those of record 0"),
        ((np.array([-1, 1]), b"aa"), "those of record 0"),
    ],
)
def test_what_is_no_column_is_refused_and_nothing_is_sent(rig: Rig, values: object, said: str) -> None:
    lane = rig.lane()
    with pytest.raises(InvalidArgumentError, match=said):
        lane.send_columns(TOPIC_NAME, values)
    rig.run()
    assert rig.values() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keys": pair([b"k"])}, "keys has 1 items for 2 values"),
        ({"timestamps_ms": [1]}, "timestamps_ms has 1 items for 2 values"),
        ({"timestamps_ms": [1, -1]}, "each of timestamps_ms must be an integer from 0"),
        ({"timestamps_ms": [1.0, 2.0]}, "an array of integers or of datetime64"),
        ({"timestamps_ms": np.array(["NaT", "NaT"], dtype="datetime64[ms]")}, "each of timestamps_ms"),
    ],
)
def test_columns_that_do_not_fit_the_values_are_refused(rig: Rig, arguments: dict[str, Any], said: str) -> None:
    lane = rig.lane()
    with pytest.raises(InvalidArgumentError, match=said):
        lane.send_columns(TOPIC_NAME, pair([b"a", b"b"]), **arguments)
    rig.run()
    assert rig.values() == []


def test_no_records_are_no_deliveries(rig: Rig) -> None:
    lane = rig.lane()
    for nothing in (pair([]), np.empty((0, 5), dtype=np.uint8), np.array([], dtype="S5")):
        deliveries = lane.send_columns(TOPIC_NAME, nothing)
        assert (len(deliveries), deliveries.result()) == (0, [])
    assert lane.send_many(TOPIC_NAME, []).result() == []


def test_what_does_not_fit_says_which_record_it_was_and_those_before_it_were_accepted(rig: Rig) -> None:
    lane = rig.lane()
    with pytest.raises(RecordTooLargeError) as refused:
        lane.send_columns(TOPIC_NAME, pair([b"a", b"b", bytes(70_000), b"c"]))
    assert refused.value.__notes__ == [
        "this was record 2 (from 0) of 4 in send_columns(); those before it were accepted"
    ]
    rig.run()
    assert rig.values() == [b"a", b"b"]


def test_a_lane_that_is_full_takes_what_fits_and_says_so(rig: Rig) -> None:
    lane = rig.lane()
    values = np.zeros((5000, 100), dtype=np.uint8)
    with pytest.raises(LaneFullError) as full:
        lane.send_columns(TOPIC_NAME, values)
    rig.run()
    accepted = len(rig.values())
    assert 1000 < accepted < 5000
    assert f"this was record {accepted} " in full.value.__notes__[0]


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["send", "many", "columns"]),
        st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 10**12)), min_size=1, max_size=9),
        st.booleans(),
    ),
    max_size=12,
)


def test_however_records_are_sent_they_arrive_once_in_order_and_batches_know_their_latest(rig: Rig) -> None:
    lane = rig.lane()

    @settings(deadline=None, max_examples=60)
    @given(calls=CALLS)
    def check(calls: list[tuple[str, list[tuple[bytes, int]], bool]]) -> None:
        first = rig.publisher.tail_offset
        sent: list[tuple[bytes, int]] = []
        for how, records, taken in calls:
            values, times = [value for value, _ in records], [time for _, time in records]
            if how == "columns":
                lane.send_columns(TOPIC_NAME, pair(values), timestamps_ms=times)
            elif how == "many":
                lane.send_many(TOPIC_NAME, values, timestamps_ms=times)
            else:
                for value, time in records:
                    lane.send(TOPIC_NAME, value, timestamp_ms=time)
            sent += records
            if taken:
                rig.run()
        rig.run()
        assert [(record.value, record.timestamp_ms) for record in rig.read_all(first)] == sent
        for header in headers_from(rig, first):
            within = sent[header.base_offset - first : header.next_offset - first]
            assert header.max_timestamp_ms == max(time for _, time in within)

    check()


def headers_from(rig: Rig, offset: int) -> list[BatchHeader]:
    [log] = rig.directory.glob("*.log")
    rows = [row for row in dump_log(str(log)) if isinstance(row, BatchRow)]
    return [row.header for row in rows if row.header.base_offset >= offset]


# --- several partitions -----------------------------------------------------------------------------------------------


def records_by_partition(connection: RigConnection, send: Callable[[NativeProducer], object]) -> list[int]:
    """How many records `send` puts into each of three partitions."""
    connection.partitions = 3
    producer = producer_of(connection, batch_size=1000)
    send(producer)
    lanes = producer.topics[TOPIC_NAME].lanes
    return [0 if lane is None else lane.records for lane in lanes]


def test_keys_of_a_column_choose_the_partitions_that_they_choose_anywhere(connection: RigConnection) -> None:
    keys = [b"key-%d" % k for k in range(50)]
    expected = [0, 0, 0]
    for key in keys:
        expected[(murmur2(key) & 0x7FFFFFFF) % 3] += 1
    values = pair([b"v"] * 50)
    assert records_by_partition(connection, lambda to: to.send_columns(TOPIC_NAME, values, pair(keys))) == expected


def test_columns_without_keys_go_round_in_shares_of_a_batch(connection: RigConnection) -> None:
    values = np.zeros((60, 90), dtype=np.uint8)  # a share of 1000 bytes is ten of them
    shares = records_by_partition(connection, lambda to: to.send_columns(TOPIC_NAME, values))
    assert sum(shares) == 60
    assert all(share % 10 == 0 for share in shares)
    assert max(shares) < 60


def test_lists_without_keys_go_round_in_the_same_shares(connection: RigConnection) -> None:
    shares = records_by_partition(connection, lambda to: to.send_many(TOPIC_NAME, [bytes(90)] * 60))
    assert sum(shares) == 60
    assert all(share % 10 == 0 for share in shares)
    assert max(shares) < 60


def test_a_partition_that_is_named_takes_all_of_a_column(connection: RigConnection) -> None:
    values, keys = pair([b"v"] * 50), pair([b"key-%d" % k for k in range(50)])
    assert records_by_partition(connection, lambda to: to.send_columns(TOPIC_NAME, values, keys, 2)) == [0, 0, 50]


def test_a_partitioner_of_ones_own_is_given_the_keys_of_a_column(rig: Rig, connection: RigConnection) -> None:
    connection.partitions = 3
    seen: list[bytes | None] = []

    def choose(_: str, key: bytes | None, count: int) -> int:
        seen.append(key)
        return len(seen) % count

    producer = producer_of(connection, partitioner=choose)
    producer.send_columns(TOPIC_NAME, pair([b"v"] * 3), pair([b"a", b"b", b"c"]))
    producer.send_columns(TOPIC_NAME, pair([b"v"]))
    assert seen == [b"a", b"b", b"c", None]
    assert [lane.records for lane in producer.topics[TOPIC_NAME].lanes if lane is not None] == [1, 2, 1]


def test_a_producer_with_serializers_sends_columns_as_they_are(rig: Rig, connection: RigConnection) -> None:
    producer = producer_of(connection, value_serializer="json")
    producer.send_columns(TOPIC_NAME, pair([b"as it is"]))
    rig.run()
    assert rig.values() == [b"as it is"]


def test_deliveries_of_interleaved_partitions_know_their_records(rig: Rig, connection: RigConnection) -> None:
    """Each record changes the partition, and comes back to a batch that was met before."""
    connection.partitions = 3
    turns = iter(range(100))
    producer = producer_of(connection, partitioner=lambda *_: next(turns) % 3, enable_idempotence=False)
    deliveries = producer.send_many(TOPIC_NAME, [b"%d" % k for k in range(30)], timestamps_ms=list(range(30)))
    rig.run()
    told = [delivery.result() for delivery in deliveries]
    assert [outcome.partition for outcome in told] == [k % 3 for k in range(30)]
    assert [outcome.timestamp_ms for outcome in told] == list(range(30))
    there = {record.offset: record.value for record in rig.read_all()}  # all lanes lead to one partition here
    assert [there[outcome.offset] for outcome in told] == [b"%d" % k for k in range(30)]
    assert deliveries.result() == [outcome.offset for outcome in told]
    assert deliveries[-1].result() == told[-1]


def test_a_list_may_mix_bytes_with_what_can_be_made_bytes(rig: Rig, connection: RigConnection) -> None:
    values, keys = [b"a", bytearray(b"b"), None, memoryview(b"c"), b"d"], [b"k", None, b"", None, b"l"]
    producer_of(connection).send_many(TOPIC_NAME, values, keys=keys)
    rig.run()
    assert [(record.value, record.key) for record in rig.read_all()] == [
        (b"a", b"k"), (b"b", None), (None, b""), (b"c", None), (b"d", b"l"),
    ]  # fmt: skip
    assert rig.control.counters()["batches"] == 1

"""Where `shmlog group reset-offsets` goes, and how `shmlog group describe` reckons lag."""

from __future__ import annotations

from typing import Any

import click
import pytest

from shmlog.cli.group.lag import LagMeter, total
from shmlog.cli.group.targets import Target
from shmlog.cli.output import text_table
from shmlog.client.group_results import ConsumerGroupDescription, GroupMemberInfo
from shmlog.errors import OffsetOutOfRangeError
from shmlog.model import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition, Watermarks
from shmlog.native.records import Record

P0, P1, P2 = (TopicPartition("flights", number) for number in range(3))
RANGES = {P0: Watermarks(10, 100), P1: Watermarks(0, 50), P2: Watermarks(0, 0)}
COMMITTED = {P0: 60, P1: 45}
NOW_MS = 1_000_000


class FakeCluster:
    """Counters of partitions, and consumers that find one record at every offset: written `offset` seconds after 0."""

    def __init__(self) -> None:
        self.counts = {
            place: {"log_start_offset": low, "high_watermark": high} for place, (low, high) in RANGES.items()
        }
        self.consumers = 0
        self._place = P0
        self._offset = 0

    def metrics(self) -> dict[TopicPartition, dict[str, int]]:
        return self.counts

    def consumer(self) -> Any:
        self.consumers += 1
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.consumers -= 1

    def assign(self, places: list[TopicPartition]) -> None:
        self._place = places[0]

    def seek(self, place: TopicPartition, offset: int) -> None:
        assert place == self._place
        self._offset = offset

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        return [Record(*self._place, self._offset, 1000 * self._offset)]

    def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return {place: OffsetAndTimestamp(20, at) if place == P0 else None for place, at in times.items()}


@pytest.fixture
def cluster() -> Any:
    return FakeCluster()


def group(offsets: dict[TopicPartition, int], *assigned: TopicPartition, member: str = "m") -> ConsumerGroupDescription:
    reader = GroupMemberInfo(member, None, 7, "py", 4711, ("flights",), None, 1, "stable", assigned, assigned, 0)
    known = {place: OffsetAndMetadata(offset, "note") for place, offset in offsets.items()}
    return ConsumerGroupDescription("g", "Stable", 1, "range", (reader,), known, dict.fromkeys(offsets, 5))


def test_a_name_with_line_ends_and_escapes_stays_on_its_line() -> None:
    assert text_table(["group", "lag"], [["a\nb\x1b[31m", 1], ["é 日", 2]]).splitlines() == [
        "group         lag",
        r"a\nb\x1b[31m    1",
        "é 日             2",
    ]


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "offsets"),
    [
        ("earliest", {P0: 10, P1: 0, P2: 0}),
        ("latest", {P0: 100, P1: 50, P2: 0}),
        ("70", {P0: 70, P1: 50, P2: 0}),
        ("5", {P0: 10, P1: 5, P2: 0}),
        ("@1234", {P0: 20, P1: 50, P2: 0}),
        ("+7", {P0: 67, P1: 50}),
        ("-50", {P0: 10, P1: 0}),
        ("-1", {P0: 59, P1: 44}),
    ],
)
def test_a_target_is_an_offset_of_each_partition_within_what_it_has(
    cluster: Any, to: str, offsets: dict[TopicPartition, int]
) -> None:
    assert Target.parse(to).offsets(cluster, RANGES, COMMITTED) == offsets


def test_an_offset_that_no_partition_has_is_refused(cluster: Any) -> None:
    with pytest.raises(OffsetOutOfRangeError, match="offset 101 is in none of the partitions: flights-0 has 10 to 100"):
        Target.parse("101").offsets(cluster, RANGES, COMMITTED)


@pytest.mark.parametrize("to", ["", "+", "-", "+-1", "1.5", "@", "@yesterday", "first", "+1e3"])
def test_what_is_no_target_is_a_usage_error(to: str) -> None:
    with pytest.raises(click.UsageError, match="--to takes"):
        Target.parse(to)


# --- lag --------------------------------------------------------------------------------------------------------------


def test_lag_counts_what_can_be_read_and_is_not_committed_and_how_old_the_first_of_it_is(cluster: Any) -> None:
    found = LagMeter(cluster, lambda: NOW_MS).measure(group({P0: 95, P1: 5, P2: 0}, P0))
    assert [(one.place, one.lag, one.lag_seconds) for one in found] == [(P1, 45, 995.0), (P0, 5, 905.0), (P2, 0, 0.0)]
    assert total(found) == (50, 995.0)
    assert [one.member and one.member.pid for one in found] == [None, 4711, None]


def test_records_that_are_deleted_are_not_waited_for(cluster: Any) -> None:
    (found,) = LagMeter(cluster, lambda: NOW_MS).measure(group({P0: 4}))
    assert (found.lag, found.lag_seconds) == (90, 990.0)


def test_a_record_from_the_future_has_no_negative_age(cluster: Any) -> None:
    (found,) = LagMeter(cluster, lambda: 0).measure(group({P0: 60}))
    assert found.lag_seconds == 0.0


def test_what_is_not_known_is_shown_last_and_as_such(cluster: Any) -> None:
    del cluster.counts[P1]
    found = LagMeter(cluster, lambda: NOW_MS).measure(group({P0: 100, P1: 45}, P2))
    assert [(one.place, one.committed, one.end, one.lag, one.lag_seconds) for one in found] == [
        (P0, 100, 100, 0, 0.0),
        (P1, 45, None, None, None),
        (P2, None, 0, None, None),
    ]


def test_one_consumer_looks_at_all_records_and_is_closed(cluster: Any) -> None:
    meter = LagMeter(cluster, lambda: NOW_MS)
    for _ in range(2):
        meter.measure(group({P0: 60, P1: 45}))
    assert cluster.consumers == 1
    meter.close()
    assert cluster.consumers == 0


def test_rows_have_all_that_programs_may_ask_for(cluster: Any) -> None:
    (found,) = LagMeter(cluster, lambda: NOW_MS).measure(group({P0: 60}, P0))
    assert found.row() == {
        "topic": "flights",
        "partition": 0,
        "committed": 60,
        "end": 100,
        "lag": 40,
        "lag_seconds": 940.0,
        "member_id": "m",
        "client": "py",
        "pid": 4711,
        "metadata": "note",
        "committed_ms": 5,
    }

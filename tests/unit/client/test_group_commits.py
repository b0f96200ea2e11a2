"""What a consumer in a group commits: as it goes on, when told to, when it gives partitions up, and when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from shmlog import OffsetAndMetadata
from shmlog.client.api import Consumer
from shmlog.client.consumer import NativeConsumer
from shmlog.control.group_messages import CommitOffsets, FetchOffsets, GroupOffset, JoinGroup, LeaveGroup
from shmlog.errors import (
    CommitFailedError,
    CoordinatorNotAvailableError,
    InvalidArgumentError,
    InvalidRequestError,
    UnknownMemberError,
)
from shmlog.model import TopicPartition
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, P2, FakeCluster, offsets
from shmlog.testing.fake_coordinator import FakeCoordinator

ID0, ID1 = 1000, 1001
"""Partition ids."""


def member(world: FakeCluster, **settings: object) -> NativeConsumer:
    """In group `delays`, from the earliest record; has its partitions."""
    given = {"group_id": "delays", "auto_offset_reset": "earliest", "consumer_timeout_ms": 0}
    consumer = world.consumer("flights", **given | settings)
    wait_until(lambda: consumer.assignment() or consumer.poll(1, timeout=-1) or consumer.assignment())
    return consumer


@pytest.fixture
def one(coordinator: FakeCoordinator, world: FakeCluster) -> FakeCoordinator:
    """Gives partition 0, with a hundred records, to who joins."""
    world.fill(100, 100)
    coordinator.first = [P0]
    return coordinator


def reads(consumer: NativeConsumer, *partitions: TopicPartition) -> None:
    """Poll until these are what it reads."""
    while consumer.assignment() != set(partitions):
        consumer.poll(1, timeout=0.01)


def cell(coordinator: FakeCoordinator, consumer: NativeConsumer, partition_id: int = ID0) -> int | None:
    """What the coordinator finds in the member's memory."""
    assert consumer.member_id is not None
    found = coordinator.cells(consumer.member_id).get(partition_id)
    return None if found is None else found.offset


# --- automatic commits ------------------------------------------------------------------------------------------------


def test_a_poll_commits_what_the_one_before_it_gave(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world) as consumer:
        consumer.seek(P0, 0)
        for polls in range(4):
            assert cell(one, consumer) in (None, 0) if polls < 2 else cell(one, consumer) == 10 * (polls - 1)
            assert len(consumer.poll(10)) == 10
        assert one.cells(consumer.member_id or "")[ID0].leader_epoch == 0


def test_a_loop_commits_a_slice_when_its_last_record_is_finished(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, max_poll_records=10) as consumer:
        consumer.seek(P0, 0)
        for record in consumer:
            finished = record.offset // 10 * 10
            assert cell(one, consumer) == (finished or 0)
        assert cell(one, consumer) == 100


def test_a_batch_that_is_being_gathered_is_not_committed(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world) as consumer:
        consumer.seek(P0, 0)
        batches = consumer.batches(max_records=150, max_wait_ms=20)
        assert len(next(batches)) == 100
        assert cell(one, consumer) in (None, 0)
        world.fill(103)
        assert len(next(batches)) == 3
        assert cell(one, consumer) == 100


def test_columns_are_committed_like_records(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world) as consumer:
        consumer.seek(P0, 0)
        assert len(consumer.poll_columns(max_records=7)) == 7
        assert len(consumer.poll_columns(max_records=7)) == 7
        assert one.cells(consumer.member_id or "")[ID0] == (7, 0)


@pytest.mark.parametrize("how", ["for", "poll", "columns"])
def test_a_task_commits_as_a_thread_does(world: FakeCluster, one: FakeCoordinator, how: str) -> None:
    async def main() -> None:
        async with member(world, max_poll_records=10) as consumer:
            consumer.seek(P0, 0)
            if how == "for":
                async for record in consumer:
                    assert cell(one, consumer) == record.offset // 10 * 10
                assert cell(one, consumer) == 100
                return
            poll: Callable[[int], object] = consumer.apoll if how == "poll" else consumer.apoll_columns
            for polls in range(3):
                assert len(await poll(10)) == 10  # type: ignore[misc]  # both are awaited, and have a length
                assert cell(one, consumer) == polls * 10

    asyncio.run(main())


def test_where_a_newcomer_begins_is_committed_before_it_has_any_record(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with member(world, auto_offset_reset="latest") as consumer:
        assert cell(one, consumer) == 100


def test_without_automatic_commits_nothing_is_stored(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        consumer.poll(10)
        consumer.poll(10)
        assert cell(one, consumer) is None
    (leave,) = one.of(LeaveGroup)
    assert isinstance(leave, LeaveGroup)
    assert leave.final == []


def test_who_closes_commits_everything(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world) as consumer:
        consumer.seek(P0, 0)
        consumer.poll(10)
    (leave,) = one.of(LeaveGroup)
    assert isinstance(leave, LeaveGroup)
    assert [(one.partition, one.offset, one.leader_epoch) for one in leave.final] == [(0, 10, 0)]


def fail_after(consumer: NativeConsumer, read: Callable[[NativeConsumer], object]) -> None:
    """A `with` block that ends with an exception."""
    with consumer:
        read(consumer)
        raise LookupError


def loop_up_to(offset: int) -> Callable[[NativeConsumer], object]:
    """Leave a loop over this record."""

    def read(consumer: NativeConsumer) -> None:
        for record in consumer:
            if record.offset == offset:
                raise LookupError

    return read


def test_who_fails_does_not_commit_the_record_that_it_failed_over(world: FakeCluster, one: FakeCoordinator) -> None:
    with pytest.raises(LookupError):
        fail_after(member(world, max_poll_records=50), loop_up_to(77))
    assert one.committed[P0].offset == 77


def test_who_fails_between_records_does_not_commit_less_than_before(world: FakeCluster, one: FakeCoordinator) -> None:
    with pytest.raises(LookupError):
        fail_after(member(world, max_poll_records=50), list)
    assert one.committed[P0].offset == 100


def test_who_fails_over_a_list_commits_nothing_of_it(world: FakeCluster, one: FakeCoordinator) -> None:
    consumer = member(world)
    consumer.seek(P0, 20)
    with pytest.raises(LookupError):
        fail_after(consumer, lambda consumer: (consumer.poll(10), consumer.poll(10)))
    assert one.committed[P0].offset == 30


def test_what_is_given_up_is_said_with_its_final_position(world: FakeCluster, one: FakeCoordinator) -> None:
    one.first = [P0, P1]
    with member(world) as consumer:
        wait_until(lambda: not consumer.poll(500))
        serial = one.assign(consumer.member_id or "", P1)
        reads(consumer, P1)
        owns = one.owns(serial)
        assert [(one.topic, one.partition, one.offset) for one in owns.final] == [("flights", 0, 100)]
        assert dict(world.connection.region.positions()).keys() == {ID1}


def test_records_that_are_not_given_out_yet_are_not_committed_when_their_partition_goes(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with member(world) as consumer:
        consumer.seek(P0, 0)
        assert len(consumer.poll(10)) == 10
        serial = one.assign(consumer.member_id or "", P1)
        polls = 0
        while consumer.assignment() != {P1}:
            polls += sum(record.partition == 0 for record in consumer.poll(1))
        (final,) = one.owns(serial).final
        assert (final.partition, final.offset) == (0, 10 + polls)


# --- commit() ---------------------------------------------------------------------------------------------------------


def test_commit_has_the_coordinator_know_all_positions(world: FakeCluster, one: FakeCoordinator) -> None:
    one.first = [P0, P1]
    with member(world, enable_auto_commit=False) as consumer:
        consumer.seek(P0, 5)
        consumer.seek(P1, 9, leader_epoch=0)
        consumer.commit()
        assert {(key, known.offset, known.leader_epoch) for key, known in one.committed.items()} == {
            (P0, 5, -1),
            (P1, 9, 0),
        }
        assert cell(one, consumer) is None


def test_commit_of_a_record_says_that_it_is_done(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        consumer.seek(P0, 0)
        record = consumer.poll(10)[3]
        consumer.commit(record)
        assert (one.committed[P0].offset, one.committed[P0].leader_epoch) == (4, record.leader_epoch)


def test_commit_of_offsets_with_a_text_of_the_applications_own(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        consumer.commit({P0: 7})
        assert consumer.committed(P0, P1) == {P0: OffsetAndMetadata(7), P1: None}
        consumer.commit({P0: OffsetAndMetadata(8, "up to noon", 0)})
        assert consumer.committed() == {P0: OffsetAndMetadata(8, "up to noon", 0)}


def test_an_asynchronous_commit_is_one_store_and_asks_nobody(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        consumer.seek(P0, 0)
        for record in consumer.poll(3):
            consumer.commit(record, asynchronous=True)
            assert cell(one, consumer) == record.offset + 1
        consumer.seek(P0, 50)
        consumer.commit(asynchronous=True)
        assert cell(one, consumer) == 50
        assert not one.of(CommitOffsets)
        with pytest.raises(InvalidRequestError, match="flights-2 is not assigned"):
            consumer.commit({P2: 3}, asynchronous=True)
        with pytest.raises(InvalidRequestError, match="offset 101 of flights-0 cannot be committed: it ends at 100"):
            consumer.commit({P0: 101}, asynchronous=True)
    assert one.committed[P0].offset == 50  # as it left


def test_a_commit_that_was_answered_is_not_undone_by_an_older_one_in_memory(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        consumer.commit({P0: 50}, asynchronous=True)
        consumer.commit({P0: 20})
        assert cell(one, consumer) == 20


def test_a_task_commits_and_asks_what_is_committed(world: FakeCluster, one: FakeCoordinator) -> None:
    async def main() -> None:
        async with member(world, enable_auto_commit=False) as consumer:
            await consumer.acommit({P0: 7})
            assert await consumer.acommitted(P0) == {P0: OffsetAndMetadata(7)}

    asyncio.run(main())


def test_on_revoke_may_commit(world: FakeCluster, one: FakeCoordinator) -> None:
    def commit(consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        consumer.commit(dict.fromkeys(partitions, 42))

    with member(world, enable_auto_commit=False, on_revoke=commit) as consumer:
        one.assign(consumer.member_id or "", P1)
        reads(consumer, P1)
        assert one.committed[P0].offset == 42


def test_a_commit_that_is_refused_says_why_and_the_member_stays(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        one.refusals[CommitOffsets] = "CommitFailedError", "flights-1 belongs to another one"
        with pytest.raises(CommitFailedError, match="flights-1 belongs to another one"):
            consumer.commit({P1: 3})
        one.refusals.clear()
        consumer.commit({P0: 3})


def test_a_commit_of_who_is_no_member_any_more_fails_and_the_next_poll_begins_anew(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        one.refusals[CommitOffsets] = "UnknownMemberError", "nobody knows you"
        with pytest.raises(UnknownMemberError, match="nobody knows you; this consumer polled last"):
            consumer.commit({P0: 3})
        with pytest.raises(UnknownMemberError):
            consumer.commit({P0: 3}, asynchronous=True)
        one.refusals.clear()
        wait_until(lambda: consumer.poll(1) and len(one.of(JoinGroup)) == 2)
        consumer.commit({P0: 3})


def test_a_commit_that_a_coordinator_died_over_is_made_with_the_next_one(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        one.dies_on = [CommitOffsets, JoinGroup]
        consumer.commit({P0: 3})
        assert one.committed[P0].offset == 3
        assert len(one.of(CommitOffsets)) == 2


def test_a_commit_without_a_coordinator_ends_at_its_timeout(world: FakeCluster, one: FakeCoordinator) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        one.silent_on = (CommitOffsets,)
        with pytest.raises(CoordinatorNotAvailableError, match="it may still carry it out"):
            consumer.commit({P0: 3}, timeout=0.02)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (3, "what to commit must be a record, or a mapping"),
        ({P0: -1}, "the offset for flights-0 must be an integer from 0"),
        ({P0: "3"}, "the offset for flights-0"),
        ({P0: OffsetAndMetadata(3, b"x")}, "the metadata for flights-0 must be a str"),  # type: ignore[arg-type]  # that is the point
        ({"flights": 3}, "a partition must be"),
    ],
)
def test_what_cannot_be_committed_is_refused(
    world: FakeCluster, one: FakeCoordinator, what: object, words: str
) -> None:
    with member(world, enable_auto_commit=False) as consumer:
        with pytest.raises(InvalidArgumentError, match=words):
            consumer.commit(what)  # type: ignore[arg-type]  # that is the point
        assert not one.of(CommitOffsets)


def test_who_is_in_no_group_cannot_commit(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:
        for call in (consumer.commit, consumer.committed):
            with pytest.raises(InvalidRequestError, match="in no group"):
                call()


# --- partitions that were assigned by the application itself ----------------------------------------------------------


def simple(world: FakeCluster, **settings: object) -> NativeConsumer:
    return world.consumer(**{"group_id": "delays", "auto_offset_reset": "earliest"} | settings)


def test_who_assigns_partitions_itself_begins_at_the_groups_offsets_and_is_no_member(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    one.committed[P0] = GroupOffset("flights", 0, 90, 0)
    with simple(world) as consumer:
        consumer.assign([P0, P1])
        assert consumer.position(P0) == 90
        assert consumer.position(P1) == 0
        consumer.seek(P1, 100)
        assert offsets(consumer.poll(100)) == list(range(90, 100))
        consumer.commit({P0: 95})
        assert consumer.committed(P0) == {P0: OffsetAndMetadata(95)}
        assert not one.of(JoinGroup)
    assert one.committed[P0].offset == 100  # as it closed
    assert one.of(FetchOffsets)


def test_who_assigns_partitions_itself_commits_now_and_then(world: FakeCluster, one: FakeCoordinator) -> None:
    with simple(world, auto_commit_interval_ms=1) as consumer:
        consumer.assign([P0])
        consumer.poll(10)
        wait_until(lambda: consumer.poll(1) and P0 in one.committed)


def test_without_automatic_commits_a_consumer_of_its_own_partitions_commits_nothing(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    with simple(world, auto_commit_interval_ms=1, enable_auto_commit=False) as consumer:
        consumer.assign([P0])
        wait_until(lambda: len(consumer.poll(50)) < 50)
    assert not one.of(CommitOffsets)

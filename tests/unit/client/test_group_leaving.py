"""A member of a group that leaves: in a task, in a callback, interrupted, or with nobody to say goodbye to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from shmlog.client.api import Consumer
from shmlog.client.membership import Membership
from shmlog.control.group_messages import CommitOffsets, LeaveGroup
from shmlog.errors import HandleClosedError, InvalidRequestError
from shmlog.model import TopicPartition
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, P2, FakeCluster
from shmlog.testing.fake_coordinator import FakeCoordinator
from tests.unit.client.members import Heard, id_of, member, reads


@pytest.fixture
def one(world: FakeCluster, coordinator: FakeCoordinator) -> FakeCoordinator:
    """Who joins gets both partitions, with records in them."""
    world.fill(5, 5)
    coordinator.first = [P0, P1]
    return coordinator


def test_a_task_that_leaves_lets_others_run_until_the_coordinator_has_said_goodbye(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    one.silent_on = (LeaveGroup,)

    async def main() -> None:
        consumer = member(world)
        reads(consumer, P0, P1)
        leaving = asyncio.ensure_future(consumer.aclose())
        await asyncio.to_thread(wait_until, lambda: one.of(LeaveGroup))
        assert not leaving.done()
        assert (consumer.assignment(), await consumer.apoll(1)) == (set(), [])
        one.silent_on = ()
        one.hang_up()  # asked again on another connection, it answers
        await leaving
        assert consumer.closed

    asyncio.run(main())


def test_a_task_that_is_cancelled_while_it_leaves_has_hung_up(world: FakeCluster, one: FakeCoordinator) -> None:
    one.silent_on = (LeaveGroup,)

    async def main() -> None:
        consumer = member(world)
        reads(consumer, P0, P1)
        name = id_of(consumer)
        leaving = asyncio.ensure_future(consumer.aclose())
        await asyncio.to_thread(wait_until, lambda: one.of(LeaveGroup))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (consumer.closed, consumer.member_id, one.last_poll_ns(name)) == (True, None, None)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["close", "unsubscribe"])
def test_who_leaves_in_on_revoke_leaves_once_and_is_told_of_each_partition_once(
    world: FakeCluster, one: FakeCoordinator, how: str
) -> None:
    heard = Heard()

    def leave(consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        heard.on_revoke(consumer, partitions)
        getattr(consumer, how)()

    consumer = member(world, on_revoke=leave)
    reads(consumer, P0, P1)
    one.assign(id_of(consumer), P1, P2)
    with pytest.raises(HandleClosedError if how == "close" else InvalidRequestError):
        wait_until(lambda: consumer.poll(1, timeout=0.1) is None)
    assert heard.calls == [("revoke", [P0]), ("revoke", [P1])]
    assert len(one.of(LeaveGroup)) == 1
    assert (consumer.member_id, consumer._fetcher.cursors) == (None, {})
    consumer.close()


def test_who_closes_in_the_on_revoke_of_its_close_leaves_once_with_what_it_committed(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    consumer = member(world, on_revoke=lambda consumer, _: consumer.close())
    reads(consumer, P0, P1)
    consumer.seek(P0, 3)
    consumer.close()
    assert len(one.of(LeaveGroup)) == 1
    assert one.committed[P0].offset == 3


def test_who_is_interrupted_in_a_callback_of_its_close_has_left(world: FakeCluster, one: FakeCoordinator) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    consumer = member(world, on_revoke=interrupt)
    reads(consumer, P0, P1)
    name = id_of(consumer)
    with pytest.raises(KeyboardInterrupt):
        consumer.close()
    assert (one.members[name].left, consumer.closed) == (True, True)


def test_who_is_interrupted_while_it_waits_for_the_goodbye_has_hung_up(
    world: FakeCluster, one: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    one.silent_on = (LeaveGroup,)
    consumer = member(world)
    reads(consumer, P0, P1)
    name = id_of(consumer)
    monkeypatch.setattr("shmlog.client.membership.Membership.wait", interrupt)
    with pytest.raises(KeyboardInterrupt) as raised:
        consumer.close()
    assert (consumer.closed, consumer.member_id, one.last_poll_ns(name)) == (True, None, None), str(raised)


def test_a_commit_that_waits_when_a_signal_handler_closes_the_consumer_says_so(
    world: FakeCluster, one: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.silent_on = (CommitOffsets,)
    consumer = member(world, enable_auto_commit=False)
    reads(consumer, P0, P1)
    wait = Membership.wait

    def close_and_wait(membership: Membership, timeout_s: float) -> None:
        consumer.close()
        wait(membership, timeout_s)

    monkeypatch.setattr(Membership, "wait", close_and_wait)
    with pytest.raises(HandleClosedError, match="has left its group meanwhile"):
        consumer.commit()
    assert one.of(LeaveGroup)
    assert consumer.closed


def test_who_leaves_unheard_leaves_its_commits_where_they_can_be_found(
    world: FakeCluster, one: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmlog.client.group_calls.LEAVE_S", 0.02)
    one.silent_on = (LeaveGroup,)
    consumer = member(world, enable_auto_commit=False)
    reads(consumer, P0, P1)
    name = id_of(consumer)
    consumer.commit({P0: 3}, asynchronous=True)
    consumer.close()
    assert {cell.offset for cell in one.cells(name).values()} == {3}
    assert one.last_poll_ns(name) is None


def test_who_is_fenced_when_it_closes_is_told_that_its_partitions_are_lost(
    world: FakeCluster, one: FakeCoordinator
) -> None:
    heard = Heard()
    consumer = member(world, on_revoke=heard.on_revoke, on_lost=heard.on_lost)
    reads(consumer, P0, P1)
    one.fence(id_of(consumer), "UnknownMemberError")
    wait_until(lambda: consumer._group is not None and consumer._group.has_news)
    with pytest.raises(Exception, match="others have its partitions"):
        consumer.committed()
    consumer.close()
    assert heard.calls == [("lost", [P0, P1])]
    assert not one.of(LeaveGroup)

"""A member of a group whose coordinator dies, which is fenced, which leaves, and which is forked."""

from __future__ import annotations

import os
import socket

import pytest

from shmlog.control.group_messages import (
    CommitOffsets,
    GroupOffset,
    JoinGroup,
    LeaveGroup,
    OwnPartitions,
)
from shmlog.errors import (
    FencedInstanceIdError,
    ForkedHandleError,
    InvalidRequestError,
    MaxPollExceededError,
)
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, FakeCluster, offsets
from shmlog.testing.fake_coordinator import FakeCoordinator
from tests.unit.client.members import Heard, id_of, member, reads

# --- the coordinator goes and comes -----------------------------------------------------------------------------------


def test_a_member_reads_on_while_there_is_no_coordinator_and_joins_the_next_with_what_it_has(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    world.fill(5)
    coordinator.first = [P0, P1]
    with FakeCoordinator(world.supervisor, coordinator.path + "x") as old:
        old.first = [P0, P1]
        consumer = member(world)
        reads(consumer, P0, P1)
        name = id_of(consumer)
    world.fill(20)
    assert consumer.poll(100)
    with FakeCoordinator(world.supervisor, coordinator.path + "x") as new:
        new.first = [P0, P1]
        wait_until(lambda: consumer.poll() or new.of(OwnPartitions))
        (join,) = new.of(JoinGroup)
        assert isinstance(join, JoinGroup)
        assert (join.member_id, join.member_epoch) == (name, 1)
        assert {(one.topic, one.partition) for one in join.owned} == {P0, P1}
        consumer.close()


def test_what_was_given_up_without_being_heard_is_said_again(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(5, 5)
    path = coordinator.path + "x"
    with FakeCoordinator(world.supervisor, path) as old:
        old.first = [P0, P1]
        consumer = member(world)
        reads(consumer, P0, P1)
        wait_until(lambda: not consumer.poll(100) and consumer.lag() == {P0: 0, P1: 0})
        old.owns(1)  # else it dies over this one
        old.dies_on = [OwnPartitions]
        old.assign(id_of(consumer), P1)
        reads(consumer, P1)
        wait_until(lambda: not old.dies_on)
    with FakeCoordinator(world.supervisor, path) as new:
        new.first = [P1]
        wait_until(lambda: consumer.poll() or new.of(OwnPartitions))
        (join,), (owns,) = new.of(JoinGroup), new.of(OwnPartitions)
        assert isinstance(join, JoinGroup)
        assert isinstance(owns, OwnPartitions)
        assert {one.partition for one in join.owned} == {0, 1}
        assert [(one.partition, one.offset) for one in owns.final] == [(0, 5)]
        consumer.close()


def test_a_member_whose_whole_cluster_came_back_joins_with_its_new_registration(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        old_id = world.connection.client_id
        world.supervisor.knows_old_clients = False
        world.supervisor.hang_up()
        wait_until(lambda: consumer.poll(timeout=0.05) or len(coordinator.of(JoinGroup)) == 2)
        assert world.connection.client_id != old_id
        assert coordinator.last_poll_ns(id_of(consumer))


# --- fenced -----------------------------------------------------------------------------------------------------------


def test_a_fenced_member_loses_everything_and_joins_under_another_id(
    world: FakeCluster, coordinator: FakeCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    world.fill(30)
    coordinator.first = [P0]
    with member(world, on_assign=heard.on_assign, on_revoke=heard.on_revoke, on_lost=heard.on_lost) as consumer:
        wait_until(lambda: consumer.poll(3))
        assert len(consumer.poll(4)) == 4
        old = id_of(consumer)
        coordinator.committed[P0] = GroupOffset("flights", 0, 20, 0)
        coordinator.fence(old, "MaxPollExceededError", "others have its partitions now")
        wait_until(lambda: consumer.poll(1) and id_of(consumer) != old)
        assert consumer.position(P0) > 20
        assert id_of(consumer) != old
        assert heard.calls == [("assign", [P0]), ("lost", [P0]), ("assign", [P0])]
    assert "others have its partitions now; this consumer polled last" in caplog.text
    assert coordinator.of(LeaveGroup)


def test_a_fenced_member_says_which_call_was_slow(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(30)
    coordinator.first = [P0]
    with member(world) as consumer:
        wait_until(lambda: consumer.poll(3))
        coordinator.fence(id_of(consumer), "MaxPollExceededError", "too slow")
        with pytest.raises(
            MaxPollExceededError, match=r"polled last [\d.]+ s ago, and got 3 records, from flights-0@0 to flights-0@2"
        ):
            consumer.commit()


def test_the_older_of_two_with_one_instance_id_is_out_for_good(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    heard = Heard()
    coordinator.first = [P0]
    with member(world, group_instance_id="one", on_lost=heard.on_lost) as consumer:
        reads(consumer, P0)
        coordinator.fence(id_of(consumer), "FencedInstanceIdError", "another one is 'one'")
        for _ in range(2):
            with pytest.raises(FencedInstanceIdError, match="another one is 'one'"):
                consumer.poll(timeout=30.0)
        assert consumer.assignment() == set()
    assert heard.calls == [("lost", [P0])]
    assert len(coordinator.of(JoinGroup)) == 1
    assert not coordinator.of(LeaveGroup)


def test_a_fenced_member_that_has_nothing_to_commit_hears_of_it_all_the_same(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    coordinator.first = [P0]
    consumer = member(world)
    reads(consumer, P0)
    coordinator.fence(id_of(consumer), "FencedInstanceIdError")
    with pytest.raises(FencedInstanceIdError):
        consumer.poll(timeout=30.0)
    assert consumer.assignment() == set()
    with pytest.raises(FencedInstanceIdError):
        consumer.commit()
    consumer.close()


@pytest.mark.parametrize("has_others", [False, True])
def test_who_becomes_a_member_has_committed_what_it_read_before_and_never_commits_it_again(
    world: FakeCluster, coordinator: FakeCoordinator, has_others: bool
) -> None:
    world.fill(100)
    coordinator.first = [P0]
    with member(world, "never", max_poll_records=10) as consumer:
        consumer.unsubscribe()
        consumer.assign([P0])
        assert offsets(consumer.poll()) == [*range(10)]
        if has_others:
            coordinator.refusals[CommitOffsets] = "NonEmptyGroupError", "only members commit"
        consumer.subscribe("flights")
        assert has_others or coordinator.committed[P0].offset == 10
        coordinator.refusals.clear()
        reads(consumer, P0)
        consumer.seek(P0, 50)
        consumer.commit(asynchronous=True)
        consumer.unsubscribe()
    assert coordinator.committed[P0].offset == 50


# --- the end ----------------------------------------------------------------------------------------------------------


def test_who_closes_leaves(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    coordinator.first = [P0]
    consumer = member(world)
    reads(consumer, P0)
    name = id_of(consumer)
    consumer.close()
    assert coordinator.members[name].left
    assert coordinator.last_poll_ns(name) is None
    assert world.connection.region.positions() == []


def test_who_unsubscribes_leaves_and_may_assign(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(5)
    coordinator.first = [P1]
    with member(world) as consumer:
        reads(consumer, P1)
        with pytest.raises(InvalidRequestError, match="unsubscribe"):
            consumer.assign([P0])
        consumer.unsubscribe()
        assert coordinator.of(LeaveGroup)
        assert (consumer.assignment(), consumer.member_id, consumer.subscription()) == (set(), None, set())
        with pytest.raises(InvalidRequestError, match="no partitions"):
            consumer.poll()
        consumer.assign([P0])
        assert offsets(consumer.poll(3)) == [0, 1, 2]


def test_a_member_without_a_coordinator_is_closed_all_the_same(
    world: FakeCluster, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shmlog.client.group_calls.LEAVE_S", 0.02)
    with FakeCoordinator(world.supervisor, coordinator.path + "x") as gone:
        gone.first = [P0]
        consumer = member(world)
        reads(consumer, P0)
    consumer.close()
    assert "could not say that it leaves" in caplog.text


def test_a_forked_child_is_no_member_and_does_not_keep_the_parents_connection_open(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        pid = os.fork()
        if pid == 0:
            try:
                consumer.poll()
            except ForkedHandleError:
                os._exit(any(is_connected_to(coordinator.path, fd) for fd in range(3, 200)))
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert consumer.poll() == []


def is_connected_to(path: str, fd: int) -> bool:
    """Whether a descriptor is a socket whose other end listens, or listened, there."""
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            return bool(found.getpeername() == path)
    except OSError:
        return False

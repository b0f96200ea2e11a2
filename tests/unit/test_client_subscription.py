"""Which partitions a consumer reads: assigned, paused, added and deleted ones, and all of them after a restart."""

from __future__ import annotations

import pytest

from shmlog.client import subscription as subscription_module
from shmlog.control.messages import DescribeTopics
from shmlog.errors import InvalidConfigError, InvalidRequestError, UnknownTopicOrPartitionError
from shmlog.memory.layout import OwnerState
from shmlog.model import TopicPartition
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, P2, FakeCluster, offsets
from shmlog.testing.fake_supervisor import FakeSupervisor

# --- which partitions -------------------------------------------------------------------------------------------------


def test_an_unknown_topic_is_an_error_with_a_suggestion(world: FakeCluster) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="did you mean 'flights'"):
        world.consumer("flihgts")


def test_an_unknown_setting_is_an_error_with_a_suggestion(world: FakeCluster) -> None:
    with pytest.raises(InvalidConfigError, match="did you mean"):
        world.consumer("flights", auto_ofset_reset="latest")


def test_partitions_can_be_assigned_one_by_one(world: FakeCluster) -> None:
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


def test_paused_partitions_give_nothing_and_continue_where_they_were(world: FakeCluster) -> None:
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
    world: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    with world.consumer("flights", auto_offset_reset="latest") as consumer:
        world.supervisor.topics["flights"] = 4
        world.fill(0, 0, 0, 5)
        records = wait_until(consumer.poll)
        assert [(record.partition, record.offset) for record in records] == [(3, offset) for offset in range(5)]


def test_the_supervisor_is_not_asked_at_every_poll(world: FakeCluster) -> None:
    with world.consumer("flights") as consumer:
        for _ in range(100):
            consumer.poll()
        assert sum(isinstance(message, DescribeTopics) for message in world.supervisor.received) == 1


def test_a_topic_that_was_deleted_is_an_error_also_when_no_owner_lived_to_say_so(
    world: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    world.fill(5)
    with world.consumer("flights") as consumer:
        consumer.poll()
        del world.supervisor.topics["flights"]
        with pytest.raises(UnknownTopicOrPartitionError, match="no topic 'flights'"):
            wait_until(consumer.poll)


def test_a_topic_that_was_deleted_is_an_error_as_soon_as_its_owner_says_so(world: FakeCluster) -> None:
    world.fill(5)
    with world.consumer("flights") as consumer:
        world.partitions[P2].page.state = OwnerState.DELETED
        assert len(consumer.poll(100)) == 5  # what was there before the error is given out first
        with pytest.raises(UnknownTopicOrPartitionError, match="was deleted"):
            wait_until(consumer.poll)


# --- a cluster that comes back ----------------------------------------------------------------------------------------


def test_a_consumer_goes_on_after_its_cluster_was_killed_and_started_again(world: FakeCluster) -> None:
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


@pytest.mark.usefixtures("nobody_waits_for_a_supervisor")
def test_records_flow_while_the_supervisor_is_away(world: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_module, "METADATA_REFRESH_S", 0.0)
    with world.consumer("flights") as consumer:
        world.supervisor.stop()
        for _ in range(50):
            world.partitions[P0].append(b"x")
            assert len(consumer.poll()) == 1
        world.supervisor = FakeSupervisor(world.supervisor.paths)

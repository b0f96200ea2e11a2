"""A member of a group joins, and follows what the coordinator assigns."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from shmlog.client import membership
from shmlog.client.api import Consumer
from shmlog.control.group_messages import (
    AssignmentComputed,
    AssignorMember,
    AssignorTopic,
    FetchOffsets,
    GroupOffset,
    JoinGroup,
    OwnPartitions,
)
from shmlog.control.messages import DescribeTopics
from shmlog.errors import (
    CoordinatorNotAvailableError,
    InconsistentGroupProtocolError,
    InvalidArgumentError,
    InvalidConfigError,
    InvalidGroupIdError,
    InvalidRegularExpressionError,
    InvalidRequestError,
    InvalidTopicError,
)
from shmlog.machines.group.assignor import Assignment, MemberSubscription
from shmlog.model import TopicPartition
from shmlog.testing import wait_until
from shmlog.testing.fake_cluster import P0, P1, P2, FakeCluster, offsets
from shmlog.testing.fake_coordinator import FakeCoordinator
from tests.unit.client.members import Heard, all_of, id_of, member, reads


async def awaited(_: Consumer, __: Sequence[TopicPartition]) -> None: ...


# --- joining ----------------------------------------------------------------------------------------------------------


def test_a_member_reads_what_it_is_assigned_and_nothing_else(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(10, 10, 10)
    coordinator.first = [P0, P2]
    with member(world) as consumer:
        assert {record.partition for record in all_of(consumer, P0, P2)} == {0, 2}


def test_who_joins_says_what_it_was_told(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    with member(
        world,
        "flights",
        "weather",
        group_instance_id="one",
        partition_assignment_strategy="range",
        max_poll_interval_ms=1234,
        session_timeout_ms=567,
    ) as consumer:
        (join,) = coordinator.of(JoinGroup)
        assert isinstance(join, JoinGroup)
        assert (join.group, join.member_id, join.member_epoch) == ("delays", id_of(consumer), 0)
        assert (join.instance_id, join.client_id) == ("one", world.connection.client_id)
        assert (join.topics, join.pattern, join.assignor) == (["flights", "weather"], None, "range")
        assert (join.rebalance_timeout_ms, join.session_timeout_ms, join.owned) == (1234, 567, [])
        assert consumer.subscription() == {"flights", "weather"}


def test_a_topic_that_begins_with_a_caret_is_a_pattern(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    with member(world, "^fl.*") as consumer:
        (join,) = coordinator.of(JoinGroup)
        assert isinstance(join, JoinGroup)
        assert (join.topics, join.pattern) == ([], "^fl.*")
        assert consumer.subscription() == {"^fl.*"}


def test_topics_that_do_not_exist_are_waited_for_and_named(
    world: FakeCluster, coordinator: FakeCoordinator, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator.missing = ["wheather"]
    with caplog.at_level(logging.WARNING, "shmlog.consumer"), member(world, "wheather") as consumer:
        assert consumer.poll(timeout=0.01) == []
    assert "'wheather'" in caplog.text
    assert "gets them when they do" in caplog.text


def test_the_first_poll_waits_for_the_assignment(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(3)
    with member(world) as consumer:
        assert consumer.poll(timeout=0.01) == []
        assert 1 <= consumer.metrics()["sleeps"] < 10, "it did not spin"
        coordinator.assign(id_of(consumer), P0)
        assert offsets(consumer.poll(timeout=30.0)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("topics", "settings", "error", "words"),
    [
        (("^a", "b"), {}, InvalidRequestError, "stands alone"),
        (("^a(",), {}, InvalidRegularExpressionError, "does not compile"),
        (("^a{99999999999999}",), {}, InvalidRegularExpressionError, "does not compile: the repetition number"),
        (("^" + "(" * 5000 + ")" * 5000,), {}, InvalidRegularExpressionError, "does not compile: maximum recursion"),
        (("",), {}, InvalidTopicError, "it is empty"),
        (("flights", "a/b"), {}, InvalidTopicError, "'a/b' cannot be the name of a topic"),
        (("flights",), {"group_id": "\udc80"}, InvalidConfigError, "group.id must be text"),
        (("flights",), {"group_id": ""}, InvalidGroupIdError, "must not be empty"),
        (("flights",), {"group_id": None, "group_instance_id": "one"}, InvalidConfigError, "give group.id, too"),
        (("flights",), {"group_instance_id": ""}, InvalidConfigError, "must not be empty"),
        (("^a",), {"group_id": None}, InvalidRequestError, "those are for groups"),
        (("flights",), {"group_id": None, "on_lost": print}, InvalidRequestError, "are for groups"),
        (("flights",), {"on_assign": 3}, InvalidArgumentError, "on_assign must be a callable"),
        (
            ("flights",),
            {"on_assign": awaited},
            InvalidArgumentError,
            "on_assign must be a plain function, not an async",
        ),
        (("flights",), {"partition_assignment_strategy": "stickly"}, InvalidConfigError, "cooperative-sticky"),
        (("flights",), {"partition_assignment_strategy": lambda *_: {}}, InvalidArgumentError, "a lambda has none"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    world: FakeCluster,
    coordinator: FakeCoordinator,
    topics: tuple[str, ...],
    settings: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        member(world, *topics, **settings)
    assert coordinator.received == []


def test_what_the_coordinator_refuses_is_raised_where_the_consumer_is_made(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    coordinator.refusals[JoinGroup] = "InconsistentGroupProtocolError", "the others use 'sticky'"
    with pytest.raises(InconsistentGroupProtocolError, match="the others use 'sticky'"):
        member(world)


def test_a_coordinator_that_does_not_answer_is_not_said_to_be_gone(
    world: FakeCluster, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmlog.client.group_calls.CONTROL_TIMEOUT_S", 0.02)
    coordinator.silent_on = (JoinGroup, FetchOffsets)
    with pytest.raises(CoordinatorNotAvailableError, match="has not answered a JoinGroup request in time"):
        member(world)
    simple = world.consumer(group_id="delays", enable_auto_commit=False)
    with pytest.raises(CoordinatorNotAvailableError, match="has not answered a FetchOffsets request in time"):
        simple.committed(P0, timeout=0.02)
    simple.close()


def test_a_coordinator_that_has_just_started_is_asked_again(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    coordinator.refusals[JoinGroup] = "CoordinatorNotAvailableError", "not yet"
    coordinator.first = [P0]

    def forgive(message: object) -> None:
        if len(coordinator.of(JoinGroup)) == 3:
            coordinator.refusals.clear()

    coordinator.on_message = forgive
    with member(world) as consumer:
        reads(consumer, P0)
    assert len({join.member_id for join in coordinator.of(JoinGroup) if isinstance(join, JoinGroup)}) == 1


def test_who_is_refused_for_its_registration_looks_whether_it_has_another_one_before_it_asks_again(
    world: FakeCluster, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator.refusals[JoinGroup] = "CoordinatorNotAvailableError", "register anew"
    coordinator.first = [P0]
    looked = []
    look_now = world.connection.look_now

    def look() -> None:
        looked.append(len(coordinator.of(JoinGroup)))
        if len(looked) == 3:
            coordinator.refusals.clear()
        look_now()

    monkeypatch.setattr(world.connection, "look_now", look)
    with member(world) as consumer:
        reads(consumer, P0)
    assert looked[:3] == [0, 1, 2]


# --- following --------------------------------------------------------------------------------------------------------


def test_a_member_begins_where_the_group_has_read_up_to(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(10, 10)
    coordinator.committed[P0] = GroupOffset("flights", 0, 7, 0)
    coordinator.first = [P0, P1]
    with member(world, auto_offset_reset="latest") as consumer:
        assert offsets(all_of(consumer, P0, P1)) == [7, 8, 9]
        assert consumer.position(P1) == 10


def test_partitions_that_came_after_the_member_are_read_from_their_beginning(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    world.fill(5, 5, 5)
    world.supervisor.topics["flights"] = 2
    coordinator.first = [P0]
    with member(world, auto_offset_reset="latest") as consumer:
        reads(consumer, P0)
        world.supervisor.topics["flights"] = 3
        coordinator.assign(id_of(consumer), P0, P1, P2)
        reads(consumer, P0, P1, P2)
        assert consumer.position(P1) == 5
        assert offsets(consumer.poll(10)) in ([1, 2, 3, 4], [0, 1, 2, 3, 4])  # of P2


def test_a_supervisor_that_is_stopped_is_waited_for_once_and_what_is_known_is_read_on(
    world: FakeCluster, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shmlog.client.group_reading.WAITING_PAUSE_S", 0.0)
    monkeypatch.setattr("shmlog.client.group_topics.LOCATION_ANSWER_S", 0.02)
    world.fill(100, 5, 5)
    world.supervisor.topics["flights"] = 1
    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        world.supervisor.topics["flights"] = 3
        world.supervisor.silent_on = (DescribeTopics,)
        coordinator.assign(id_of(consumer), P0, P1, P2)
        wait_until(lambda: consumer.poll(1) and len(coordinator.of(OwnPartitions)) == 2)
        assert all(consumer.poll(1) for _ in range(20))
        asked = [message for message in world.supervisor.received if isinstance(message, DescribeTopics)]
        assert len(asked) <= 4, "when it joined, what there is now and then, once with and once without waiting"
        world.supervisor.silent_on = ()
        world.supervisor.hang_up()
        reads(consumer, P0, P1, P2)


def test_a_revoked_partition_stops_at_once_and_others_go_on(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.fill(1000, 1000)
    coordinator.first = [P0, P1]
    with member(world, max_poll_records=10) as consumer:
        for record in consumer:
            if record.partition == 0 and record.offset == 25:
                break
        serial = coordinator.assign(id_of(consumer), P1)
        reads(consumer, P1)
        assert all(record.partition == 1 for record in consumer.poll(1000))
        assert [one.partition for one in coordinator.owns(serial).partitions] == [1]


@pytest.mark.parametrize("automatic", [True, False])
def test_a_loop_hears_of_changes_after_max_poll_records(
    world: FakeCluster, coordinator: FakeCoordinator, automatic: bool
) -> None:
    world.fill(100)
    coordinator.first = [P0]
    with member(world, enable_auto_commit=automatic, max_poll_records=10, consumer_timeout_ms=0) as consumer:
        reads(consumer, P0)
        consumer.seek(P0, 0)
        records = iter(consumer)
        next(records)
        coordinator.assign(id_of(consumer))
        wait_until(lambda: consumer._group is not None and consumer._group.has_news)  # which has the next poll look
        assert offsets(records) == [*range(1, 10)]


def test_callbacks_are_called_when_partitions_come_and_before_they_go(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    heard = Heard()
    coordinator.first = [P0, P1]
    with member(world, on_assign=heard.on_assign, on_revoke=heard.on_revoke, on_lost=heard.on_lost) as consumer:
        reads(consumer, P0, P1)
        coordinator.assign(id_of(consumer), P1, P2)
        reads(consumer, P1, P2)
    assert heard.calls == [("assign", [P0, P1]), ("revoke", [P0]), ("assign", [P2]), ("revoke", [P1, P2])]


def test_what_a_callback_raises_comes_out_of_poll_after_everything_was_done(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    def fail(_: Consumer, partitions: Sequence[TopicPartition]) -> None:
        raise LookupError(str(partitions[0]))

    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        coordinator.first = [P1]
        consumer.subscribe("flights", on_revoke=fail)
        with pytest.raises(LookupError, match="flights-0"):
            consumer.poll(timeout=30.0)
        reads(consumer, P1)
        assert [one.partition for one in coordinator.owns(2).partitions] == [1]
        consumer.subscribe("flights")


def test_a_partition_of_a_topic_made_anew_under_the_old_name_is_another_one(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    heard = Heard()
    coordinator.first = [P0]
    with member(world, on_assign=heard.on_assign, on_revoke=heard.on_revoke) as consumer:
        reads(consumer, P0)
        world.supervisor.topic_ids["flights"] = world.supervisor.topic_id("another")
        coordinator.assign(id_of(consumer), P0)
        wait_until(lambda: consumer.poll(1) or len(heard.calls) == 3)
    assert heard.calls[:3] == [("assign", [P0]), ("revoke", [P0]), ("assign", [P0])]


def test_subscribing_to_something_else_is_said_under_the_same_id(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    world.supervisor.topics["weather"] = 1
    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        coordinator.first = [TopicPartition("weather", 0)]
        consumer.subscribe(["weather"])
        reads(consumer, TopicPartition("weather", 0))
        first, second = coordinator.of(JoinGroup)
        assert isinstance(first, JoinGroup)
        assert isinstance(second, JoinGroup)
        assert (second.member_id, second.topics) == (first.member_id, ["weather"])
        assert [one.topic for one in second.owned] == ["flights"]


def test_who_changes_its_mind_before_it_was_answered_is_heard(world: FakeCluster, coordinator: FakeCoordinator) -> None:
    world.supervisor.topics["weather"] = 1
    coordinator.first = [P0]
    with member(world) as consumer:
        reads(consumer, P0)
        consumer.subscribe(["weather"])
        assert consumer._group is not None
        consumer._group.membership.listen()  # it says so, and goes on without having heard
        consumer.subscribe(["flights", "weather"])

        def said() -> bool:
            consumer.poll(1)
            return len(coordinator.of(JoinGroup)) == 3

        wait_until(said)
        last = coordinator.of(JoinGroup)[-1]
        assert isinstance(last, JoinGroup)
        assert last.topics == ["flights", "weather"]


def test_a_member_computes_the_assignment_with_its_own_function(
    world: FakeCluster, coordinator: FakeCoordinator
) -> None:
    def everything_to_the_first(members: Sequence[MemberSubscription], partitions: dict[str, int]) -> Assignment:
        first = min(member.member_id for member in members)
        all_there_are = frozenset(TopicPartition(t, n) for t, count in partitions.items() for n in range(count))
        return {member.member_id: all_there_are if member.member_id == first else frozenset() for member in members}

    with member(world, partition_assignment_strategy=everything_to_the_first) as consumer:
        (join,) = coordinator.of(JoinGroup)
        assert isinstance(join, JoinGroup)
        assert join.assignor.startswith("custom:")
        assert join.assignor.endswith("everything_to_the_first")
        asked = [AssignorMember(name, None, ["flights"], []) for name in ("b", "a")]
        coordinator.ask_to_compute(id_of(consumer), asked, [AssignorTopic("flights", 2)])
        wait_until(lambda: consumer.poll() or coordinator.of(AssignmentComputed))
        (computed,) = coordinator.of(AssignmentComputed)
        assert isinstance(computed, AssignmentComputed)
        assert (computed.epoch, computed.error) == (7, "")
        assert {one.member_id: len(one.partitions) for one in computed.assignment} == {"a": 2, "b": 0}
        coordinator.ask_to_compute(id_of(consumer), [], [])
        wait_until(lambda: consumer.poll() or len(coordinator.of(AssignmentComputed)) == 2)
        failed = coordinator.of(AssignmentComputed)[-1]
        assert isinstance(failed, AssignmentComputed)
        assert failed.error.startswith("ValueError: ")


def test_what_came_just_before_a_sleep_is_heard_instead_of_sleeping(
    world: FakeCluster, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(3)
    with member(world) as consumer:
        monkeypatch.setattr(membership, "MEMBER_LOOK_S", 3600.0)
        consumer.poll()
        coordinator.assign(id_of(consumer), P0)
        assert offsets(consumer.poll(timeout=30.0)) == [0, 1, 2]
        assert consumer.metrics()["sleeps"] == 0

"""The coordinator of consumer groups in real owners, asked in its own protocol: what it keeps, what kills change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing

import pytest

from shmlog.control.group_messages import (
    AssignmentComputed,
    CommitOffsets,
    ComputeAssignment,
    DeleteGroup,
    FindCoordinator,
    GroupJoined,
    GroupOffset,
    GroupPartition,
    LeaveGroup,
    MemberAssignment,
    MemberFenced,
    OwnPartitions,
)
from shmlog.control.messages import CreateTopic, DeleteTopic, Done, OpenLane
from shmlog.memory.control_page import ControlPage
from shmlog.model import OFFSETS_TOPIC
from shmlog.testing import wait_until
from tests.scenarios.bare_member import (
    BareMember,
    Talk,
    coordinator_socket,
    described,
    has_hung_up,
    member,
    produce,
)
from tests.scenarios.conftest import Daemon, Peer

pytestmark = pytest.mark.slow


def described_offset(talk: Talk, partition: int) -> int:
    return {one.partition: one.offset for one in described(talk, "delays").offsets}[partition]


def end_of_offsets(peer: Peer) -> int:
    """How many records coordinators have written."""
    return ControlPage.open(peer.welcome.cid8, peer.partition(OFFSETS_TOPIC).partition_id).log_end_offset


def next_order(talk: Talk) -> ComputeAssignment:
    while not isinstance(found := talk.next(object), ComputeAssignment):
        pass
    return found


@pytest.fixture
def connect(real_daemon: Daemon) -> Callable[[], Peer]:
    return real_daemon.peer


def test_two_members_share_a_topic_and_who_leaves_or_dies_gives_its_partitions_to_the_other(peer: Peer) -> None:
    with member(peer, "delays", "a", ["flights"]) as a, member(peer, "delays", "b", ["flights"]) as b:
        assert a.follow() == [0, 1, 2, 3]
        assert b.follow() == []
        assert a.follow(final={2: 0, 3: 0}) == [0, 1], "it has to give two up first"
        assert b.follow() == [2, 3]
        wait_until(lambda: described(a, "delays").state == "Stable")
        assert a.committed("delays") == {("flights", 2): 0, ("flights", 3): 0}
        a.ask(LeaveGroup(0, [GroupOffset("flights", 1, 0)]), Done)
        assert b.follow() == [0, 1, 2, 3]
        assert b.committed("delays")["flights", 1] == 0
        with member(peer, "delays", "c", ["flights"]) as c:
            assert c.follow() == []
            assert b.follow() == [0, 1]
            assert c.follow() == [2, 3]
        assert b.follow() == [0, 1, 2, 3], "its connection ended"


def test_a_partition_is_given_to_nobody_while_an_assignment_is_on_its_way_to_its_reader(peer: Peer) -> None:
    with member(peer, "delays", "a", ["flights"]) as a, member(peer, "delays", "b", ["flights"]) as b:
        b.follow()
        a.channel.send(OwnPartitions(0, 0, []))  # it has nothing yet, but may have what is on its way any moment
        described(a, "delays")
        assert b.channel.receive() is None
        a.follow()
        assert a.follow() == [0, 1]
        assert b.follow() == [2, 3]


def test_offsets_in_cells_are_committed_by_themselves_and_at_the_death_of_their_member(
    peer: Peer, connect: Callable[[], Peer]
) -> None:
    produce(peer, "flights", 1, 10)
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        place = peer.partition("flights", 1).partition_id
        a.store(place, 3)
        with closing(Talk(a.path)) as looking:
            assert looking.committed("delays") == {("flights", 1): 3}, "who asks has them looked at"
            a.store(place, 4)
            wait_until(lambda: described_offset(a, 1) == 4)
            a.ask(CommitOffsets(0, "delays", [GroupOffset("flights", 1, 6)]), Done)
            assert looking.committed("delays") == {("flights", 1): 6}, "what is in the cell is older"
            ends = end_of_offsets(peer)
            a.store(place, 6)
            assert looking.committed("delays") == {("flights", 1): 6}
            assert end_of_offsets(peer) == ends, "it is no news"
            a.store(place, 11)
            assert looking.committed("delays") == {("flights", 1): 6}, "that is beyond the end of the log"
        with member(peer, "delays", "b", ["flights"]) as b:
            b.follow()
            a.follow()
            b.follow()
            a.store(place, 7)
            a.close()
            assert b.follow() == [0, 1, 2, 3]
            assert b.starts[1] == 7, "the last look at its cells"


def test_an_offset_that_was_committed_before_the_partition_went_away_and_came_back_is_committed_again(
    peer: Peer,
) -> None:
    produce(peer, "flights", 1, 10)
    place = peer.partition("flights", 1).partition_id
    with member(peer, "delays", "b", ["flights"]) as b:
        b.follow()
        b.store(place, 3)
        with member(peer, "delays", "a", ["flights"]) as a:
            a.follow()
            assert b.follow(final={1: 3}) == [2, 3]
            b.slots.pop(place).release()
            assert a.follow() == [0, 1]
            assert a.starts[1] == 3
            a.ask(CommitOffsets(0, "delays", [GroupOffset("flights", 1, 8)]), Done)
        assert b.follow() == [0, 1, 2, 3]
        assert b.starts[1] == 8
        b.store(place, 3)  # it has gone back
        assert b.committed("delays")["flights", 1] == 3


def test_a_final_position_in_what_others_have_by_now_does_not_stop_the_others(peer: Peer) -> None:
    with member(peer, "delays", "a", ["flights"]) as a, member(peer, "delays", "b", ["flights"]) as b:
        a.follow()
        b.follow()
        assert a.follow(final={2: 5}) == [0, 1]
        assert b.follow() == [2, 3]
        final = [GroupOffset("flights", 1, 3), GroupOffset("flights", 2, 4)]  # it does not know whether 2 was heard
        a.channel.send(OwnPartitions(0, 2, a.owned, final))
        assert a.committed("delays") == {("flights", 1): 3, ("flights", 2): 5}
        a.ask(LeaveGroup(0, [GroupOffset("flights", 0, 7), *final]), Done)
        assert b.committed("delays") == {("flights", 0): 7, ("flights", 1): 3, ("flights", 2): 5}


def test_a_final_position_in_a_topic_that_was_made_anew_does_not_stop_the_others(peer: Peer) -> None:
    produce(peer, "flights", 1, 10)
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        gone, there = GroupOffset("flights", 0, 0, topic_id="0" * 32), GroupOffset("flights", 1, 3)
        a.ask(LeaveGroup(0, [gone, there]), Done)
        assert a.committed("delays") == {("flights", 1): 3}


def test_a_member_that_says_much_at_once_is_heard_to_the_end(peer: Peer) -> None:
    produce(peer, "flights", 1, 300)
    with member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        for number in range(300):  # in few packets
            a.channel.send(CommitOffsets(1000 + number, "delays", [GroupOffset("flights", 1, number)]))
        assert [a.next(Done).request_id for _ in range(300)] == [1000 + number for number in range(300)]


def test_a_member_that_does_not_poll_is_fenced_and_what_it_stores_later_is_nobodys(peer: Peer) -> None:
    produce(peer, "flights", 1, 10)
    with (
        member(peer, "delays", "a", ["flights"], poll_interval_ms=2000) as a,
        member(peer, "delays", "b", ["flights"]) as b,
    ):
        a.follow()
        b.follow()
        a.follow()
        b.follow()
        place = peer.partition("flights", 1).partition_id
        a.store(place, 2)
        assert b.follow() == [0, 1, 2, 3]
        fenced = a.next(MemberFenced)
        assert fenced.error == "MaxPollExceededError"
        assert "max.poll.interval.ms is 2000" in fenced.message
        a.store(place, 5)
        assert b.committed("delays") == {("flights", 1): 2}
        failed = a.refused(CommitOffsets(0, "delays", [GroupOffset("flights", 1, 5)]))
        assert (failed.error, "max.poll.interval.ms is 2000" in failed.message) == ("CommitFailedError", True)


def test_an_assignor_that_only_members_have_is_run_by_one_of_them(peer: Peer) -> None:
    with (
        member(peer, "delays", "a", ["flights"], assignor="custom:mine") as a,
        member(peer, "delays", "b", ["flights"], assignor="custom:mine") as b,
    ):
        next_order(a)  # of the epoch before there was b
        order = next_order(a)
        assert [(one.name, one.partitions) for one in order.topics] == [("flights", 4)]
        mine = [GroupPartition("flights", "", number) for number in range(4)]
        a.channel.send(AssignmentComputed(0, order.epoch, [MemberAssignment("a", []), MemberAssignment("b", mine)]))
        while b.follow() != [0, 1, 2, 3]:
            pass
        assert described(b, "delays").assignor == "custom:mine"


def test_topics_that_come_and_go_move_in_and_out_of_assignments(peer: Peer) -> None:
    with member(peer, "delays", "a", [], pattern="f.*") as a:
        assert a.follow() == [0, 1, 2, 3]
        peer.create("freight", partitions=2)
        a.follow()
        assert {one.topic for one in a.owned} == {"flights", "freight"}
        peer.ask(DeleteTopic(0, "flights"), Done)
        a.follow()
        assert {one.topic for one in a.owned} == {"freight"}


def test_a_pattern_without_end_stops_no_coordinator(peer: Peer) -> None:
    trap, endless = "a" * 60, "(a+)+b"
    peer.create("aab")
    with member(peer, "delays", "a", [], pattern=endless) as a:
        coordinator = peer.partition(OFFSETS_TOPIC).pid
        assert a.follow() == [0]
        peer.create(trap)
        peer.create("ab")
        while len(a.owned) < 2:
            a.follow()
        assert {one.topic for one in a.owned} == {"aab", "ab"}
        late = BareMember(peer, "others", "b", [], pattern=endless)
        failed = late.refused(late.request())
        assert (failed.error, f"takes too long on topic '{trap}'" in failed.message) == (
            "InvalidRegularExpressionError",
            True,
        )
        late.close()
        assert a.ask(a.request(), GroupJoined).member_epoch > 0, "who was a member before that topic came stays one"
        assert peer.partition(OFFSETS_TOPIC).pid == coordinator


def test_who_is_not_registered_any_more_becomes_no_member_because_nobody_would_see_its_commits(peer: Peer) -> None:
    with BareMember(peer, "delays", "a", ["flights"]) as a:
        stranger = dataclasses.replace(a.request(), client_id=peer.welcome.client_id + 100)
        failed = a.refused(stranger)
        assert (failed.error, "register anew" in failed.message) == ("CoordinatorNotAvailableError", True)
        a.join()
        assert a.follow() == [0, 1, 2, 3]


def test_what_is_wrong_is_said_and_changes_nothing(peer: Peer) -> None:
    path = coordinator_socket(peer, "delays")
    with closing(Talk(path)) as talk, member(peer, "delays", "a", ["flights"]) as a:
        a.follow()
        assert talk.refused(DeleteGroup(0, "delays")).error == "NonEmptyGroupError"
        assert talk.refused(DeleteGroup(0, "nobody")).error == "UnknownGroupError"
        failed = talk.refused(CommitOffsets(0, "delays", [GroupOffset("flights", 0, 0)]))
        assert failed.error == "NonEmptyGroupError"
        failed = a.refused(CommitOffsets(0, "delays", [GroupOffset("flights", 0, 1)]))
        assert (failed.error, "ends at 0" in failed.message) == ("InvalidRequestError", True)
        failed = a.refused(CommitOffsets(0, "delays", [GroupOffset("freight", 0, 0)]))
        assert failed.error == "UnknownTopicOrPartitionError"
        failed = a.refused(CommitOffsets(0, "delays", [GroupOffset("flights", 0, 0, leader_epoch=2**40)]))
        assert failed.error == "InvalidRequestError"
        wrong = BareMember(peer, "delays", "b", [], pattern="f(")
        assert wrong.refused(wrong.request()).error == "InvalidRegularExpressionError"
        wrong.close()
        assert a.committed("delays") == {}
        talk.channel.endpoint.send(b"\x7f\xff\xff\xffrubbish")
        wait_until(lambda: has_hung_up(talk))
        assert described(a, "delays").state == "Stable"
    assert peer.refused(FindCoordinator(0, "")).error == "InvalidGroupIdError"


def test_the_coordinators_topic_is_not_for_clients(peer: Peer) -> None:
    assert peer.refused(CreateTopic(0, OFFSETS_TOPIC, 1, 1, {})).error == "InvalidTopicError"
    coordinator_socket(peer, "delays")
    topic = peer.topic(OFFSETS_TOPIC)
    assert (topic.internal, topic.config["cleanup.policy"]) == (True, "compact")
    assert peer.refused(DeleteTopic(0, OFFSETS_TOPIC)).error == "InvalidTopicError"
    refused = peer.refused(OpenLane(0, OFFSETS_TOPIC, 0, peer.producer_id(), 0, 0, None))
    assert "only coordinators write to" in refused.message

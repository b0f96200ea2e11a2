"""Joining a group: what is refused and why, whom subscriptions match, and what time does to members."""

from __future__ import annotations

import pytest

from shmlog.machines.group.custom import AGAIN_NS
from shmlog.machines.group.requests import Joined
from tests.group_trace import MS, Coordinator, parts, refusal


@pytest.fixture
def one() -> Coordinator:
    """A coordinator that knows topic t with four partitions."""
    coordinator = Coordinator()
    coordinator.topics(t=4)
    return coordinator


def assigned(one: Coordinator, member_id: str) -> frozenset[int]:
    found = one.machine.group("g")
    assert found is not None
    [member] = [member for member in found.members if member.said.member_id == member_id]
    return frozenset(number for _, number in member.current.assigned)


def error_of(one: Coordinator) -> str:
    found = one.machine.group("g")
    assert found is not None
    return found.error


# --- joining ----------------------------------------------------------------------------------------------------------


def test_a_group_needs_a_name_and_a_member_an_id_and_a_subscription(one: Coordinator) -> None:
    assert "InvalidGroupIdError: the name of the group is empty" in refusal(one.join("a", group=""))
    assert "has 256 characters, and may have 255" in refusal(one.join("a", group="g" * 256))
    assert "needs a member id" in refusal(one.join(""))
    assert "either topics or a pattern" in refusal(one.join("a", "t", pattern="t"))
    assert "max.poll.interval.ms" in refusal(one.join("a", poll_ms=0))
    assert "max.poll.interval.ms" in refusal(one.join("a", poll_ms=2**31))
    assert "has a text of 40000 bytes" in refusal(one.join("a" * 40_000))
    assert one.machine.groups() == ()


def test_a_pattern_that_does_not_compile_is_refused_with_what_is_wrong(one: Coordinator) -> None:
    assert refusal(one.join("a", pattern="t[")).startswith(
        "InvalidRegularExpressionError: the pattern 't[' of topics is no regular expression: unterminated"
    )


def test_members_of_one_group_use_one_assignor_and_a_refusal_names_both(one: Coordinator) -> None:
    one.join("a")
    assert refusal(one.join("b", assignor="other")) == (
        "InconsistentGroupProtocolError: the members of group 'g' use the assignor 'range', and app b wants 'other': "
        "all members have to use the same one"
    )
    assert "there is no assignor 'rnge'" in refusal(one.join("c", assignor="rnge"))
    assert "there is no assignor 'custom:'" in refusal(one.join("c", assignor="custom:"))
    one.join("a", assignor="other", epoch=1, owned=parts(0, 1, 2, 3))
    found = one.machine.group("g")
    assert found is not None
    assert (found.assignor, found.epoch) == ("other", 2), "the only one changes it"


def test_a_static_member_that_follows_one_with_another_assignor_changes_it_if_it_is_alone(one: Coordinator) -> None:
    one.join("a", instance="i")
    one.died("a")
    one.join("b", instance="i", assignor="other")
    assert assigned(one, "b") == {0, 1, 2, 3}


def test_who_was_removed_joins_with_another_id_and_no_member_becomes_another_instance(one: Coordinator) -> None:
    one.join("a", instance="i")
    assert "UnknownMemberError: member b is not in group 'g' any more" in refusal(one.join("b", epoch=1))
    assert "joined as instance 'i', and cannot become 'j'" in refusal(one.join("a", epoch=1, instance="j"))


def test_a_topic_that_does_not_exist_is_waited_for_and_said_so(one: Coordinator) -> None:
    [reply] = one.join("a", "u", "t", "v").replies
    assert reply == Joined("a", 1, ("u", "v"))
    one.topics(t=4, u=1)
    found = one.machine.group("g")
    assert found is not None
    assert found.members[0].current.assigned == parts(0, 1, 2, 3) | parts(0, topic="u")


@pytest.mark.parametrize(
    ("pattern", "topics"),
    [("t", ["t"]), ("t.*", ["t", "tt"]), ("[tu]", ["t", "u"]), (".*", ["t", "tt", "u"]), ("__.*", [])],
)
def test_a_pattern_is_for_whole_names_and_never_for_internal_topics(pattern: str, topics: list[str]) -> None:
    one = Coordinator()
    one.topics(t=1, tt=1, u=1, __consumer_offsets=1)
    one.join("a", pattern=pattern)
    found = one.machine.group("g")
    assert found is not None
    assert found.members[0].target == frozenset().union(*(parts(0, topic=topic) for topic in topics))


def test_an_internal_topic_is_read_by_who_names_it() -> None:
    one = Coordinator()
    one.topics(__consumer_offsets=1)
    one.join("a", "__consumer_offsets")
    assert assigned(one, "a") == {0}


def test_a_new_topic_that_matches_a_pattern_joins_by_itself() -> None:
    one = Coordinator()
    one.topics(other=1)
    one.join("a", pattern="t.")
    one.topics(other=1, t1=2)
    assert assigned(one, "a") == {0, 1}


def test_another_subscription_moves_partitions_and_the_same_one_said_again_does_not(one: Coordinator) -> None:
    one.topics(t=4, u=2)
    one.join("a", "t", "u")
    assert one.join("a", "u", "t", "u", epoch=1, owned=parts(0)).records == ()
    one.join("a", "u", epoch=1, owned=parts(0, 1))
    one.owns("a")
    found = one.machine.group("g")
    assert found is not None
    assert found.members[0].current.assigned == parts(0, 1, topic="u")


# --- what members of their own assignor compute -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"a": [0, 1], "b": [1, 2, 3]}, "it gives t-1 to a and to b"),
        ({"a": [0, 1], "b": [2]}, "it gives t-3 to nobody"),
        ({}, "it gives t-0, t-1, t-2 and others to nobody"),
        ({"a": [0, 1, 2], "z": [3]}, "it gives partitions to z, which is no member"),
        ({"a": [0, 1, 2, 3, 4]}, "it gives t-4 to a, and there is no such partition to give"),
        ({"c": [0, 1, 2, 3]}, "it gives t-0 to c, which is not subscribed to t"),
    ],
)
def test_an_assignment_that_cannot_be_is_described_and_the_group_keeps_what_it_has(
    one: Coordinator, given: dict[str, list[int]], problem: str
) -> None:
    for member_id, topic in (("a", "t"), ("b", "t"), ("c", "u")):
        one.join(member_id, topic, assignor="custom:mine")
    assert one.computed("a", 3, "", **given).records == ()
    assert error_of(one) == f"custom:mine: {problem}"
    one.computed("a", 3, a=[0, 1], b=[2, 3])
    assert one.state() == "Assigning 3"
    assert one.owns("a").actions == (), "nobody is asked twice"
    one.topics(t=4, v=1)
    one.died("c")
    assert error_of(one) == ""
    one.computed("b", 4, a=[0, 1], b=[2, 3])
    assert one.state() == "Stable 4"


def test_one_member_is_asked_once_and_another_one_when_that_one_is_away() -> None:
    one = Coordinator()
    one.topics(t=4)
    for member_id in "ab":
        one.join(member_id, instance=f"i{member_id}", assignor="custom:mine")
    assert one.owns("b").actions == ()
    assert "> b: compute epoch 2" not in one.trace()
    one.died("a")
    assert "> b: compute epoch 2" in one.trace()


def test_who_follows_a_static_member_for_which_an_assignment_is_computed_has_another_one_computed(
    one: Coordinator,
) -> None:
    one.join("a", instance="ia", assignor="custom:mine")
    one.join("b", instance="ib", assignor="custom:mine")
    one.died("b")
    one.join("c", instance="ib", assignor="custom:mine")
    one.computed("a", 2, a=[0, 1], b=[2, 3])
    assert (error_of(one), one.state()) == ("", "Assigning 3")
    one.computed("a", 3, a=[0, 1], c=[2, 3])
    assert one.state() == "Stable 3"


def test_what_an_assignor_raised_stands_in_the_description(one: Coordinator) -> None:
    one.join("a", assignor="custom:mine")
    one.computed("a", 1, error="ZeroDivisionError: division by zero")
    assert error_of(one) == "custom:mine: ZeroDivisionError: division by zero"


def test_when_one_members_assignor_fails_the_next_is_asked_and_all_of_them_again_after_a_while(
    one: Coordinator,
) -> None:
    for member_id in "ab":
        one.join(member_id, assignor="custom:mine")
    one.trace()
    one.computed("a", 2, error="OSError: no answer")
    assert "> b: compute epoch 2" in one.trace()
    one.computed("b", 2, error="OSError: no answer, either")
    assert error_of(one) == "custom:mine: OSError: no answer, either"
    assert "> " not in one.trace(), "both have failed"
    one.tick(AGAIN_NS // MS - 1)
    assert "> a: compute" not in one.trace()
    assert (one.machine.next_deadline_ns() or 0) <= AGAIN_NS
    one.tick(AGAIN_NS // MS)
    assert "> a: compute epoch 2" in one.trace()
    assert error_of(one), "it is shown until it is mended"
    one.computed("a", 2, a=[0, 1], b=[2, 3])
    assert (one.state(), error_of(one)) == ("Stable 2", "")


def test_a_new_coordinator_asks_the_first_member_that_comes_for_an_assignment(one: Coordinator) -> None:
    one.join("a", assignor="custom:mine")
    after = Coordinator(one.log)
    assert after.topics(t=4).actions == ()
    after.join("a", assignor="custom:mine")
    assert "> a: compute epoch 1" in after.trace()


# --- time -------------------------------------------------------------------------------------------------------------


def test_the_next_deadline_is_the_first_of_all(one: Coordinator) -> None:
    assert one.machine.next_deadline_ns() is None
    one.join("a", poll_ms=1_000)
    one.tick(0)
    assert one.machine.next_deadline_ns() == 1_000 * MS
    one.join("b", instance="i", poll_ms=2_000)
    one.died("b")
    assert one.machine.next_deadline_ns() == 500 * MS


def test_who_does_not_say_when_a_member_polled_has_a_second_for_it(one: Coordinator) -> None:
    one.join("a", poll_ms=1_000)
    assert len(one.tick(1_500).actions) == 1
    assert one.tick(2_499).records == ()
    one.tick(2_500)
    assert one.state() == "Empty 2"


def test_a_static_member_that_dies_twice_has_one_session_and_is_not_asked_when_it_polled(one: Coordinator) -> None:
    one.join("a", instance="i", poll_ms=1_000)
    one.tick(1_000)
    one.died("a")
    assert one.polled("a", 0).records == ()
    one.tick(1_400)
    one.died("a")
    one.tick(1_500)
    assert one.state() == "Empty 2"


def test_who_is_asked_for_is_asked_after_everybody_has_heard_of_those_whose_time_is_over(one: Coordinator) -> None:
    for member_id, instance in (("a", "i"), ("b", None), ("c", None)):
        one.join(member_id, instance=instance, poll_ms=1_000)
    one.now_ms = 500
    one.died("a")
    one.trace()
    kinds = [type(action).__name__ for action in one.tick(1_000).actions]
    assert kinds == ["Assign", "AskWhenPolled", "AskWhenPolled"], "who answers at once makes newer steps"


def test_an_older_poll_does_not_count(one: Coordinator) -> None:
    one.join("a", poll_ms=1_000)
    one.polled("a", 900)
    one.polled("a", 800)
    one.tick(1_800)
    assert one.machine.next_deadline_ns() == 1_900 * MS


def test_after_a_failover_everybody_has_his_whole_time_from_the_first_tick_on(one: Coordinator) -> None:
    one.join("a", poll_ms=1_000)
    after = Coordinator(one.log)
    assert after.machine.next_deadline_ns() == 0
    assert after.tick(50_000).actions == ()
    assert after.machine.next_deadline_ns() == 51_000 * MS
    after.tick(51_000)
    after.polled("a", 50_000)
    assert after.state() == "Empty 2"

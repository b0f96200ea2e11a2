"""Golden traces of consumer groups: what is asked, then what is recorded (|), answered (<) and told to members (>)."""

from __future__ import annotations

from tests.group_trace import Coordinator, parts, told


def with_topic(partitions: int = 4) -> Coordinator:
    one = Coordinator()
    one.topics(t=partitions)
    one.trace()
    return one


def test_who_joins_first_has_everything_at_once() -> None:
    one = with_topic()
    one.join("a")
    assert one.trace() == told(
        """
        0     a joins [Stable 1]
              | member a: t
              | group epoch 1
              | a is to have t-0 t-1 t-2 t-3
              | targets of epoch 1
              | a has t-0 t-1 t-2 t-3 (stable in 1)
              < a joined in 1
              > a: t-0 t-1 t-2 t-3
        """
    )


def test_what_a_second_member_is_to_have_the_first_one_gives_up_and_the_rest_it_keeps() -> None:
    one = with_topic()
    one.join("a")
    one.owns("a", 0, 1, 2, 3)
    one.trace()
    one.join("b")
    one.owns("a", 0, 1, 2, 3)  # what it said before it heard of b
    one.owns("a", 0, 1)
    one.owns("b", 2, 3)
    assert one.trace() == told(
        """
        0     b joins [Reconciling 2]
              | member b: t
              | group epoch 2
              | a is to have t-0 t-1
              | b is to have t-2 t-3
              | targets of epoch 2
              | a has t-0 t-1, gives up t-2 t-3 (gives up in 1)
              | b has nothing (waits in 2)
              < b joined in 2
              > a: t-0 t-1
              > b: nothing
        0     a owns t-0 t-1 t-2 t-3 [Reconciling 2]
        0     a owns t-0 t-1 [Stable 2]
              | a has t-0 t-1 (stable in 2)
              | b has t-2 t-3 (stable in 2)
              > b: t-2 t-3
        0     b owns t-2 t-3 [Stable 2]
        """
    )


def test_who_leaves_leaves_everything_to_the_others() -> None:
    one = with_topic()
    for member_id in "ab":
        one.join(member_id)
    one.owns("a", 0, 1)
    one.trace()
    one.leave("a")
    one.leave("b")
    one.leave("b")
    assert one.trace() == told(
        """
        0     a leaves [Stable 3]
              | a has none
              | a is to have none
              | no member a
              | group epoch 3
              | b is to have t-0 t-1 t-2 t-3
              | targets of epoch 3
              | b has t-0 t-1 t-2 t-3 (stable in 3)
              < done
              > b: t-0 t-1 t-2 t-3
        0     b leaves [Empty 4]
              | b has none
              | b is to have none
              | no member b
              | group epoch 4
              | targets of epoch 4
              < done
        0     b leaves [Empty 4]
              < UnknownMemberError
        """
    )


def test_what_a_killed_member_read_and_what_it_was_giving_up_others_have_at_once() -> None:
    one = with_topic()
    for member_id in "ab":
        one.join(member_id)
    one.trace()
    one.died("a")
    assert one.trace() == told(
        """
        0     a died [Stable 3]
              | a has none
              | a is to have none
              | no member a
              | group epoch 3
              | b is to have t-0 t-1 t-2 t-3
              | targets of epoch 3
              | b has t-0 t-1 t-2 t-3 (stable in 3)
              > b: t-0 t-1 t-2 t-3
        """
    )


def test_a_static_member_that_comes_back_in_time_has_its_partitions_again_and_nothing_else_moves() -> None:
    one = with_topic()
    one.join("a", instance="left")
    one.join("b", instance="right")
    one.owns("a", 0, 1)
    one.trace()
    one.died("a")
    one.tick(499)
    one.join("c", instance="left")
    one.tick(600)
    assert one.trace() == told(
        """
        0     a died [Stable 2]
        499   tick [Stable 2]
        499   c joins as left [Stable 2]
              | a has none
              | a is to have none
              | no member a
              | c is to have t-0 t-1
              | c has t-0 t-1 (stable in 2)
              | member c as left: t
              < c joined in 2
              > c: t-0 t-1
        600   tick [Stable 2]
        """
    )


def test_a_static_member_that_leaves_and_does_not_come_back_in_time_is_gone() -> None:
    one = with_topic()
    one.join("a", instance="left")
    one.join("b", instance="right")
    one.trace()
    one.leave("a")
    one.tick(499)
    one.tick(500)
    assert one.trace() == told(
        """
        0     a leaves [Stable 2]
              | a has t-0 t-1 (stable in 2)
              | b has t-2 t-3 (stable in 2)
              < done
              > b: t-2 t-3
        499   tick [Stable 2]
        500   tick [Stable 3]
              | a has none
              | a is to have none
              | no member a
              | group epoch 3
              | b is to have t-0 t-1 t-2 t-3
              | targets of epoch 3
              | b has t-0 t-1 t-2 t-3 (stable in 3)
              > b: t-0 t-1 t-2 t-3
        """
    )


def test_of_two_static_members_with_one_id_the_older_is_out() -> None:
    one = with_topic()
    one.join("a", instance="left")
    one.trace()
    one.join("b", instance="left")
    one.join("a", instance="left", epoch=1, owned=parts(0, 1, 2, 3))
    assert one.trace() == told(
        """
        0     b joins as left [Stable 1]
              | a has none
              | a is to have none
              | no member a
              | b is to have t-0 t-1 t-2 t-3
              | b has t-0 t-1 t-2 t-3 (stable in 1)
              | member b as left: t
              < b joined in 1
              > a: FencedInstanceIdError
              > b: t-0 t-1 t-2 t-3
        0     a joins as left again with t-0 t-1 t-2 t-3 [Stable 1]
              < FencedInstanceIdError
        """
    )


def test_who_is_slow_to_give_up_keeps_nobody_waiting_but_those_who_are_to_have_just_that() -> None:
    one = with_topic()
    for member_id in "abc":
        one.join(member_id)
    one.trace()
    one.owns("a", 0, 1)
    one.leave("c")
    one.owns("b", 2, 3)
    one.owns("a", 0)
    assert one.trace() == told(
        """
        0     a owns t-0 t-1 [Reconciling 3]
              | a has t-0, gives up t-1 (gives up in 1)
              | c has t-2 t-3 (stable in 3)
              > c: t-2 t-3
        0     c leaves [Reconciling 4]
              | c has none
              | c is to have none
              | no member c
              | group epoch 4
              | a is to have t-0 t-1
              | b is to have t-2 t-3
              | targets of epoch 4
              | b has t-2 t-3 (stable in 4)
              < done
              > b: t-2 t-3
        0     b owns t-2 t-3 [Reconciling 4]
        0     a owns t-0 [Stable 4]
              | a has t-0 t-1 (stable in 4)
              > a: t-0 t-1
        """
    )


def test_a_new_coordinator_goes_on_where_its_log_ends_once_it_knows_the_topics() -> None:
    one = with_topic()
    for member_id in "abc":
        one.join(member_id)
    after = Coordinator(one.log)
    after.join("a", epoch=3, owned=parts(0))
    after.topics(t=4)
    after.join("a", epoch=3, owned=parts(0))
    after.join("b", epoch=2)
    after.join("d", epoch=2)
    after.died("c")
    assert after.trace() == told(
        """
        0     a joins again with t-0 [Reconciling 3]
              < CoordinatorNotAvailableError
        0     topics are t 4 [Reconciling 3]
        0     a joins again with t-0 [Stable 3]
              | a has t-0 (stable in 3)
              | b has t-1 (stable in 3)
              | c has t-2 t-3 (stable in 3)
              < a joined in 3
              > a: t-0
        0     b joins again with nothing [Stable 3]
              < b joined in 3
              > b: t-1
        0     d joins again with nothing [Stable 3]
              < UnknownMemberError
        0     c died [Reconciling 4]
              | c has none
              | c is to have none
              | no member c
              | group epoch 4
              | a is to have t-0 t-1
              | b is to have t-2 t-3
              | targets of epoch 4
              | b has nothing, gives up t-1 (gives up in 3)
              | a has t-0 (waits in 4)
              > b: nothing
        """
    )


def test_who_polls_too_seldom_is_asked_for_then_fenced_and_heard_no_more() -> None:
    one = with_topic()
    one.join("a")
    one.join("b")
    one.owns("a", 0, 1)
    one.trace()
    one.tick(1_000)
    one.polled("a", 900)
    one.polled("b", 0)
    one.commit("b", 9, number=2)
    one.tick(1_899)
    one.tick(1_900)
    one.tick(2_900)
    assert one.trace() == told(
        """
        1000  tick [Stable 2]
              > when did a poll?
              > when did b poll?
        1000  a polled at 900 [Stable 2]
        1000  b polled at 0 [Stable 3]
              | b has none
              | b is to have none
              | no member b
              | group epoch 3
              | a is to have t-0 t-1 t-2 t-3
              | targets of epoch 3
              | a has t-0 t-1 t-2 t-3 (stable in 3)
              > b: MaxPollExceededError
              > a: t-0 t-1 t-2 t-3
        1000  b commits t-2 9 [Stable 3]
              < UnknownMemberError
        1899  tick [Stable 3]
        1900  tick [Stable 3]
              > when did a poll?
        2900  tick [Empty 4]
              | a has none
              | a is to have none
              | no member a
              | group epoch 4
              | targets of epoch 4
              > a: MaxPollExceededError
        """
    )

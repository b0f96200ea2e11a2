"""Golden traces of groups whose topics, assignments and offsets change. The lines are as in test_group_traces."""

from __future__ import annotations

from shmlog.machines.group.requests import TopicFacts
from tests.group_trace import Coordinator, told, topic_id


def with_topic(partitions: int = 4) -> Coordinator:
    one = Coordinator()
    one.topics(t=partitions)
    one.trace()
    return one


def test_a_topic_that_grew_while_nobody_coordinated_is_seen_by_the_next_one() -> None:
    one = with_topic()
    one.join("a")
    after = Coordinator(one.log)
    after.topics(t=5)
    assert after.trace() == told(
        """
        0     topics are t 5 [Stable 2]
              | group epoch 2
              | a is to have t-0 t-1 t-2 t-3 t-4
              | targets of epoch 2
              | a has t-0 t-1 t-2 t-3 t-4 (stable in 2)
        """
    )


def test_an_assignor_of_the_members_is_run_by_one_of_them_and_by_another_when_that_one_goes() -> None:
    one = with_topic()
    one.join("a", assignor="custom:mine")
    one.computed("a", 1, a=[0, 1, 2, 3])
    one.join("b", assignor="custom:mine")
    one.computed("a", 1, a=[0, 1, 2, 3])
    one.died("a")
    one.computed("a", 2, b=[0, 1, 2, 3])
    one.computed("b", 3, b=[0, 1, 2, 3])
    assert one.trace() == told(
        """
        0     a joins [Assigning 1]
              | member a: t
              | group epoch 1
              | a has nothing (stable in 0)
              < a joined in 0
              > a: nothing
              > a: compute epoch 1 of {'t': 4} (a has 0)
        0     a computed a:0,1,2,3 for 1 [Stable 1]
              | a is to have t-0 t-1 t-2 t-3
              | targets of epoch 1
              | a has t-0 t-1 t-2 t-3 (stable in 1)
              > a: t-0 t-1 t-2 t-3
        0     b joins [Assigning 2]
              | member b: t
              | group epoch 2
              | b has nothing (stable in 1)
              < b joined in 1
              > b: nothing
              > a: compute epoch 2 of {'t': 4} (a has 4, b has 0)
        0     a computed a:0,1,2,3 for 1 [Assigning 2]
        0     a died [Assigning 3]
              | a has none
              | a is to have none
              | no member a
              | group epoch 3
              > b: compute epoch 3 of {'t': 4} (b has 0)
        0     a computed b:0,1,2,3 for 2 [Assigning 3]
        0     b computed b:0,1,2,3 for 3 [Stable 3]
              | b is to have t-0 t-1 t-2 t-3
              | targets of epoch 3
              | b has t-0 t-1 t-2 t-3 (stable in 3)
              > b: t-0 t-1 t-2 t-3
        """
    )


def test_a_topic_that_grows_gives_its_new_partitions_away_and_nothing_else_moves() -> None:
    one = with_topic(2)
    one.join("a")
    one.join("b", "u", "t")
    one.owns("a", 0)
    one.trace()
    one.topics(t=2, v=3)
    one.topics(t=3, v=3)
    one.topics(t=3, u=1, v=3)
    assert one.trace() == told(
        """
        0     topics are t 2, v 3 [Stable 2]
        0     topics are t 3, v 3 [Stable 3]
              | group epoch 3
              | b is to have t-1 t-2
              | targets of epoch 3
              | a has t-0 (stable in 3)
              | b has t-1 t-2 (stable in 3)
              > b: t-1 t-2
        0     topics are t 3, u 1, v 3 [Stable 4]
              | group epoch 4
              | b is to have t-1 t-2 u-0
              | targets of epoch 4
              | a has t-0 (stable in 4)
              | b has t-1 t-2 u-0 (stable in 4)
              > b: t-1 t-2 u-0
        """
    )


def test_a_topic_that_is_deleted_goes_with_its_offsets_and_one_of_that_name_is_another_one() -> None:
    one = with_topic(2)
    one.join("a")
    one.commit("a", 5)
    one.trace()
    one.topics_are({"t": TopicFacts("t", topic_id("t", 1), 1)})
    one.commit("a", 1)
    one.topics()
    assert one.trace() == told(
        """
        0     topics are t 1 [Stable 2]
              | group epoch 2
              | a is to have t1-0
              | targets of epoch 2
              | a has t1-0 (stable in 2)
              | no offset of t-0
              > a: t1-0
        0     a commits t-0 1 [Stable 2]
              | offset of t-0 1 (epoch 3)
              < done
        0     topics are  [Stable 3]
              | group epoch 3
              | a is to have nothing
              | targets of epoch 3
              | a has nothing (stable in 3)
              | no offset of t-0
              > a: nothing
        """
    )


def test_a_group_goes_with_the_last_offset_that_nobody_has_renewed() -> None:
    one = with_topic(2)
    one.join("a")
    one.now_ms = 100
    one.commit("a", 5, number=0)
    one.tick(10_000)
    one.leave("a")
    one.commit("", 6, number=1)
    one.trace()
    one.tick(60_099)
    one.tick(69_999)
    one.tick(75_999)
    assert one.trace() == told(
        """
        60099 tick [Empty 2]
        69999 tick [Empty 2]
        75999 tick [no group]
              | no offset of t-0
              | no offset of t-1
              | no targets
              | no group
        """
    )

"""Committed offsets: who may set them, who may delete them, and when they go by themselves."""

from __future__ import annotations

import pytest

from shmlog.machines.group.requests import TopicFacts
from tests.group_trace import METADATA_BYTES_MAX, MS, RETENTION_MS, Coordinator, parts, refusal, topic_id


@pytest.fixture
def one() -> Coordinator:
    """A coordinator that knows topic t with four partitions."""
    coordinator = Coordinator()
    coordinator.topics(t=4)
    return coordinator


def test_a_commit_for_somebody_elses_partition_names_who_has_it(one: Coordinator) -> None:
    one.join("a")
    one.join("b")
    one.owns("a", 0, 1)
    assert refusal(one.commit("a", 5, number=2)) == (
        "CommitFailedError: t-2 is not a's in group 'g', b (app b) has it now: nothing was committed"
    )
    assert "UnknownMemberError: z is not" in refusal(one.commit("z", 5))


def test_numbers_that_no_record_of_kafkas_takes_are_refused(one: Coordinator) -> None:
    assert "InvalidRequestError: the leader epoch of the offset of t-0 is 2147483648" in refusal(
        one.commit("", 5, leader_epoch=2**31)
    )
    assert "is -2, and may be from -1 to 2147483647" in refusal(one.commit("", 5, leader_epoch=-2))
    assert "OffsetOutOfRangeError: offset 9223372036854775808 of t-0 is larger than any" in refusal(
        one.commit("", 2**63)
    )
    assert one.machine.groups() == ()


def test_what_was_read_of_a_topic_is_not_committed_for_another_one_of_its_name(one: Coordinator) -> None:
    one.join("a")
    one.topics_are({"t": TopicFacts("t", topic_id("t", 1), 4)})
    assert "UnknownTopicOrPartitionError: the t-0 that was read is gone" in refusal(
        one.commit("a", 5, id_of_topic=topic_id("t"))
    )
    assert one.machine.offset("g", "t", 0) is None
    assert one.commit("a", 5, id_of_topic=topic_id("t", 1)).records


def test_what_a_member_is_giving_up_it_still_commits(one: Coordinator) -> None:
    one.join("a")
    one.join("b")
    one.commit("a", 5, number=3)
    one.owns("a", 0, 1)
    assert "CommitFailedError" in refusal(one.commit("a", 6, number=3))
    found = one.machine.offset("g", "t", 3)
    assert found is not None
    assert (found.offset, found.leader_epoch, found.topic_id) == (5, 3, min(parts(3)).topic_id)


def test_nobody_sets_offsets_of_a_group_with_members_or_deletes_it(one: Coordinator) -> None:
    one.commit("", 5)
    one.join("a", "u", instance="i")
    one.died("a")
    assert "NonEmptyGroupError: group 'g' has 1 member," in refusal(one.commit("", 1))
    assert "NonEmptyGroupError: group 'g' has 1 member:" in refusal(one.delete_group())
    one.delete_offsets(0)
    assert one.machine.offsets("g") == (), "of a topic that no member reads"
    one.tick(500)
    one.commit("", 7)
    one.delete_group()
    assert one.machine.groups() == ()


def test_offsets_of_a_topic_that_a_member_reads_stay(one: Coordinator) -> None:
    one.join("a", pattern="t+")
    assert "GroupSubscribedToTopicError: a (app a) of group 'g' is subscribed to t" in refusal(one.delete_offsets(0))
    one.join("b", "u")
    assert "b (app b) of group 'g' is subscribed to u" in refusal(one.delete_offsets(0, topic="u")), (
        "also a missing one"
    )


def test_who_asks_for_a_group_that_does_not_exist_is_told(one: Coordinator) -> None:
    for step in (one.delete_group(), one.delete_offsets(0)):
        assert "UnknownGroupError: there is no group 'g'" in refusal(step)
    assert one.machine.group("g") is None
    assert one.machine.offset("g", "t", 0) is None
    assert one.machine.offsets("g") == ()


def test_a_bad_offset_is_refused_with_the_limit(one: Coordinator) -> None:
    assert "OffsetOutOfRangeError: offset -1 of t-0 is negative" in refusal(one.commit("", -1))
    assert "UnknownTopicOrPartitionError: there is no t-4" in refusal(one.commit("", 1, number=4))
    assert "UnknownTopicOrPartitionError: there is no u-0" in refusal(one.commit("", 1, topic="u"))
    long = "é" * (METADATA_BYTES_MAX // 2)
    one.commit("", 1, metadata=long)
    assert "has 17 bytes, and offset.metadata.max.bytes is 16" in refusal(one.commit("", 1, metadata=long + "x"))
    assert "InvalidGroupIdError" in refusal(one.commit("", 1, group=""))


def test_offsets_go_when_nobody_has_renewed_them_and_no_sooner(one: Coordinator) -> None:
    one.commit("", 1, number=0)
    one.now_ms = 6_000
    one.commit("", 1, number=1)
    one.tick(RETENTION_MS - 1)
    assert len(one.machine.offsets("g")) == 2
    one.tick(RETENTION_MS + 5_999)
    assert [offset.partition for offset in one.machine.offsets("g")] == [1]
    one.tick(RETENTION_MS + 12_000)
    assert one.machine.groups() == ()
    assert one.machine.next_deadline_ns() is None


def test_offsets_that_are_as_old_as_they_may_be_go_with_the_next_look(one: Coordinator) -> None:
    one.commit("", 1, group="g")
    one.now_ms = 1
    one.commit("", 1, group="h")
    one.tick(RETENTION_MS)
    assert one.machine.groups() == ("h",)
    one.tick(RETENTION_MS + 1)
    assert one.machine.groups() == ("h",)
    assert one.machine.next_deadline_ns() == (RETENTION_MS + RETENTION_MS // 10) * MS


def test_offsets_of_a_group_with_members_stay_however_old_they_are(one: Coordinator) -> None:
    one.join("a", poll_ms=1_000_000)
    one.commit("a", 1)
    one.tick(10 * RETENTION_MS)
    assert len(one.machine.offsets("g")) == 1

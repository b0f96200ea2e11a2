"""Placement: replicas are spread over directories, leaders evenly, and the same question has the same answer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from shmlog.errors import InvalidTopicError
from shmlog.machines.log_names import assign_log_names, check_further_name
from shmlog.machines.metadata import MetadataMachine
from shmlog.machines.placement import DirectoryUse, place

DISKS = [f"disk{number}" for number in range(5)]
counts = st.integers(1, 30)
factors = st.integers(1, 8)
directories = st.integers(1, 5).map(lambda count: DISKS[:count])
uses = st.dictionaries(st.sampled_from(DISKS), st.builds(DirectoryUse, st.integers(0, 50), st.integers(0, 50)))


@given(counts, factors, directories, uses)
def test_every_replica_has_a_directory_and_the_same_question_the_same_answer(
    partitions: int, factor: int, disks: list[str], use: dict[str, DirectoryUse]
) -> None:
    placed = place(partitions, factor, disks, use)
    assert [len(chosen) for chosen in placed] == [factor] * partitions
    assert {one for chosen in placed for one in chosen} <= set(disks)
    assert placed == place(partitions, factor, disks, dict(reversed(use.items())))


@given(counts, factors, directories, uses)
def test_no_two_replicas_share_a_directory_while_another_has_none(
    partitions: int, factor: int, disks: list[str], use: dict[str, DirectoryUse]
) -> None:
    for chosen in place(partitions, factor, disks, use):
        shares = Counter(chosen)
        assert max(shares.values()) - min(shares[one] for one in disks) <= 1


@given(counts, factors, directories, uses)
def test_leaders_go_where_the_fewest_are(
    partitions: int, factor: int, disks: list[str], use: dict[str, DirectoryUse]
) -> None:
    leaders = {one: use.get(one, DirectoryUse()).leaders for one in disks}
    for chosen in place(partitions, factor, disks, use):
        assert leaders[chosen[0]] == min(leaders.values())
        leaders[chosen[0]] += 1


@given(counts, factors, directories)
def test_what_begins_empty_stays_even_in_leaders_and_in_replicas(
    partitions: int, factor: int, disks: list[str]
) -> None:
    placed = place(partitions, factor, disks, {})
    leaders = Counter(chosen[0] for chosen in placed)
    replicas = Counter(one for chosen in placed for one in chosen)
    assert max(leaders.values()) - min(leaders[one] for one in disks) <= 1
    assert max(replicas.values()) - min(replicas[one] for one in disks) <= 1


def test_followers_fill_the_directory_with_the_fewest_replicas() -> None:
    use = {"disk0": DirectoryUse(9, 0), "disk1": DirectoryUse(5, 5), "disk2": DirectoryUse(1, 5)}
    assert place(2, 2, DISKS[:3], use) == [["disk0", "disk2"], ["disk0", "disk2"]]


def test_a_new_directory_gets_the_next_partitions_until_it_has_as_many() -> None:
    machine = MetadataMachine(data_directory_id="home")
    for record in machine.create_topic("old", topic_id="o", partitions=3).records:
        machine.replay(record)
    for record in machine.create_topic("new", topic_id="n", partitions=5, directories=["home", "disk"]).records:
        machine.replay(record)
    assert [one.replicas[one.leader] for one in machine.partitions()] == [
        *("home", "home", "home"),
        *("disk", "disk", "disk", "home", "disk"),
    ]


@given(st.lists(st.dictionaries(st.integers(0, 6), st.sampled_from(DISKS[:2]), min_size=1), min_size=1, max_size=6))
def test_replicas_of_a_partition_never_meet_in_a_directory_and_keep_their_names(steps: list[dict[int, str]]) -> None:
    replicas: dict[int, str] = {}
    names: dict[int, str] = {}
    for now in steps:
        assigned = assign_log_names("t-0", now, replicas, names)
        paths = [(now[one], name) for one, name in assigned.items()]
        assert len(set(paths)) == len(now)
        assert all(assigned[one] == names[one] for one in now if replicas.get(one) == now[one])
        replicas, names = now, assigned


def test_the_first_replica_in_a_directory_has_kafkas_name_and_a_further_one_its_number() -> None:
    machine = MetadataMachine(data_directory_id="home")
    step = machine.create_topic("t", topic_id="x", partitions=1, replication_factor=3, directories=["a", "b"])
    for record in step.records:
        machine.replay(record)
    partition = machine.partition("t", 0)
    assert partition.replicas == {0: "a", 1: "b", 2: "a"}
    assert partition.log_names == {0: "t-0", 1: "t-0", 2: "t-0.r2"}


def test_a_topic_whose_name_is_too_long_for_two_replicas_in_a_directory_is_refused_and_otherwise_is_not() -> None:
    machine, name = MetadataMachine(), "t" * 249
    with pytest.raises(InvalidTopicError, match="1 characters shorter: two replicas of a partition share"):
        machine.create_topic(name, topic_id="x", partitions=1000, replication_factor=2, directories=["a"])
    machine.create_topic(name, topic_id="x", partitions=1000, replication_factor=2, directories=["a", "b"])
    check_further_name("t" * 248, 999, 1)

"""Assignors: valid whatever is asked, even, sticky, and Kafka's results where Kafka defines them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from shmlog.machines.group import assignor, sticky_assignor, uneven_balance
from shmlog.machines.group.assignor import Assignment, Assignor, MemberSubscription
from shmlog.machines.group.assignors import NAMES
from shmlog.model import TopicPartition

Group = tuple[list[MemberSubscription], dict[str, int]]

TOPICS = ("a", "b", "c")
each_assignor = pytest.mark.parametrize("assign", [NAMES[name] for name in ("range", "roundrobin", "sticky")])
STICKY = NAMES["sticky"]


@st.composite
def groups(
    draw: st.DrawFn, members: int = 6, partitions: int = 7, alike: bool = False, topics: Sequence[str] = TOPICS
) -> Group:
    """Members with subscriptions, and what they had before: disjoint, partly of topics that they want no more, partly
    of partitions that are gone."""
    counts = {topic: draw(st.integers(1, partitions)) for topic in topics}
    ids = [f"m{number}" for number in range(draw(st.integers(1, members)))]
    wanted = st.frozensets(st.sampled_from(topics))
    common = draw(wanted)
    before = {
        TopicPartition(topic, number): draw(st.sampled_from([*ids, None]))
        for topic, count in counts.items()
        for number in range(count + draw(st.integers(0, 1)))
    }
    static = draw(st.dictionaries(st.sampled_from(ids), st.uuids().map(str), max_size=2))
    return [
        MemberSubscription(
            one,
            static.get(one),
            common if alike else draw(wanted),
            frozenset(partition for partition, owner in before.items() if owner == one),
        )
        for one in ids
    ], counts


def wanted_partitions(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> set[TopicPartition]:
    topics = {topic for member in members for topic in member.topics}
    return {TopicPartition(topic, number) for topic in topics for number in range(partitions[topic])}


def moves(members: Sequence[MemberSubscription], found: Mapping[str, frozenset[TopicPartition]]) -> int:
    """Partitions that have another member now, or have one again."""
    return sum(len(found[member.member_id] - member.owned) for member in members)


def loads(found: Mapping[str, frozenset[TopicPartition]]) -> list[int]:
    return sorted(map(len, found.values()))


# --- every assignor ---------------------------------------------------------------------------------------------------


@each_assignor
@given(group=groups())
def test_each_partition_goes_to_one_who_wants_it(assign: Assignor, group: Group) -> None:
    members, partitions = group
    found = assign(members, partitions)
    assert set(found) == {member.member_id for member in members}
    for member in members:
        assert {one.topic for one in found[member.member_id]} <= member.topics
    given_out = [one for some in found.values() for one in some]
    assert sorted(given_out) == sorted(wanted_partitions(members, partitions))


@each_assignor
@given(group=groups(), seed=st.integers())
def test_neither_the_order_of_members_nor_that_of_topics_counts(assign: Assignor, group: Group, seed: int) -> None:
    members, partitions = group
    shuffled = random.Random(seed).sample(members, len(members))
    assert assign(shuffled, dict(reversed(partitions.items()))) == assign(members, partitions)


@pytest.mark.parametrize("assign", [NAMES[name] for name in ("roundrobin", "sticky")])
@given(group=groups(alike=True))
def test_who_wants_the_same_gets_as_many_within_one(assign: Assignor, group: Group) -> None:
    counts = loads(assign(*group))
    assert counts[-1] - counts[0] <= 1


@given(group=groups(alike=True))
def test_range_is_even_within_one_of_each_topic(group: Group) -> None:
    found = NAMES["range"](*group)
    for topic in group[0][0].topics:
        counts = [sum(one.topic == topic for one in some) for some in found.values()]
        assert max(counts) - min(counts) <= 1


@each_assignor
@given(group=groups(), seed=st.integers())
def test_static_members_that_come_back_under_another_id_get_what_they_had(
    assign: Assignor, group: Group, seed: int
) -> None:
    members, partitions = group
    members = [dataclasses.replace(member, instance_id=f"static-{member.member_id}") for member in members]
    names = [f"new{number}" for number in range(len(members))]
    random.Random(seed).shuffle(names)
    renamed = [dataclasses.replace(member, member_id=name) for member, name in zip(members, names, strict=True)]
    before, after = assign(members, partitions), assign(renamed, partitions)
    assert {name: before[member.member_id] for member, name in zip(members, names, strict=True)} == after


def test_kafkas_names_are_there() -> None:
    assert set(NAMES) == {"range", "roundrobin", "sticky", "cooperative-sticky", "uniform"}


# --- sticky -----------------------------------------------------------------------------------------------------------


def best(members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> tuple[list[int], int]:
    """The most even loads that there are, and the fewest moves to any assignment that has them. Tries everything."""
    wanted = sorted(wanted_partitions(members, partitions))
    candidates = [[place for place, member in enumerate(members) if one.topic in member.topics] for one in wanted]
    owned = [[one in member.owned for one in wanted] for member in members]

    def judge(choice: tuple[int, ...]) -> tuple[int, int, list[int]]:
        counts = Counter(choice)
        unevenness = sum(count * count for count in counts.values())
        moved = sum(not owned[place][number] for number, place in enumerate(choice))
        return unevenness, moved, sorted(counts[place] for place in range(len(members)))

    _, moved, counts = min(judge(choice) for choice in itertools.product(*candidates))
    return counts, moved


@pytest.mark.parametrize("alike", [True, False])
@given(data=st.data())
@settings(max_examples=60)
def test_sticky_is_as_even_as_can_be_and_moves_only_what_must_move(alike: bool, data: st.DataObject) -> None:
    members, partitions = data.draw(groups(members=4, partitions=2, alike=alike))
    found = STICKY(members, partitions)
    assert (loads(found), moves(members, found)) == best(members, partitions)


@given(group=groups(members=4, partitions=2), chance=st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_search_finds_what_is_best_also_where_it_begins_with_anything(group: Group, chance: random.Random) -> None:
    members, partitions = group

    def deal(flow: uneven_balance._Flow, free: list[TopicPartition]) -> None:
        """All partitions anywhere, as if they had been moved there."""
        for partition in [*free, *flow._home]:
            if partition in flow._home:
                flow._remove(flow._home[partition], partition)
            wanting = [number for number, member in enumerate(flow.members) if partition.topic in member.topics]
            flow._add(chance.choice(wanting), partition)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uneven_balance._Flow, "deal", deal)
        patch.setattr(uneven_balance, "PASSES_MAX", 0)
        patch.setattr(sticky_assignor, "_balance_even", uneven_balance.balance_uneven)
        found = STICKY(members, partitions)
    assert (loads(found), moves(members, found)) == best(members, partitions)


@given(group=groups(members=8, partitions=20))
def test_what_is_balanced_stays_as_it_is(group: Group) -> None:
    members, partitions = group
    found = STICKY(members, partitions)
    settled = [dataclasses.replace(member, owned=found[member.member_id]) for member in members]
    assert STICKY(settled, partitions) == found


@given(group=groups(members=8, partitions=20, alike=True))
def test_when_a_member_goes_nothing_else_moves(group: Group) -> None:
    members, partitions = group
    found = STICKY(members, partitions)
    left = [dataclasses.replace(member, owned=found[member.member_id]) for member in members[1:]]
    if left:
        after = STICKY(left, partitions)
        assert all(found[member.member_id] <= after[member.member_id] for member in left)


@given(group=groups(members=8, partitions=20, alike=True))
def test_when_a_member_comes_only_what_it_gets_moves(group: Group) -> None:
    members, partitions = group
    found = STICKY(members, partitions)
    settled = [dataclasses.replace(member, owned=found[member.member_id]) for member in members]
    newcomer = MemberSubscription("later", None, members[0].topics, frozenset())
    after = STICKY([*settled, newcomer], partitions)
    assert all(after[member.member_id] <= found[member.member_id] for member in members)


def test_partitions_that_two_say_they_have_stay_with_one() -> None:
    both = frozenset({TopicPartition("a", 0), TopicPartition("a", 1)})
    members = [MemberSubscription(one, None, frozenset("a"), both) for one in ("m1", "m2")]
    found = STICKY(members, {"a": 2})
    assert loads(found) == [1, 1]
    assert found["m1"] | found["m2"] == both


def test_a_newcomer_gets_some_of_every_topic() -> None:
    topics = {f"t{number}": 12 for number in range(4)}
    members = [MemberSubscription(f"m{number}", None, frozenset(topics), frozenset()) for number in range(3)]
    found = STICKY(members, topics)
    settled = [dataclasses.replace(member, owned=found[member.member_id]) for member in members]
    after = STICKY([*settled, MemberSubscription("new", None, frozenset(topics), frozenset())], topics)
    assert Counter(one.topic for one in after["new"]) == dict.fromkeys(topics, 3)


def test_a_chain_of_moves_makes_even_what_no_single_move_does() -> None:
    """The first and the last have no topic in common; one in the middle hands on what it gets."""
    members = [
        MemberSubscription("m1", None, frozenset("a"), frozenset()),
        MemberSubscription("m2", None, frozenset("ab"), frozenset(TopicPartition("a", k) for k in range(3))),
        MemberSubscription("m3", None, frozenset("b"), frozenset(TopicPartition("b", k) for k in range(4))),
    ]
    members[0] = dataclasses.replace(members[0], owned=frozenset(TopicPartition("a", k) for k in range(3, 5)))
    found = STICKY(members, {"a": 5, "b": 4})
    assert loads(found) == [3, 3, 3]
    assert moves(members, found) == 2


def test_a_search_that_is_ended_leaves_an_assignment_that_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uneven_balance, "LOOKS_MAX", 0)
    monkeypatch.setattr(uneven_balance, "PASSES_MAX", 0)
    owned = frozenset(TopicPartition("a", number) for number in range(5))
    members = [
        MemberSubscription("m1", None, frozenset("ab"), owned),
        MemberSubscription("m2", None, frozenset("a"), frozenset()),
    ]
    found = STICKY(members, {"a": 5, "b": 2})
    assert moves(members, found) == 2
    assert {one for some in found.values() for one in some} == wanted_partitions(members, {"a": 5, "b": 2})


@pytest.mark.parametrize("alike", [True, False])
@each_assignor
def test_a_thousand_members_share_ten_thousand_partitions(assign: Assignor, alike: bool) -> None:
    chance = random.Random(7)
    topics = {f"t{number:02}": 100 for number in range(100)}
    members = [
        MemberSubscription(
            f"m{number:04}",
            None,
            frozenset(topics) if alike else frozenset(chance.sample(list(topics), 30)),
            frozenset(),
        )
        for number in range(1000)
    ]
    found = assign(members[:900], topics)
    settled = [dataclasses.replace(member, owned=found.get(member.member_id, frozenset())) for member in members]
    after = assign(settled, topics)
    assert sum(map(len, after.values())) == 10_000
    if assign is STICKY:
        assert loads(after) == [10] * 1000
        assert moves(settled, after) == 1000


# --- Kafka's results --------------------------------------------------------------------------------------------------


def cluster_of(partitions: Mapping[str, int]) -> Any:
    return SimpleNamespace(partitions_for_topic=lambda topic: set(range(partitions[topic])))


def of_kafka_python(name: str, members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    """Static members come first: its assignors take members for granted in this order."""
    from kafka.coordinator.assignors import range as range_module, roundrobin

    theirs = {"range": range_module.RangePartitionAssignor, "roundrobin": roundrobin.RoundRobinPartitionAssignor}[name]
    inputs = [
        SimpleNamespace(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            metadata=SimpleNamespace(topics=sorted(member.topics)),
        )
        for member in assignor.in_settled_order(members)
    ]
    found = theirs.assign(cluster_of(partitions), inputs)
    return {
        one: frozenset(TopicPartition(topic, number) for topic, some in each.assigned_partitions for number in some)
        for one, each in found.items()
    }


def of_aiokafka(name: str, members: Sequence[MemberSubscription], partitions: Mapping[str, int]) -> Assignment:
    """It has no static members."""
    from aiokafka.coordinator.assignors import range as range_module, roundrobin

    theirs = {"range": range_module.RangePartitionAssignor, "roundrobin": roundrobin.RoundRobinPartitionAssignor}[name]
    inputs = {member.member_id: SimpleNamespace(subscription=sorted(member.topics)) for member in members}
    found = theirs.assign(cluster_of(partitions), inputs)
    return {
        one: frozenset(TopicPartition(topic, number) for topic, some in each.assignment for number in some)
        for one, each in found.items()
    }


def same_as(
    theirs: Callable[[str, Sequence[MemberSubscription], Mapping[str, int]], Assignment], name: str, group: Group
) -> None:
    members, partitions = group
    assert NAMES[name](members, partitions) == theirs(name, members, partitions)


@given(group=groups())
def test_range_gives_what_kafkas_clients_give(group: Group) -> None:
    same_as(of_kafka_python, "range", group)


@given(group=groups(alike=True))
def test_roundrobin_gives_what_kafkas_clients_give(group: Group) -> None:
    same_as(of_kafka_python, "roundrobin", group)


@pytest.mark.parametrize("name", ["range", "roundrobin"])
@given(group=groups())
def test_members_without_instance_ids_get_what_kafkas_clients_give(name: str, group: Group) -> None:
    members, partitions = group
    same_as(of_aiokafka, name, ([dataclasses.replace(member, instance_id=None) for member in members], partitions))

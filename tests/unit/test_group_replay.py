"""What replay makes of a coordinator's log."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st

from shmlog.machines.group.records import (
    CurrentChanged,
    CurrentRemoved,
    GroupChanged,
    GroupRecord,
    GroupRemoved,
    MemberChanged,
    MemberRemoved,
    OffsetCommitted,
    OffsetRemoved,
    TargetChanged,
    TargetEpochChanged,
    TargetEpochRemoved,
    TargetRemoved,
)
from tests.group_trace import Coordinator


def key(record: GroupRecord) -> tuple[object, ...]:
    match record:
        case OffsetCommitted() | OffsetRemoved():
            return "offset", record.topic, record.partition
        case GroupChanged() | GroupRemoved():
            return ("group",)
        case TargetEpochChanged() | TargetEpochRemoved():
            return ("targets",)
        case MemberChanged() | MemberRemoved():
            return "member", record.member_id
        case TargetChanged() | TargetRemoved():
            return "target", record.member_id
        case CurrentChanged() | CurrentRemoved():
            return "current", record.member_id


def some_life(one: Coordinator, random_: random.Random, steps: int) -> None:
    names = "abcd"
    for _ in range(steps):
        member_id, number = random_.choice(names), random_.randrange(4)
        match random_.randrange(7):
            case 0 | 1:
                one.join(member_id, instance="i" if member_id == "d" else None)
            case 2:
                one.owns(member_id, number)
            case 3:
                one.leave(member_id)
            case 4:
                one.commit(random_.choice(["", member_id]), random_.randrange(100), number)
            case 5:
                one.topics(t=random_.randrange(4, 6), u=1)
            case _:
                one.tick(one.now_ms + random_.randrange(700))


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_the_last_records_of_all_keys_give_the_same_state_in_any_order(random_: random.Random, steps: int) -> None:
    one = Coordinator()
    one.topics(t=4)
    some_life(one, random_, steps)
    last = {key(record): record for record in one.log}
    shuffled = list(last.values())
    random_.shuffle(shuffled)
    traces = []
    for log in (shuffled, one.log):
        again = Coordinator(log)
        found = again.machine.group("g")
        traces.append([str(found), str(again.machine.offsets("g"))])
        again.topics(t=9)
        again.join("z")
        again.owns("a")
        again.died("b")
        again.delete_group()
        traces[-1].append(again.trace())
    assert traces[0] == traces[1]


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_no_partition_ever_has_two_holders_after_any_step(random_: random.Random, steps: int) -> None:
    one = Coordinator()
    one.topics(t=4)
    for _ in range(steps):
        some_life(one, random_, 1)
        found = one.machine.group("g")
        had = [
            partition
            for member in (found.members if found else ())
            for partition in (*member.current.assigned, *member.current.pending_revocation)
        ]
        assert len(had) == len(set(had))

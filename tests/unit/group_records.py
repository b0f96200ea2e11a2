"""Any records of consumer groups, for properties and for other judges of their bytes."""

from __future__ import annotations

from hypothesis import strategies as st

from shmlog.machines.group import records
from shmlog.machines.group.records import MemberState, TopicIdPartition

names = st.text(st.characters(codec="utf-8"), max_size=20)
int32s, int64s = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
topic_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
few_topic_ids = st.sampled_from(["00" * 15 + "01", "ff" * 16, "0123456789abcdef" * 2])
partitions = st.frozensets(st.builds(TopicIdPartition, few_topic_ids | topic_ids, st.integers(0, 2**31 - 1)))

offsets_committed = st.builds(
    records.OffsetCommitted, names, names, int32s, int64s, int32s, names, int64s, st.just("") | topic_ids
)
members_changed = st.builds(
    records.MemberChanged,
    names,
    names,
    st.none() | names,
    names,
    names,
    st.lists(names, max_size=5).map(tuple),
    st.none() | names,
    int32s,
    names,
)
currents_changed = st.builds(
    records.CurrentChanged, names, names, int32s, int32s, st.sampled_from(MemberState), partitions, partitions
)
tombstones = (
    st.builds(records.OffsetRemoved, names, names, int32s)
    | st.builds(records.GroupRemoved, names)
    | st.builds(records.MemberRemoved, names, names)
    | st.builds(records.TargetEpochRemoved, names)
    | st.builds(records.TargetRemoved, names, names)
    | st.builds(records.CurrentRemoved, names, names)
)
group_records = (
    offsets_committed
    | members_changed
    | currents_changed
    | tombstones
    | st.builds(records.GroupChanged, names, int32s)
    | st.builds(records.TargetEpochChanged, names, int32s)
    | st.builds(records.TargetChanged, names, names, partitions)
)

"""The bytes of group records: round trips, what later and older versions have, and what damaged bytes do."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given, strategies as st

from shmlog.control.offsets_topic import decode, encode, partition_of
from shmlog.errors import CorruptRecordError, InvalidRequestError
from shmlog.machines.group.records import (
    CurrentChanged,
    GroupChanged,
    GroupRecord,
    MemberChanged,
    MemberState,
    OffsetCommitted,
    OffsetRemoved,
    TargetChanged,
    TopicIdPartition,
)
from tests.unit.group_records import group_records, offsets_committed, tombstones

TOPIC_ID = "0123456789abcdef0123456789abcdef"
COMMITTED = OffsetCommitted("g", "t", 3, 100, 7, "m", 1000, TOPIC_ID)


def value_of(record: GroupRecord) -> bytes:
    value = encode(record)[1]
    assert value is not None
    return value


@given(group_records)
def test_every_record_comes_back_from_its_bytes(record: GroupRecord) -> None:
    assert decode(*encode(record)) == record


@given(tombstones)
def test_what_removes_has_no_value(record: GroupRecord) -> None:
    assert encode(record)[1] is None


@given(offsets_committed)
def test_an_offset_and_its_removal_have_one_key(record: OffsetCommitted) -> None:
    assert encode(record)[0] == encode(OffsetRemoved(record.group, record.topic, record.partition))[0]


def test_an_offset_is_these_bytes() -> None:
    key, value = encode(COMMITTED)
    assert key == bytes.fromhex("0001 0001 67 0001 74 00000003")
    assert value == bytes.fromhex(f"0004 0000000000000064 00000007 02 6d 00000000000003e8 01 00 10 {TOPIC_ID}")


def test_partitions_stand_in_order_whatever_the_order_of_a_set() -> None:
    numbers = [5, 3, 70000, 1, 2**31 - 1]
    topics = [TOPIC_ID, "ff" * 16]
    target = TargetChanged("g", "m", frozenset(TopicIdPartition(t, p) for t in topics for p in numbers))
    in_order = "06 00000001 00000003 00000005 00011170 7fffffff 00"
    assert value_of(target) == bytes.fromhex(f"0000 03 {TOPIC_ID} {in_order} {'ff' * 16} {in_order} 00")


@pytest.mark.parametrize(
    ("version", "fields", "leader_epoch"),
    [
        (0, ">qh1sq", None),
        (1, ">qh1sqq", None),  # with a time to expire
        (2, ">qh1sq", None),
        (3, ">qih1sq", 7),
    ],
)
def test_offsets_of_older_versions_are_read(version: int, fields: str, leader_epoch: int | None) -> None:
    content = [100, *([] if leader_epoch is None else [leader_epoch]), 1, b"m", 1000, *([2000] * (version == 1))]
    older = dataclasses.replace(COMMITTED, leader_epoch=-1 if leader_epoch is None else leader_epoch, topic_id="")
    key = encode(COMMITTED)[0]
    for kind in (b"\0\0", b"\0\1"):
        assert decode(kind + key[2:], struct.pack(">h", version) + struct.pack(fields, *content)) == older


@pytest.mark.parametrize("kind", [2, 4, 9, 16, 17, 200, -1])
def test_records_of_other_types_are_none_of_ours(kind: int) -> None:
    assert decode(struct.pack(">h", kind) + b"\0\1g", b"\0\0whatever") is None
    assert decode(struct.pack(">h", kind) + b"\0\1g", None) is None


@pytest.mark.parametrize("record", [COMMITTED, GroupChanged("g", 1)])
def test_values_of_versions_to_come_are_none_of_ours(record: GroupRecord) -> None:
    assert decode(encode(record)[0], b"\0\x05" + value_of(record)[2:]) is None


def test_tags_that_are_not_known_are_left_out() -> None:
    group, member = GroupChanged("g", 9), MemberChanged("g", "m", None, "c", "h", ("t",), None, 5, "")
    for record in (group, member):
        key, value = encode(record)
        assert value is not None
        tags = bytes.fromhex("02 00 08 1122334455667788 07 01 ff")  # Kafka's hash of topics, and one of some other year
        assert decode(key, value[:-1] + tags) == record


@given(group_records, st.data())
def test_bytes_that_are_cut_off_are_refused(record: GroupRecord, data: st.DataObject) -> None:
    key, value = encode(record)
    cut = data.draw(st.integers(0, len(key) - 1))
    with pytest.raises(CorruptRecordError):
        decode(key[:cut], value)
    if value is not None:
        with pytest.raises(CorruptRecordError, match="the value of a group record of type"):
            decode(key, value[: data.draw(st.integers(0, len(value) - 1))])


@given(group_records, st.binary(min_size=1, max_size=3))
def test_bytes_behind_the_end_are_refused(record: GroupRecord, more: bytes) -> None:
    key, value = encode(record)
    with pytest.raises(CorruptRecordError):
        decode(key + more, value)
    if value is not None:
        with pytest.raises(CorruptRecordError):
            decode(key, value + more)


@given(
    st.binary(max_size=80),
    st.none() | st.binary(max_size=80),
    st.sampled_from([b"", *(bytes((0, k)) for k in range(9))]),
)
def test_no_bytes_do_worse_than_being_refused(key: bytes, value: bytes | None, kind: bytes) -> None:
    try:
        record = decode(kind + key, value if value is None else b"\0\0" + value)
    except CorruptRecordError:
        return
    if record is not None:
        assert decode(*encode(record)) == record


@pytest.mark.parametrize("count", ["00", "ff ff ff ff 0f"], ids=["null", "larger than the value"])
def test_an_array_that_cannot_be_is_refused(count: str) -> None:
    key = encode(TargetChanged("g", "m", frozenset()))[0]
    with pytest.raises(CorruptRecordError, match="has an array of"):
        decode(key, bytes.fromhex(f"0000 {count} 00"))


def test_a_state_that_is_none_is_refused() -> None:
    record = CurrentChanged("g", "m", 1, 0, MemberState.STABLE, frozenset(), frozenset())
    value = bytearray(value_of(record))
    value[10] = 3
    with pytest.raises(CorruptRecordError, match="member m of group g is in state 3"):
        decode(encode(record)[0], bytes(value))


def test_a_text_that_kafka_has_no_room_for_is_refused() -> None:
    longest, longer = GroupChanged("g" * 32_767, 1), GroupChanged("g" * 32_768, 1)
    assert decode(*encode(longest)) == longest
    with pytest.raises(InvalidRequestError, match="has 32768 bytes; Kafka's records take 32767"):
        encode(longer)
    with pytest.raises(InvalidRequestError, match="has 32768 bytes"):
        encode(dataclasses.replace(COMMITTED, metadata="é" * 16_384))


@pytest.mark.parametrize(
    ("group", "java_hash"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99_162_322),
        ("flights-delays", -1_050_403_238),
        ("polygenelubricants", -(2**31)),
        ("\N{GRINNING FACE}", 1_772_899),
    ],
)
def test_a_group_is_in_the_partition_that_kafka_has_it_in(group: str, java_hash: int) -> None:
    for partitions in (1, 2, 7, 50):
        expected = 0 if java_hash == -(2**31) else abs(java_hash) % partitions
        assert partition_of(group, partitions) == expected

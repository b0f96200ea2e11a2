"""The bytes of group records in `__consumer_offsets`: keys and values as Kafka 4.1 has them, and the group's partition.

A key begins with its type, a value with its version, and none is a tombstone. Where machines.group.records live:

| record | type | key | version, value |
|---|---|---|---|
| OffsetCommitted | 1 | group, topic, partition | 4: offset, leader_epoch, metadata, commit_ms; topic_id in tag 0 |
| GroupChanged | 3 | group | 0: epoch |
| MemberChanged | 5 | group, member_id | 0: all the others; client_name is clientId, assignor is serverAssignor |
| TargetEpochChanged | 6 | group | 0: epoch |
| TargetChanged | 7 | group, member_id | 0: partitions |
| CurrentChanged | 8 | group, member_id | 0: epoch, previous_epoch, state, assigned, pending_revocation |

Every field of ours has a place there; an assignor "" is null, a topic id "" is no tag. Partitions stand by topic id,
in order, so that equal records have equal bytes. What only Kafka has is not written and, when it is read, left out:
racks; the hash of a group's topics (type 3, tag 0: a coordinator of Kafka that does not find it computes it, and begins
a new epoch); what a member of the classic protocol said (type 5, tag 0); when an offset is to expire (type 1, version
1); tags of later versions. Records of other types are those of classic, share and streams groups, what patterns were
resolved to (16) and what topics were like (4): decode() gives None for them.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable

from shmlog.errors import CorruptRecordError
from shmlog.machines.group.records import (
    CurrentChanged,
    CurrentRemoved,
    GroupChanged,
    GroupRecord,
    GroupRemoved,
    MemberChanged,
    MemberRemoved,
    MemberState,
    OffsetCommitted,
    OffsetRemoved,
    Partitions,
    TargetChanged,
    TargetEpochChanged,
    TargetEpochRemoved,
    TargetRemoved,
    TopicIdPartition,
)
from shmlog.record.kafka_fields import UUID_BYTES, FieldReader, FieldWriter

OFFSET_BEFORE_0_9 = 0  # Kafka writes it no more, and reads it as an offset
OFFSET, GROUP, MEMBER, TARGET_EPOCH, TARGET, CURRENT = 1, 3, 5, 6, 7, 8

OFFSET_VERSION = OFFSET_FLEXIBLE_FROM = 4
OFFSET_LEADER_EPOCH_FROM, OFFSET_WITH_EXPIRY = 3, 1
OTHER_VERSION = 0  # of all other types: the only one

TOPIC_ID_TAG = 0
UTF16_UNIT = struct.Struct(">H")


def partition_of(group: str, partitions: int) -> int:
    """Which of the topic's `partitions` has the records of a group: Java's hash of the name, as Kafka counts it."""
    hashed = 0
    for (unit,) in UTF16_UNIT.iter_unpack(group.encode("utf-16-be")):
        hashed = (31 * hashed + unit) & 0xFFFF_FFFF
    magnitude = 0x1_0000_0000 - hashed if hashed > 0x8000_0000 else hashed
    return (0 if magnitude == 0x8000_0000 else magnitude) % partitions  # Java has no positive 2^31: Kafka takes 0


# --- to bytes ---------------------------------------------------------------------------------------------------------


def encode(record: GroupRecord) -> tuple[bytes, bytes | None]:
    """Key and value of a record; no value: a tombstone.

    Raises InvalidRequestError for a text that is too long for Kafka, struct.error for a number.
    """
    match record:
        case OffsetCommitted(group, topic, partition):
            return _offset_key(group, topic, partition), _offset_value(record)
        case OffsetRemoved(group, topic, partition):
            return _offset_key(group, topic, partition), None
        case GroupChanged(group, epoch):
            return _key(GROUP, group), _epoch_value(epoch)
        case GroupRemoved(group):
            return _key(GROUP, group), None
        case MemberChanged(group, member_id):
            return _key(MEMBER, group, member_id), _member_value(record)
        case MemberRemoved(group, member_id):
            return _key(MEMBER, group, member_id), None
        case TargetEpochChanged(group, epoch):
            return _key(TARGET_EPOCH, group), _epoch_value(epoch)
        case TargetEpochRemoved(group):
            return _key(TARGET_EPOCH, group), None
        case TargetChanged(group, member_id):
            return _key(TARGET, group, member_id), _target_value(record)
        case TargetRemoved(group, member_id):
            return _key(TARGET, group, member_id), None
        case CurrentChanged(group, member_id):
            return _key(CURRENT, group, member_id), _current_value(record)
        case CurrentRemoved(group, member_id):
            return _key(CURRENT, group, member_id), None


def _key(kind: int, *names: str) -> bytes:
    fields = FieldWriter()
    fields.int16(kind)
    for name in names:
        fields.text(name)
    return fields.content


def _offset_key(group: str, topic: str, partition: int) -> bytes:
    fields = FieldWriter()
    fields.int32(partition)
    return _key(OFFSET, group, topic) + fields.content


def _value(version: int = OTHER_VERSION) -> FieldWriter:
    fields = FieldWriter()
    fields.int16(version)
    return fields


def _offset_value(record: OffsetCommitted) -> bytes:
    fields = _value(OFFSET_VERSION)
    fields.int64(record.offset)
    fields.int32(record.leader_epoch)
    fields.compact_text(record.metadata)
    fields.int64(record.commit_ms)
    fields.tagged({TOPIC_ID_TAG: bytes.fromhex(record.topic_id)} if record.topic_id else None)
    return fields.content


def _epoch_value(epoch: int) -> bytes:
    fields = _value()
    fields.int32(epoch)
    fields.tagged()
    return fields.content


def _member_value(record: MemberChanged) -> bytes:
    fields = _value()
    fields.compact_text(record.instance_id)
    fields.compact_text(None)  # no rack
    fields.compact_text(record.client_name)
    fields.compact_text(record.client_host)
    fields.compact_array(record.topics, fields.compact_text)
    fields.compact_text(record.pattern)
    fields.int32(record.rebalance_timeout_ms)
    fields.compact_text(record.assignor or None)
    fields.tagged()
    return fields.content


def _target_value(record: TargetChanged) -> bytes:
    fields = _value()
    _write_partitions(fields, record.partitions)
    fields.tagged()
    return fields.content


def _current_value(record: CurrentChanged) -> bytes:
    fields = _value()
    fields.int32(record.epoch)
    fields.int32(record.previous_epoch)
    fields.int8(record.state)
    _write_partitions(fields, record.assigned)
    _write_partitions(fields, record.pending_revocation)
    fields.tagged()
    return fields.content


def _write_partitions(fields: FieldWriter, partitions: Partitions) -> None:
    by_topic: dict[str, list[int]] = defaultdict(list)
    for topic_id, partition in sorted(partitions):
        by_topic[topic_id].append(partition)

    def write_topic(topic_id: str) -> None:
        fields.uuid(topic_id)
        fields.compact_array(by_topic[topic_id], fields.int32)
        fields.tagged()

    fields.compact_array(list(by_topic), write_topic)


# --- from bytes -------------------------------------------------------------------------------------------------------


def decode(key: bytes, value: bytes | None) -> GroupRecord | None:
    """The record of these bytes, or None for a type or a version of Kafka's that we do not use.

    Raises CorruptRecordError for bytes that are no record of such a topic.
    """
    names = FieldReader(key, "the key of a group record")
    kind = names.int16()
    fields = None if value is None else FieldReader(value, f"the value of a group record of type {kind}")
    if kind in (OFFSET_BEFORE_0_9, OFFSET):
        return _read_offset(names, fields)
    read = _READERS.get(kind)
    if read is None or (fields is not None and fields.int16() != OTHER_VERSION):
        return None
    record = read(names, fields)
    names.end()
    if fields is not None:
        fields.tagged()
        fields.end()
    return record


def _read_offset(names: FieldReader, fields: FieldReader | None) -> GroupRecord | None:
    group, topic, partition = names.text(), names.text(), names.int32()
    names.end()
    if fields is None:
        return OffsetRemoved(group, topic, partition)
    version = fields.int16()
    if not 0 <= version <= OFFSET_VERSION:
        return None
    is_flexible = version >= OFFSET_FLEXIBLE_FROM
    offset = fields.int64()
    leader_epoch = fields.int32() if version >= OFFSET_LEADER_EPOCH_FROM else -1
    metadata = fields.some_compact_text() if is_flexible else fields.text()
    commit_ms = fields.int64()
    if version == OFFSET_WITH_EXPIRY:
        fields.int64()
    topic_id = fields.tagged().get(TOPIC_ID_TAG, b"") if is_flexible else b""
    fields.end()
    if len(topic_id) not in (0, UUID_BYTES):
        raise CorruptRecordError(
            f"the offset of group {group} in {topic}-{partition} has the topic id {topic_id.hex()}"
        )
    return OffsetCommitted(group, topic, partition, offset, leader_epoch, metadata, commit_ms, topic_id.hex())


def _read_group(names: FieldReader, fields: FieldReader | None) -> GroupRecord:
    group = names.text()
    return GroupRemoved(group) if fields is None else GroupChanged(group, fields.int32())


def _read_member(names: FieldReader, fields: FieldReader | None) -> GroupRecord:
    group, member_id = names.text(), names.text()
    if fields is None:
        return MemberRemoved(group, member_id)
    instance_id = fields.compact_text()
    fields.compact_text()  # the rack
    return MemberChanged(
        group,
        member_id,
        instance_id,
        client_name=fields.some_compact_text(),
        client_host=fields.some_compact_text(),
        topics=tuple(fields.compact_array(fields.some_compact_text)),
        pattern=fields.compact_text(),
        rebalance_timeout_ms=fields.int32(),
        assignor=fields.compact_text() or "",
    )


def _read_target_epoch(names: FieldReader, fields: FieldReader | None) -> GroupRecord:
    group = names.text()
    return TargetEpochRemoved(group) if fields is None else TargetEpochChanged(group, fields.int32())


def _read_target(names: FieldReader, fields: FieldReader | None) -> GroupRecord:
    group, member_id = names.text(), names.text()
    if fields is None:
        return TargetRemoved(group, member_id)
    return TargetChanged(group, member_id, _read_partitions(fields))


def _read_current(names: FieldReader, fields: FieldReader | None) -> GroupRecord:
    group, member_id = names.text(), names.text()
    if fields is None:
        return CurrentRemoved(group, member_id)
    epoch, previous_epoch, state = fields.int32(), fields.int32(), fields.int8()
    if state not in _STATES:
        raise CorruptRecordError(f"member {member_id} of group {group} is in state {state}, which is none")
    assigned, pending_revocation = _read_partitions(fields), _read_partitions(fields)
    return CurrentChanged(group, member_id, epoch, previous_epoch, MemberState(state), assigned, pending_revocation)


_STATES = frozenset(MemberState)


def _read_partitions(fields: FieldReader) -> Partitions:
    def read_topic() -> list[TopicIdPartition]:
        topic_id = fields.uuid()
        partitions = fields.compact_array(fields.int32)
        fields.tagged()
        return [TopicIdPartition(topic_id, partition) for partition in partitions]

    return frozenset(one for topic in fields.compact_array(read_topic) for one in topic)


_READERS: dict[int, Callable[[FieldReader, FieldReader | None], GroupRecord]] = {
    GROUP: _read_group,
    MEMBER: _read_member,
    TARGET_EPOCH: _read_target_epoch,
    TARGET: _read_target,
    CURRENT: _read_current,
}

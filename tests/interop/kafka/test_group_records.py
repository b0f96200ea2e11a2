"""Kafka's own decoder of `__consumer_offsets` reads our group records, and finds in every field what we put there."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from shmlog.control.offsets_topic import encode
from shmlog.machines.group.records import (
    NO_PARTITIONS,
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
from shmlog.record.batch import NewRecord, encode_batch
from tests.interop.kafka.dumped_log import DumpedRecord, dump_files
from tests.interop.kafka.java_classes import KafkaClasses

pytestmark = pytest.mark.slow

FIRST, SECOND = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
LARGEST = 2**31 - 1
SOME = frozenset(TopicIdPartition(*one) for one in ((SECOND, 0), (FIRST, 300), (FIRST, 2), (FIRST, LARGEST)))
RECORDS: list[GroupRecord] = [
    OffsetCommitted("delays", "flights", 3, 2**62, 7, "till here", 1_700_000_000_000, FIRST),
    OffsetCommitted("größe \N{GRINNING FACE}", "t" * 249, LARGEST, 0, -1, "", 0),
    OffsetCommitted("delays", "flights", 4, 5, 0, "m" * 4096, 1, SECOND),
    GroupChanged("delays", LARGEST),
    MemberChanged("delays", "m1", None, "py-1", "shmlog:17", ("a", "b"), None, 300_000, "uniform"),
    MemberChanged("delays", "m2", "static", "", "", (), "^fl.*", -1, ""),
    TargetEpochChanged("delays", 12),
    TargetChanged("delays", "m1", SOME),
    TargetChanged("delays", "m2", NO_PARTITIONS),
    CurrentChanged("delays", "m1", 12, 11, MemberState.UNREVOKED_PARTITIONS, SOME, NO_PARTITIONS),
    CurrentChanged("delays", "m2", 12, 12, MemberState.STABLE, NO_PARTITIONS, SOME),
    CurrentChanged("delays", "m3", 1, 0, MemberState.UNRELEASED_PARTITIONS, NO_PARTITIONS, NO_PARTITIONS),
    OffsetRemoved("delays", "flights", 3),
    GroupRemoved("delays"),
    MemberRemoved("delays", "m1"),
    TargetEpochRemoved("delays"),
    TargetRemoved("delays", "m1"),
    CurrentRemoved("delays", "m1"),
]


@pytest.fixture(scope="module")
def dumped(kafka_classes: KafkaClasses, tmp_path_factory: pytest.TempPathFactory) -> list[DumpedRecord]:
    """RECORDS, as Kafka's tool prints them."""
    segment = tmp_path_factory.mktemp("__consumer_offsets-0") / f"{0:020d}.log"
    segment.write_bytes(encode_batch([NewRecord(value, key, 1) for key, value in map(encode, RECORDS)], base_offset=0))
    dump = dump_files(kafka_classes, [segment], "--offsets-decoder")
    assert dump.complaints == []
    return dump.files[Path(segment)].records


def kafkas_uuid(topic_id: str) -> str:
    return base64.urlsafe_b64encode(bytes.fromhex(topic_id)).decode().rstrip("=")


def by_topic(partitions: Partitions) -> list[dict[str, Any]]:
    return [
        {"topicId": kafkas_uuid(topic_id), "partitions": sorted(p for t, p in partitions if t == topic_id)}
        for topic_id in sorted({topic_id for topic_id, _ in partitions})
    ]


def expected(record: GroupRecord) -> tuple[int, dict[str, Any], int, dict[str, Any] | None]:
    """Type and key, version and value."""
    match record:
        case OffsetCommitted(group, topic, partition, offset, leader_epoch, metadata, commit_ms, topic_id):
            value = {"offset": offset, "leaderEpoch": leader_epoch, "metadata": metadata, "commitTimestamp": commit_ms}
            if topic_id:
                value["topicId"] = kafkas_uuid(topic_id)
            return 1, {"group": group, "topic": topic, "partition": partition}, 4, value
        case GroupChanged(group, epoch):
            return 3, {"groupId": group}, 0, {"epoch": epoch}
        case MemberChanged(group, member_id):
            value = {
                "instanceId": record.instance_id,
                "rackId": None,
                "clientId": record.client_name,
                "clientHost": record.client_host,
                "subscribedTopicNames": list(record.topics),
                "subscribedTopicRegex": record.pattern,
                "rebalanceTimeoutMs": record.rebalance_timeout_ms,
                "serverAssignor": record.assignor or None,
            }
            return 5, {"groupId": group, "memberId": member_id}, 0, value
        case TargetEpochChanged(group, epoch):
            return 6, {"groupId": group}, 0, {"assignmentEpoch": epoch}
        case TargetChanged(group, member_id, partitions):
            return 7, {"groupId": group, "memberId": member_id}, 0, {"topicPartitions": by_topic(partitions)}
        case CurrentChanged(group, member_id, epoch, previous_epoch, state, assigned, pending_revocation):
            value = {
                "memberEpoch": epoch,
                "previousMemberEpoch": previous_epoch,
                "state": state,
                "assignedPartitions": by_topic(assigned),
                "partitionsPendingRevocation": by_topic(pending_revocation),
            }
            return 8, {"groupId": group, "memberId": member_id}, 0, value
        case OffsetRemoved(group, topic, partition):
            return 1, {"group": group, "topic": topic, "partition": partition}, 0, None
        case GroupRemoved(group):
            return 3, {"groupId": group}, 0, None
        case TargetEpochRemoved(group):
            return 6, {"groupId": group}, 0, None
        case MemberRemoved(group, member_id):
            return 5, {"groupId": group, "memberId": member_id}, 0, None
        case TargetRemoved(group, member_id):
            return 7, {"groupId": group, "memberId": member_id}, 0, None
        case CurrentRemoved(group, member_id):
            return 8, {"groupId": group, "memberId": member_id}, 0, None


@pytest.mark.parametrize("number", range(len(RECORDS)), ids=lambda number: type(RECORDS[number]).__name__)
def test_kafka_reads_in_a_record_what_we_put_there(dumped: list[DumpedRecord], number: int) -> None:
    kind, key, version, value = expected(RECORDS[number])
    found = dumped[number]
    assert found.key is not None
    assert orjson.loads(found.key) == {"type": str(kind), "data": key}
    if value is None:
        assert found.value in (None, "<DELETE>")
    else:
        assert found.value is not None
        assert orjson.loads(found.value) == {"version": str(version), "data": value}

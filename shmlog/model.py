"""The vocabulary: ids, and the few values that everybody passes around."""

from __future__ import annotations

from typing import NamedTuple, NewType

PartitionId = NewType("PartitionId", int)
"""Cluster-wide number of a partition; never reused. Names its shared-memory regions."""

LaneId = NewType("LaneId", int)
"""Cluster-wide number of a lane; never reused within a boot."""

ClientId = NewType("ClientId", int)
"""Cluster-wide number of a client process's registration; never reused within a boot."""

ProducerId = NewType("ProducerId", int)
LeaderEpoch = NewType("LeaderEpoch", int)
Offset = NewType("Offset", int)
"""Position of a record in its partition, from 0."""


OFFSETS_TOPIC = "__consumer_offsets"
"""The internal topic that coordinators of consumer groups keep their state in."""


class TopicPartition(NamedTuple):
    """A partition by its topic's name and its number in the topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class OffsetAndTimestamp(NamedTuple):
    """Answer to a search by time: the first record at or after the wanted time."""

    offset: int
    timestamp_ms: int


class OffsetAndMetadata(NamedTuple):
    """What a group has committed of a partition: it goes on at `offset`.

    `metadata` is a text of the application's. `leader_epoch` is that of the record before `offset`, -1 if unknown: it
    tells whoever goes on there whether the log was cut meanwhile.
    """

    offset: int
    metadata: str = ""
    leader_epoch: int = -1


class RecordMetadata(NamedTuple):
    """Where a record went. `offset` is -1 with acks=0.

    `timestamp_ms` is the record's own or, where the topic has LogAppendTime, when its owner appended it: that is not
    known with acks=0, and -1 for a record that was taken twice because its owner died.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Watermarks(NamedTuple):
    """The readable range of a partition: first offset, and the one after the last."""

    low: int
    high: int

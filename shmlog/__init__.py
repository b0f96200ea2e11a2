"""Kafka's topics, partitions and logs for one Linux host, at the speed of shared memory. The public names.

    import shmlog

    with shmlog.start("./data") as cluster:          # or shmlog.connect() to a running one
        cluster.admin.create_topic("flights", partitions=6)
        with cluster.producer() as producer:
            producer.send("flights", b"value", key=b"key")
        with cluster.consumer("flights", consumer_timeout_ms=500) as consumer:
            for record in consumer:
                print(record.offset, record.key, record.value)

Names are loaded when they are first used: the processes of a cluster import this package too, and need little of it.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from shmlog import version

if TYPE_CHECKING:
    from shmlog.client.api import (
        Admin as Admin,
        Cluster as Cluster,
        Consumer as Consumer,
        Deliveries as Deliveries,
        Delivery as Delivery,
        Headers as Headers,
        Producer as Producer,
    )
    from shmlog.client.group_results import (
        ConsumerGroupDescription as ConsumerGroupDescription,
        ConsumerGroupListing as ConsumerGroupListing,
        GroupMemberInfo as GroupMemberInfo,
    )
    from shmlog.client.results import (
        ClientInfo as ClientInfo,
        ClusterInfo as ClusterInfo,
        DamageInfo as DamageInfo,
        ImportInfo as ImportInfo,
        PartitionInfo as PartitionInfo,
        TopicInfo as TopicInfo,
    )
    from shmlog.client.start import connect as connect, start as start
    from shmlog.client.topic_configs import (
        ConfigChange as ConfigChange,
        ConfigEntry as ConfigEntry,
        ConfigOrigin as ConfigOrigin,
    )
    from shmlog.errors import (
        BrokerNotAvailableError as BrokerNotAvailableError,
        ClusterAlreadyRunningError as ClusterAlreadyRunningError,
        CommitFailedError as CommitFailedError,
        CoordinatorNotAvailableError as CoordinatorNotAvailableError,
        CorruptRecordError as CorruptRecordError,
        DataDirectoryInUseError as DataDirectoryInUseError,
        DeliveryTimeoutError as DeliveryTimeoutError,
        DiskFullError as DiskFullError,
        FencedInstanceIdError as FencedInstanceIdError,
        ForeignVersionError as ForeignVersionError,
        ForkedHandleError as ForkedHandleError,
        GroupSubscribedToTopicError as GroupSubscribedToTopicError,
        HandleClosedError as HandleClosedError,
        InconsistentGroupProtocolError as InconsistentGroupProtocolError,
        InvalidArgumentError as InvalidArgumentError,
        InvalidConfigError as InvalidConfigError,
        InvalidGroupIdError as InvalidGroupIdError,
        InvalidPartitionsError as InvalidPartitionsError,
        InvalidRecordError as InvalidRecordError,
        InvalidRegularExpressionError as InvalidRegularExpressionError,
        InvalidReplicationFactorError as InvalidReplicationFactorError,
        InvalidRequestError as InvalidRequestError,
        InvalidTimestampError as InvalidTimestampError,
        InvalidTopicError as InvalidTopicError,
        LaneQuarantinedError as LaneQuarantinedError,
        LeaderNotAvailableError as LeaderNotAvailableError,
        LogTruncationError as LogTruncationError,
        MaxPollExceededError as MaxPollExceededError,
        NoClusterError as NoClusterError,
        NonEmptyGroupError as NonEmptyGroupError,
        NotEnoughDiskError as NotEnoughDiskError,
        NotEnoughReplicasError as NotEnoughReplicasError,
        OffsetMetadataTooLargeError as OffsetMetadataTooLargeError,
        OffsetOutOfRangeError as OffsetOutOfRangeError,
        OutOfOrderSequenceError as OutOfOrderSequenceError,
        PollTimeoutError as PollTimeoutError,
        ProducerFencedError as ProducerFencedError,
        RecordTooLargeError as RecordTooLargeError,
        SerializationError as SerializationError,
        ShmBudgetExceededError as ShmBudgetExceededError,
        ShmlogError as ShmlogError,
        StartError as StartError,
        StorageError as StorageError,
        TopicAlreadyExistsError as TopicAlreadyExistsError,
        UnknownGroupError as UnknownGroupError,
        UnknownMemberError as UnknownMemberError,
        UnknownTopicOrPartitionError as UnknownTopicOrPartitionError,
    )
    from shmlog.log.log_reader import LogReader as LogReader, open_log as open_log
    from shmlog.machines.group.assignor import MemberSubscription as MemberSubscription
    from shmlog.model import (
        OffsetAndMetadata as OffsetAndMetadata,
        OffsetAndTimestamp as OffsetAndTimestamp,
        RecordMetadata as RecordMetadata,
        TopicPartition as TopicPartition,
        Watermarks as Watermarks,
    )
    from shmlog.native.columns import RecordColumns as RecordColumns
    from shmlog.native.records import Record as Record

__version__ = version.VERSION

if find_spec("shmlog.native.mapping") is None:
    raise ImportError(
        f"the shmlog in {__path__[0]} is a source tree that is not compiled: leave that directory if you installed"
        " shmlog, or install it from there with `pip install .` (for work on it: `pip install -e .`)"
    )

_HOME = {
    "Admin": "shmlog.client.api",
    "Cluster": "shmlog.client.api",
    "Consumer": "shmlog.client.api",
    "Deliveries": "shmlog.client.api",
    "Delivery": "shmlog.client.api",
    "Headers": "shmlog.client.api",
    "Producer": "shmlog.client.api",
    "ConsumerGroupDescription": "shmlog.client.group_results",
    "ConsumerGroupListing": "shmlog.client.group_results",
    "GroupMemberInfo": "shmlog.client.group_results",
    "ClientInfo": "shmlog.client.results",
    "ClusterInfo": "shmlog.client.results",
    "PartitionInfo": "shmlog.client.results",
    "DamageInfo": "shmlog.client.results",
    "ImportInfo": "shmlog.client.results",
    "TopicInfo": "shmlog.client.results",
    "connect": "shmlog.client.start",
    "start": "shmlog.client.start",
    "ConfigChange": "shmlog.client.topic_configs",
    "ConfigEntry": "shmlog.client.topic_configs",
    "ConfigOrigin": "shmlog.client.topic_configs",
    "BrokerNotAvailableError": "shmlog.errors",
    "ClusterAlreadyRunningError": "shmlog.errors",
    "CommitFailedError": "shmlog.errors",
    "CoordinatorNotAvailableError": "shmlog.errors",
    "CorruptRecordError": "shmlog.errors",
    "DataDirectoryInUseError": "shmlog.errors",
    "DeliveryTimeoutError": "shmlog.errors",
    "DiskFullError": "shmlog.errors",
    "FencedInstanceIdError": "shmlog.errors",
    "ForeignVersionError": "shmlog.errors",
    "ForkedHandleError": "shmlog.errors",
    "GroupSubscribedToTopicError": "shmlog.errors",
    "HandleClosedError": "shmlog.errors",
    "InconsistentGroupProtocolError": "shmlog.errors",
    "InvalidArgumentError": "shmlog.errors",
    "InvalidConfigError": "shmlog.errors",
    "InvalidGroupIdError": "shmlog.errors",
    "InvalidPartitionsError": "shmlog.errors",
    "InvalidRecordError": "shmlog.errors",
    "InvalidRegularExpressionError": "shmlog.errors",
    "InvalidReplicationFactorError": "shmlog.errors",
    "InvalidRequestError": "shmlog.errors",
    "InvalidTimestampError": "shmlog.errors",
    "InvalidTopicError": "shmlog.errors",
    "LaneQuarantinedError": "shmlog.errors",
    "LeaderNotAvailableError": "shmlog.errors",
    "LogTruncationError": "shmlog.errors",
    "MaxPollExceededError": "shmlog.errors",
    "NoClusterError": "shmlog.errors",
    "NonEmptyGroupError": "shmlog.errors",
    "NotEnoughDiskError": "shmlog.errors",
    "NotEnoughReplicasError": "shmlog.errors",
    "OffsetMetadataTooLargeError": "shmlog.errors",
    "OffsetOutOfRangeError": "shmlog.errors",
    "OutOfOrderSequenceError": "shmlog.errors",
    "PollTimeoutError": "shmlog.errors",
    "ProducerFencedError": "shmlog.errors",
    "RecordTooLargeError": "shmlog.errors",
    "SerializationError": "shmlog.errors",
    "ShmBudgetExceededError": "shmlog.errors",
    "ShmlogError": "shmlog.errors",
    "StartError": "shmlog.errors",
    "StorageError": "shmlog.errors",
    "TopicAlreadyExistsError": "shmlog.errors",
    "UnknownGroupError": "shmlog.errors",
    "UnknownMemberError": "shmlog.errors",
    "UnknownTopicOrPartitionError": "shmlog.errors",
    "LogReader": "shmlog.log.log_reader",
    "open_log": "shmlog.log.log_reader",
    "MemberSubscription": "shmlog.machines.group.assignor",
    "OffsetAndMetadata": "shmlog.model",
    "OffsetAndTimestamp": "shmlog.model",
    "RecordMetadata": "shmlog.model",
    "TopicPartition": "shmlog.model",
    "Watermarks": "shmlog.model",
    "Record": "shmlog.native.records",
    "RecordColumns": "shmlog.native.columns",
}

__all__ = [
    "Admin",
    "BrokerNotAvailableError",
    "ClientInfo",
    "Cluster",
    "ClusterAlreadyRunningError",
    "ClusterInfo",
    "CommitFailedError",
    "ConfigChange",
    "ConfigEntry",
    "ConfigOrigin",
    "Consumer",
    "CoordinatorNotAvailableError",
    "CorruptRecordError",
    "DamageInfo",
    "DataDirectoryInUseError",
    "Deliveries",
    "Delivery",
    "DeliveryTimeoutError",
    "DiskFullError",
    "FencedInstanceIdError",
    "ForeignVersionError",
    "ForkedHandleError",
    "GroupSubscribedToTopicError",
    "HandleClosedError",
    "Headers",
    "ImportInfo",
    "InconsistentGroupProtocolError",
    "InvalidArgumentError",
    "InvalidConfigError",
    "InvalidGroupIdError",
    "InvalidPartitionsError",
    "InvalidRecordError",
    "InvalidRegularExpressionError",
    "InvalidReplicationFactorError",
    "InvalidRequestError",
    "InvalidTimestampError",
    "InvalidTopicError",
    "LaneQuarantinedError",
    "LeaderNotAvailableError",
    "LogReader",
    "LogTruncationError",
    "MaxPollExceededError",
    "MemberSubscription",
    "NoClusterError",
    "NonEmptyGroupError",
    "NotEnoughDiskError",
    "NotEnoughReplicasError",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "OffsetMetadataTooLargeError",
    "OffsetOutOfRangeError",
    "OutOfOrderSequenceError",
    "PartitionInfo",
    "PollTimeoutError",
    "Producer",
    "ProducerFencedError",
    "Record",
    "RecordColumns",
    "RecordMetadata",
    "RecordTooLargeError",
    "SerializationError",
    "ShmBudgetExceededError",
    "ShmlogError",
    "StartError",
    "StorageError",
    "TopicAlreadyExistsError",
    "TopicInfo",
    "TopicPartition",
    "UnknownGroupError",
    "UnknownMemberError",
    "UnknownTopicOrPartitionError",
    "Watermarks",
    "__version__",
    "connect",
    "open_log",
    "start",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'shmlog' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__

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
    )
    from shmlog.client.api import (
        Cluster as Cluster,
    )
    from shmlog.client.api import (
        Consumer as Consumer,
    )
    from shmlog.client.api import (
        Delivery as Delivery,
    )
    from shmlog.client.api import (
        Headers as Headers,
    )
    from shmlog.client.api import (
        Producer as Producer,
    )
    from shmlog.client.results import (
        ClientInfo as ClientInfo,
    )
    from shmlog.client.results import (
        ClusterInfo as ClusterInfo,
    )
    from shmlog.client.results import (
        PartitionInfo as PartitionInfo,
    )
    from shmlog.client.results import (
        TopicInfo as TopicInfo,
    )
    from shmlog.client.start import connect as connect
    from shmlog.client.start import start as start
    from shmlog.errors import (
        BrokerNotAvailableError as BrokerNotAvailableError,
    )
    from shmlog.errors import (
        ClusterAlreadyRunningError as ClusterAlreadyRunningError,
    )
    from shmlog.errors import (
        CorruptRecordError as CorruptRecordError,
    )
    from shmlog.errors import (
        DataDirectoryInUseError as DataDirectoryInUseError,
    )
    from shmlog.errors import (
        DeliveryTimeoutError as DeliveryTimeoutError,
    )
    from shmlog.errors import (
        ForeignVersionError as ForeignVersionError,
    )
    from shmlog.errors import (
        ForkedHandleError as ForkedHandleError,
    )
    from shmlog.errors import (
        HandleClosedError as HandleClosedError,
    )
    from shmlog.errors import (
        InvalidConfigError as InvalidConfigError,
    )
    from shmlog.errors import (
        InvalidPartitionsError as InvalidPartitionsError,
    )
    from shmlog.errors import (
        InvalidReplicationFactorError as InvalidReplicationFactorError,
    )
    from shmlog.errors import (
        InvalidRequestError as InvalidRequestError,
    )
    from shmlog.errors import (
        InvalidTopicError as InvalidTopicError,
    )
    from shmlog.errors import (
        LaneQuarantinedError as LaneQuarantinedError,
    )
    from shmlog.errors import (
        LeaderNotAvailableError as LeaderNotAvailableError,
    )
    from shmlog.errors import (
        NoClusterError as NoClusterError,
    )
    from shmlog.errors import (
        OffsetOutOfRangeError as OffsetOutOfRangeError,
    )
    from shmlog.errors import (
        OutOfOrderSequenceError as OutOfOrderSequenceError,
    )
    from shmlog.errors import (
        PollTimeoutError as PollTimeoutError,
    )
    from shmlog.errors import (
        ProducerFencedError as ProducerFencedError,
    )
    from shmlog.errors import (
        RecordTooLargeError as RecordTooLargeError,
    )
    from shmlog.errors import (
        SerializationError as SerializationError,
    )
    from shmlog.errors import (
        ShmBudgetExceededError as ShmBudgetExceededError,
    )
    from shmlog.errors import (
        ShmlogError as ShmlogError,
    )
    from shmlog.errors import (
        StartError as StartError,
    )
    from shmlog.errors import (
        StorageError as StorageError,
    )
    from shmlog.errors import (
        TopicAlreadyExistsError as TopicAlreadyExistsError,
    )
    from shmlog.errors import (
        UnknownTopicOrPartitionError as UnknownTopicOrPartitionError,
    )
    from shmlog.model import (
        OffsetAndTimestamp as OffsetAndTimestamp,
    )
    from shmlog.model import (
        RecordMetadata as RecordMetadata,
    )
    from shmlog.model import (
        TopicPartition as TopicPartition,
    )
    from shmlog.model import (
        Watermarks as Watermarks,
    )
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
    "Delivery": "shmlog.client.api",
    "Headers": "shmlog.client.api",
    "Producer": "shmlog.client.api",
    "ClientInfo": "shmlog.client.results",
    "ClusterInfo": "shmlog.client.results",
    "PartitionInfo": "shmlog.client.results",
    "TopicInfo": "shmlog.client.results",
    "connect": "shmlog.client.start",
    "start": "shmlog.client.start",
    "BrokerNotAvailableError": "shmlog.errors",
    "ClusterAlreadyRunningError": "shmlog.errors",
    "CorruptRecordError": "shmlog.errors",
    "DataDirectoryInUseError": "shmlog.errors",
    "DeliveryTimeoutError": "shmlog.errors",
    "ForeignVersionError": "shmlog.errors",
    "ForkedHandleError": "shmlog.errors",
    "HandleClosedError": "shmlog.errors",
    "InvalidConfigError": "shmlog.errors",
    "InvalidPartitionsError": "shmlog.errors",
    "InvalidReplicationFactorError": "shmlog.errors",
    "InvalidRequestError": "shmlog.errors",
    "InvalidTopicError": "shmlog.errors",
    "LaneQuarantinedError": "shmlog.errors",
    "LeaderNotAvailableError": "shmlog.errors",
    "NoClusterError": "shmlog.errors",
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
    "UnknownTopicOrPartitionError": "shmlog.errors",
    "OffsetAndTimestamp": "shmlog.model",
    "RecordMetadata": "shmlog.model",
    "TopicPartition": "shmlog.model",
    "Watermarks": "shmlog.model",
    "Record": "shmlog.native.records",
}

__all__ = [
    "Admin",
    "BrokerNotAvailableError",
    "ClientInfo",
    "Cluster",
    "ClusterAlreadyRunningError",
    "ClusterInfo",
    "Consumer",
    "CorruptRecordError",
    "DataDirectoryInUseError",
    "Delivery",
    "DeliveryTimeoutError",
    "ForeignVersionError",
    "ForkedHandleError",
    "HandleClosedError",
    "Headers",
    "InvalidConfigError",
    "InvalidPartitionsError",
    "InvalidReplicationFactorError",
    "InvalidRequestError",
    "InvalidTopicError",
    "LaneQuarantinedError",
    "LeaderNotAvailableError",
    "NoClusterError",
    "OffsetAndTimestamp",
    "OffsetOutOfRangeError",
    "OutOfOrderSequenceError",
    "PartitionInfo",
    "PollTimeoutError",
    "Producer",
    "ProducerFencedError",
    "Record",
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
    "UnknownTopicOrPartitionError",
    "Watermarks",
    "__version__",
    "connect",
    "start",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'shmlog' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__

"""Every error that shmlog raises: what happened, the limit, and what to do now.

Each carries Kafka's error code where Kafka has one, and whether trying the same thing again can help.
"""

from __future__ import annotations

from typing import ClassVar

from shmlog.model import TopicPartition


class ShmlogError(Exception):
    """Base of all errors of this package.

    `code` is Kafka's error code or -1 (UNKNOWN_SERVER_ERROR); `name` its Kafka name or our own;
    `retriable` says whether repeating the same call later can succeed.
    """

    code: ClassVar[int] = -1
    name: ClassVar[str] = "UNKNOWN_SERVER_ERROR"
    retriable: ClassVar[bool] = False


# --- the caller erred -------------------------------------------------------------------------------------------------


class InvalidTopicError(ShmlogError):
    """A topic name that Kafka would refuse."""

    code = 17
    name = "INVALID_TOPIC_EXCEPTION"


class UnknownTopicOrPartitionError(ShmlogError):
    """No such topic, or the topic has no such partition."""

    code = 3
    name = "UNKNOWN_TOPIC_OR_PARTITION"


class TopicAlreadyExistsError(ShmlogError):
    code = 36
    name = "TOPIC_ALREADY_EXISTS"


class InvalidPartitionsError(ShmlogError):
    """A partition count that cannot be: below one, or fewer than before."""

    code = 37
    name = "INVALID_PARTITIONS"


class InvalidReplicationFactorError(ShmlogError):
    code = 38
    name = "INVALID_REPLICATION_FACTOR"


class InvalidConfigError(ShmlogError):
    """An unknown setting, or a value out of its range."""

    code = 40
    name = "INVALID_CONFIG"


class InvalidRequestError(ShmlogError):
    """A request that makes no sense as it stands."""

    code = 42
    name = "INVALID_REQUEST"


class InvalidArgumentError(InvalidRequestError, TypeError, ValueError):
    """An argument of a wrong type or out of its range; it is named, and nothing was done."""

    name = "INVALID_ARGUMENT"


class InvalidProducerIdMappingError(ShmlogError):
    """A producer id that was granted to another client."""

    code = 49
    name = "INVALID_PRODUCER_ID_MAPPING"


class RecordTooLargeError(ShmlogError):
    """A record larger than `max.message.bytes` of its topic."""

    code = 10
    name = "MESSAGE_TOO_LARGE"


class InvalidTimestampError(ShmlogError):
    """A record whose time is further in the past or in the future than its topic's settings allow."""

    code = 32
    name = "INVALID_TIMESTAMP"


class InvalidRecordError(ShmlogError):
    """A record that its topic does not take: one without a key, where compaction goes by keys."""

    code = 87
    name = "INVALID_RECORD"


class OffsetOutOfRangeError(ShmlogError):
    """The wanted offset is before the log's start or beyond its end."""

    code = 1
    name = "OFFSET_OUT_OF_RANGE"


class LogTruncationError(OffsetOutOfRangeError):
    """Records that were read are not in the log any more, others may have their offsets: it was cut, and grew again.

    `divergent_offset` is the first offset of `partition` from which on the log is another one; `offset` is where the
    reader stood. To go on there: `consumer.seek(error.partition, error.divergent_offset)`.
    """

    def __init__(
        self,
        message: str = "",
        partition: TopicPartition | None = None,
        offset: int = -1,
        divergent_offset: int = -1,
    ) -> None:
        super().__init__(message)
        self.partition = partition
        self.offset = offset
        self.divergent_offset = divergent_offset


class SerializationError(ShmlogError):
    """A key or value that is not bytes and has no serializer, or a serializer that failed."""

    name = "SERIALIZATION"


class HandleClosedError(ShmlogError):
    """A producer, consumer or cluster that was closed before."""

    name = "HANDLE_CLOSED"


class ForkedHandleError(ShmlogError):
    """A handle that was opened before fork() and is used in the child."""

    name = "FORKED_HANDLE"


# --- the world failed -------------------------------------------------------------------------------------------------


class NoClusterError(ShmlogError):
    """No cluster of that name is running here."""

    name = "NO_CLUSTER"
    retriable = True


class ClusterAlreadyRunningError(ShmlogError):
    """A second cluster of the same name."""

    name = "CLUSTER_ALREADY_RUNNING"


class DataDirectoryInUseError(ShmlogError):
    """Another supervisor holds the data directory."""

    name = "DATA_DIRECTORY_IN_USE"


class StartError(ShmlogError):
    """A supervisor or worker process did not come up; the message carries what it said."""

    name = "START_FAILED"


class BrokerNotAvailableError(ShmlogError):
    """The supervisor went away in the middle of a request, or it is there and does not answer."""

    code = 8
    name = "BROKER_NOT_AVAILABLE"
    retriable = True


class LeaderNotAvailableError(ShmlogError):
    """The partition has no running owner right now."""

    code = 5
    name = "LEADER_NOT_AVAILABLE"
    retriable = True


class ShmBudgetExceededError(ShmlogError):
    """The shared memory that a grant needs is beyond `shm.budget.bytes` or not there."""

    name = "SHM_BUDGET_EXCEEDED"
    retriable = True


class StorageError(ShmlogError):
    """The disk refused: full, read-only, or broken."""

    code = 56
    name = "KAFKA_STORAGE_ERROR"
    retriable = True


class DiskFullError(StorageError):
    """No room on the disk (full, quota, file size limit): nothing has happened, and the same works once there is."""


class DeliveryTimeoutError(ShmlogError):
    """`delivery.timeout.ms` passed: before acceptance nothing was sent; after it the outcome is unknown.

    The message says which.
    """

    code = 7
    name = "REQUEST_TIMED_OUT"
    retriable = True


class NotEnoughReplicasError(DeliveryTimeoutError):
    """`delivery.timeout.ms` passed while fewer replicas were in sync than `min.insync.replicas` asks for.

    What was accepted is kept, and is shown and acknowledged once enough are: sending it again could double it. The
    message says which replica is missing, and why.
    """

    code = 19
    name = "NOT_ENOUGH_REPLICAS"


class NotEnoughDiskError(DeliveryTimeoutError):
    """`delivery.timeout.ms` passed while the disk of the partition's log had no room, or less than disk.reserve.bytes.

    What was accepted is kept, and is written once there is room: sending it again could double it. The message says
    which disk, and what to do.
    """

    code = 56
    name = "KAFKA_STORAGE_ERROR"


class PollTimeoutError(ShmlogError):
    """A call with `timeout=` did not finish in time."""

    code = 7
    name = "REQUEST_TIMED_OUT"
    retriable = True


# --- data and versions ------------------------------------------------------------------------------------------------


class CorruptRecordError(ShmlogError):
    """Bytes whose checksum or structure is wrong; the message names file or partition, and offset."""

    code = 2
    name = "CORRUPT_MESSAGE"


class UnsupportedCompressionTypeError(ShmlogError):
    """A codec whose library is not installed here, or that this version does not know; nothing is wrong with the data.

    The message says what to install.
    """

    code = 76
    name = "UNSUPPORTED_COMPRESSION_TYPE"


class ForeignVersionError(ShmlogError):
    """A data directory, region or control message of another version; the message names both."""

    code = 35
    name = "UNSUPPORTED_VERSION"


class ProducerFencedError(ShmlogError):
    """A newer producer has taken over this producer id."""

    code = 47
    name = "INVALID_PRODUCER_EPOCH"


class OutOfOrderSequenceError(ShmlogError):
    """A gap in a producer's sequence numbers."""

    code = 45
    name = "OUT_OF_ORDER_SEQUENCE_NUMBER"


class LaneQuarantinedError(ShmlogError):
    """The owner found bytes in this producer's lane that make no sense."""

    name = "LANE_QUARANTINED"


class InvalidGroupIdError(ShmlogError):
    """No group can have that name."""

    code = 24
    name = "INVALID_GROUP_ID"


class UnknownGroupError(ShmlogError):
    """There is no group of that name."""

    code = 69
    name = "GROUP_ID_NOT_FOUND"


class UnknownMemberError(ShmlogError):
    """Who asked is not, or not any more, a member of the group."""

    code, name = 25, "UNKNOWN_MEMBER_ID"


class MaxPollExceededError(UnknownMemberError):
    """A member did not ask for records for longer than its max.poll.interval.ms, so others have its partitions now."""

    name = "MAX_POLL_INTERVAL_EXCEEDED"


class CommitFailedError(ShmlogError):
    """What was to be committed belongs to somebody else now, or never belonged to the one who asked. Nothing was."""

    code = 113
    name = "STALE_MEMBER_EPOCH"


class FencedInstanceIdError(ShmlogError):
    """Another member has joined with the same group.instance.id: the older of the two is out."""

    code = 82
    name = "FENCED_INSTANCE_ID"


class InconsistentGroupProtocolError(ShmlogError):
    """The members of a group have to use the same assignor."""

    code = 23
    name = "INCONSISTENT_GROUP_PROTOCOL"


class NonEmptyGroupError(ShmlogError):
    """That can only be done to a group without members."""

    code = 68
    name = "NON_EMPTY_GROUP"


class GroupSubscribedToTopicError(ShmlogError):
    """Members of the group read that topic."""

    code = 86
    name = "GROUP_SUBSCRIBED_TO_TOPIC"


class InvalidRegularExpressionError(ShmlogError):
    """A pattern of topic names that does not compile."""

    code = 128
    name = "INVALID_REGULAR_EXPRESSION"


class CoordinatorNotAvailableError(ShmlogError):
    """Nobody answers for this group at the moment; a successor usually does within a fraction of a second."""

    code = 15
    name = "COORDINATOR_NOT_AVAILABLE"
    retriable = True


class OffsetMetadataTooLargeError(ShmlogError):
    """The text beside a committed offset is longer than offset.metadata.max.bytes."""

    code, name = 12, "OFFSET_METADATA_TOO_LARGE"


def _all_errors(base: type[ShmlogError]) -> dict[str, type[ShmlogError]]:
    found = {base.__name__: base}
    for sub in base.__subclasses__():
        found.update(_all_errors(sub))
    return found


def by_class_name(class_name: str) -> type[ShmlogError]:
    """The error class of that name, for errors that crossed a process boundary; ShmlogError when unknown."""
    return _all_errors(ShmlogError).get(class_name, ShmlogError)


def by_code(code: int) -> type[ShmlogError]:
    """The error class with Kafka's error code `code`, the most general one first; ShmlogError when unknown."""
    return next((error for error in _all_errors(ShmlogError).values() if error.code == code), ShmlogError)

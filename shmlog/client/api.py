"""What a user's program talks to, as Protocols: write against these, and any implementation will do.

The native implementation (cluster.py, producer.py, consumer.py, admin.py) attaches through shared memory. `timeout=` is
always in seconds, None waits as long as it takes; `*_ms` is one of Kafka's settings. Ctrl-C interrupts every wait.
Every handle raises HandleClosedError once it is closed and ForkedHandleError in a forked child; closing a handle twice
does nothing. All errors derive from shmlog.errors.ShmlogError. An argument of a wrong type or out of its range is an
InvalidArgumentError, which is a TypeError and a ValueError too, and nothing is done.

In an event loop of asyncio (or uvloop) the same objects are used with `async with` and `async for`, and calls that wait
have a namesake with an `a` in front, which is awaited: apoll, asend, aflush, aclose. A delivery can be awaited itself.
They wait on a descriptor, without threads of Python; other tasks run meanwhile. Whoever is cancelled, by a timeout say,
has changed nothing: no record is lost, none is sent twice. What asks the supervisor (admin, making a producer or a
consumer, assign, a topic's first send) has no namesake: it takes about a millisecond while a supervisor is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, Unpack

from shmlog.client.admin_api import Admin
from shmlog.client.consumer_api import Consumer
from shmlog.client.results import ClientInfo, ClusterInfo, ImportInfo, PartitionInfo, TopicInfo
from shmlog.client.settings import ConsumerSettings, ProducerSettings
from shmlog.errors import ShmlogError
from shmlog.model import RecordMetadata, TopicPartition

__all__ = [
    "Admin",
    "ClientInfo",
    "Cluster",
    "ClusterInfo",
    "Consumer",
    "Deliveries",
    "Delivery",
    "Headers",
    "ImportInfo",
    "PartitionInfo",
    "Producer",
    "RecordMetadata",
    "TopicInfo",
]

Headers = Sequence[tuple[str, bytes | None]]
"""Headers of a record, in order; a name may occur more than once."""


class Delivery(Protocol):
    """What became of one record that was sent."""

    @property
    def done(self) -> bool:
        """Whether the outcome is known: acknowledged at the producer's `acks`, or failed."""

    @property
    def error(self) -> ShmlogError | None:
        """Why it failed; None if it succeeded or is not done."""

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait for the outcome.

        Raises the error if the delivery failed, and PollTimeoutError if it is not done after `timeout` seconds (which
        changes nothing about the delivery: ask again).
        """

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """result(), for a task. Cancelled, it changes nothing about the delivery: await it again."""


class Deliveries(Collection[Delivery], Protocol):
    """What became of many records, in their order: a sequence of deliveries, and one thing to wait for."""

    def __getitem__(self, k: int) -> Delivery: ...

    def result(self, timeout: float | None = None) -> list[int]:
        """Wait for all; returns their offsets in order (-1 with acks=0). Raises the first error."""

    def __await__(self) -> Generator[Any, None, list[int]]:
        """The same, for a task."""


class Producer(Protocol):
    """Sends records. May be used by several threads; their records keep each thread's order per partition."""

    def send(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """Send one record. When this returns it is accepted: it will be delivered even if this process dies at once.

        `key` and `value` are bytes or None unless the producer has serializers. Without `partition` the partitioner
        chooses by key; records without key go round in batches. `timestamp_ms` is milliseconds since 1970, at most to
        the end of the year 9999; it defaults to now. Topics bound how far it may be from now, and replace it if their
        message.timestamp.type is LogAppendTime. `on_delivery` is called with the delivery once it is done, from a
        later send, flush or result of this producer. What it raises is logged (by `shmlog.producer`), counted in
        metrics() and goes no further.
        Waits while the partition has no room, up to `delivery_timeout_ms`. Raises UnknownTopicOrPartitionError,
        RecordTooLargeError, InvalidTimestampError, InvalidRecordError (no key for a compacted topic),
        SerializationError, DeliveryTimeoutError. The record was not accepted then, unless the
        error says that it may still be delivered: its lane was closed at that moment, and no other could be had.
        """

    def send_many(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None = None,
        headers: Sequence[Headers | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> Deliveries:
        """Send many records in order, faster than one by one; sequences are as long as `values`.

        If it raises, a note of the error says which record it was: those before it were accepted.
        """

    def send_columns(
        self,
        topic: str,
        values: Any,
        keys: Any = None,
        partition: int | None = None,
        timestamps_ms: Any = None,
    ) -> Deliveries:
        """Send many records whose values and keys lie in arrays, without a Python object for any of them.

        `values` and `keys` are each one of: a numpy array of uint8 in two dimensions, one row for each record; one of
        dtype S (without the zero bytes at the end, as numpy gives it out), V or a structured one; a pair (offsets,
        buffer), where record k is buffer[offsets[k] : offsets[k + 1]] and the offsets are int32 or int64; an Arrow
        array of binary, string or fixed-size binary, whose nulls are null (`pip install 'shmlog[arrow]'`).
        `timestamps_ms` is an array of integers or datetime64, or a sequence of int.
        The bytes are sent as they are: serializers are not asked. Nothing is kept of the arrays afterwards.
        If an argument is wrong, nothing is sent. Other errors as in send_many(), with the same note.
        """

    async def asend(
        self,
        topic: str,
        value: Any = None,
        key: Any = None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """send(), for a task: other tasks run while the partition has no room. (send() may be called in a task, too: it
        is faster, and blocks the loop when there is none.)

        What is awaited is that the record is accepted; await the delivery for its outcome. Cancelled while there is no
        room, it has not sent the record. The one exception: if its lane was closed at that moment, the record was
        accepted and may still be delivered.
        """

    async def asend_many(
        self,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None = None,
        headers: Sequence[Headers | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> Deliveries:
        """send_many(), for a task. Cancelled, or if it raises, the records before some point were accepted."""

    async def asend_columns(
        self,
        topic: str,
        values: Any,
        keys: Any = None,
        partition: int | None = None,
        timestamps_ms: Any = None,
    ) -> Deliveries:
        """send_columns(), for a task. Cancelled, or if it raises, the records before some point were accepted."""

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every record sent so far is done. Raises PollTimeoutError if some are not after `timeout`."""

    async def aflush(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as of flush()
    ) -> None:
        """flush(), for a task."""

    def metrics(self) -> dict[str, int | float]:
        """Counts since the producer was made."""

    def close(self, timeout: float | None = None) -> None:
        """Flush and let go. What was accepted is delivered in any case."""

    async def aclose(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # as of close()
    ) -> None:
        """close(), for a task. Cancelled, it lets go without the rest of the flush."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Cluster(Protocol):
    """A connection of this process to one cluster. May be used by several threads; closing it closes what it made."""

    @property
    def name(self) -> str:
        """What shmlog.connect() wants to hear from other processes."""

    @property
    def admin(self) -> Admin:
        """Topics and what is known about them."""

    def producer(self, **settings: Unpack[ProducerSettings]) -> Producer:
        """A producer. Raises InvalidConfigError for settings that do not exist or are out of range."""

    def consumer(self, *topics: str | Sequence[str], **settings: Unpack[ConsumerSettings]) -> Consumer:
        """A consumer of all partitions of `topics`, which are names or one list of them; without topics, assign()
        partitions to it. With `group_id` a member of that group, which has its part of them; see Consumer.

        Raises UnknownTopicOrPartitionError, with a suggestion where a name is close.
        """

    def metrics(self) -> dict[TopicPartition, dict[str, int]]:
        """What the owner of each partition has counted, and its offsets; from shared memory, nobody is asked twice."""

    def describe(self) -> ClusterInfo:
        """The cluster as its supervisor sees it."""

    def close(self) -> None:
        """Close the producers and consumers, and let go. A cluster made by shmlog.start() ends."""

    async def aclose(self) -> None:
        """close(), for a task: other tasks run while records are flushed and an embedded cluster drains."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

"""The way of a record from send() into a lane: what a producer does for every record."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from shmlog.native.column import Column
from shmlog.native.delivery import BatchResult, Deliveries, Delivery
from shmlog.native.mapping import Mapping
from shmlog.native.topic_lanes import TopicLanes

Headers = Iterable[tuple[str, bytes | None]]

class SendPath:
    """The compiled half of the producer; client/producer.py derives from it and adds what happens rarely."""

    topics: dict[str, TopicLanes]
    completed: list[BatchResult]
    shut: bool
    """Set by close(): from then on send() raises HandleClosedError."""

    def __init__(
        self,
        handle: Mapping,
        *,
        key_to_bytes: Callable[[Any], bytes | None],
        value_to_bytes: Callable[[Any], bytes | None],
        serializes_keys: bool,
        serializes_values: bool,
        partitioner: Callable[[str, bytes | None, int], int] | None = None,
        batch_size: int = 16384,
        seed: int = 1,
    ) -> None: ...
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
        """Accept one record: once this returns, neither this process's death nor its silence can lose it.

        Blocks while the partition's lane is full, at most `delivery_timeout_ms`. `headers` are (str, bytes or None)
        pairs; without `partition` the partitioner chooses; without `timestamp_ms` the record is of now.
        `on_delivery(delivery)` runs in the calling thread of a later send(), flush(), result() or close(). See
        api.Producer for the errors.
        """

    def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        keys: Sequence[Any] | None = None,
        headers: Sequence[Headers | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> Deliveries:
        """send() for each of `values`, with less per record.

        If it raises, a note of the error says which record it was: those before it were accepted.
        """

    def _send_rest(
        self,
        deliveries: Deliveries,
        topic: str,
        values: Sequence[Any],
        keys: Sequence[Any] | None,
        headers: Sequence[Headers | None] | None,
        partition: int | None,
        timestamps_ms: Sequence[int] | None,
    ) -> None:
        """send_many() for what `deliveries` does not have yet; interrupted, it goes on with the same `deliveries`."""

    def send_columns(
        self,
        topic: str,
        values: Any,
        keys: Any = None,
        partition: int | None = None,
        timestamps_ms: Any = None,
    ) -> Deliveries:
        """Send records whose values and keys are columns (see column.pyi), encoded without an object for any of them.

        If it raises, a note of the error says which record it was: those before it were accepted.
        """

    def _send_columns_rest(
        self,
        deliveries: Deliveries,
        topic: str,
        values: Column,
        keys: Column | None,
        partition: int | None,
        timestamps_ms: Any,
    ) -> None:
        """send_columns() for what `deliveries` does not have yet, as _send_rest()."""

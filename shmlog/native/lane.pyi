"""The producer's side of a lane: records go in, results come out."""

from collections.abc import Callable
from typing import final

from shmlog.errors import ShmlogError
from shmlog.model import RecordMetadata
from shmlog.native.mapping import Mapping

PENDING: int
ACKNOWLEDGED: int
FAILED: int

@final
class BatchResult:
    """The outcome of one batch, shared by the deliveries of its records."""

    topic: str
    partition: int
    base_offset: int
    append_ms: int
    count: int
    status: int
    opened_ns: int
    error: ShmlogError | None
    callbacks: list[tuple[Delivery, Callable[[Delivery], None]]] | None

    def fail(self, error: ShmlogError) -> None: ...

@final
class Delivery:
    """What send() returns: settled when the record's acknowledgement has come."""

    @property
    def done(self) -> bool:
        """Acknowledged, or failed."""

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait for the acknowledgement; raises what went wrong, or PollTimeoutError after `timeout` seconds."""

    @property
    def error(self) -> ShmlogError | None:
        """Why it failed; None if it succeeded or is not done."""

class LaneWriter:
    """Encodes records into a lane and settles batches that were acknowledged. One thread at a time (the GIL)."""

    topic: str
    partition: int
    lane_id: int
    max_batch_bytes: int
    next_sequence: int
    records: int
    bytes: int
    batches: int
    failed_batches: int
    attention: bool
    """The lane was closed, stopped or a batch was refused: the producer must act."""

    def __init__(
        self,
        mapping: Mapping,
        control: Mapping,
        bell: Mapping,
        *,
        topic: str,
        partition: int,
        lane_id: int,
        max_batch_bytes: int,
        batch_size: int,
        acks: int,
        next_sequence: int,
        waiter: Callable[[BatchResult, float | None], None],
        completed: list[BatchResult],
    ) -> None: ...
    def seal(self) -> None: ...
    def reclaim(self) -> int: ...
    @property
    def pending(self) -> int: ...
    @property
    def oldest(self) -> BatchResult | None: ...
    @property
    def state(self) -> int: ...
    def unpublished(self) -> list[BatchResult]: ...
    def adopt(self, old: LaneWriter, batch: BatchResult) -> bool: ...
    def abandon(self, error: ShmlogError) -> None: ...
    def wake_owner(self) -> None: ...
    def close(self) -> None: ...

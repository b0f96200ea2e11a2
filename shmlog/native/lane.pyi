"""The producer's side of a lane: records go in, results come out."""

from shmlog.errors import ShmlogError
from shmlog.native.delivery import BatchResult, Waiter
from shmlog.native.mapping import Mapping

class LaneWriter:
    """Encodes records into a lane and settles batches that were acknowledged. One thread at a time (the GIL)."""

    topic: str
    partition: int
    lane_id: int
    max_batch_bytes: int
    data_bytes: int
    """Room for frames."""
    wanted_bytes: int
    """What the last record that found no room takes with its frame."""
    next_sequence: int
    records: int
    bytes: int
    batches: int
    failed_batches: int
    free: int
    """The room of everything before this position may be used again: it moves when any thread reclaims some."""
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
        waiter: Waiter,
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
    def abandon(self, error: ShmlogError) -> None: ...
    def wake_owner(self) -> None: ...
    def close(self) -> None: ...

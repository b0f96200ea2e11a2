"""What a producer gets back for its records: a delivery each, and one result for all that travel in one batch."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, final

from shmlog.errors import ShmlogError
from shmlog.model import RecordMetadata

PENDING: int
ACKNOWLEDGED: int
FAILED: int

class Waiter(Protocol):
    """What deliveries call when somebody waits for their batch: a producer."""

    def _await_batch(self, batch: BatchResult, timeout: float | None) -> None: ...
    async def _settled(self, batch: BatchResult) -> None: ...

@final
class BatchResult:
    """The outcome of one batch, shared by the deliveries of its records."""

    topic: str
    partition: int
    base_offset: int
    append_ms: int
    """0, or what the topic's LogAppendTime made of the time of all its records; -1 if that stands in the log only."""
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

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """The same, for a task. Cancelled, it changes nothing about the delivery."""

    @property
    def error(self) -> ShmlogError | None:
        """Why it failed; None if it succeeded or is not done."""

@final
class Deliveries(Sequence[Delivery]):
    """What send_many() and send_columns() return: as many deliveries as records, made when they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, k: int) -> Delivery: ...  # type: ignore[override]  # no slices
    def result(self, timeout: float | None = None) -> list[int]:
        """Wait for all; returns their offsets in order (-1 with acks=0). Raises the first error."""

    def __await__(self) -> Generator[Any, None, list[int]]:
        """The same, for a task."""

"""faster-fifo: a queue in shared memory with one lock, one by one or many at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .peer import Peer, Receiver, Route, Sender

QUEUE_BYTES = 8 * 1024 * 1024
BATCH_RECORDS = 100
WAIT_S = 60.0


def as_it_is(payload: bytes) -> bytes:
    """Instead of pickling; payloads are bytes already."""
    return payload


@dataclass(frozen=True, slots=True)
class FifoRoute:
    """The queue."""

    queue: Any
    is_batched: bool

    def sender(self) -> Sender:
        return FifoSender(self.queue, self.is_batched)

    def receiver(self) -> Receiver:
        return FifoReceiver(self.queue, self.is_batched)


@dataclass(frozen=True, slots=True)
class FifoSender:
    """put or put_many."""

    queue: Any
    is_batched: bool

    def send(self, payloads: list[bytes]) -> None:
        if self.is_batched:
            for at in range(0, len(payloads), BATCH_RECORDS):
                self.queue.put_many(payloads[at : at + BATCH_RECORDS], timeout=WAIT_S)
        else:
            put = self.queue.put
            for payload in payloads:
                put(payload, timeout=WAIT_S)

    def close(self) -> None:
        self.queue.close()


@dataclass(frozen=True, slots=True)
class FifoReceiver:
    """get or get_many."""

    queue: Any
    is_batched: bool

    def receive(self, most: int) -> list[bytes]:
        if self.is_batched:
            got: list[bytes] = self.queue.get_many(timeout=WAIT_S, max_messages_to_get=most)
            return got
        get = self.queue.get
        return [get(timeout=WAIT_S) for _ in range(most)]

    def close(self) -> None:
        self.queue.close()


def _start(is_batched: bool) -> contextlib.AbstractContextManager[Route]:
    @contextlib.contextmanager
    def queue() -> Iterator[Route]:
        import faster_fifo
        import faster_fifo_reduction  # noqa: F401  # it teaches multiprocessing to hand a queue over

        made = faster_fifo.Queue(max_size_bytes=QUEUE_BYTES, dumps=as_it_is, loads=bytes)
        try:
            yield FifoRoute(made, is_batched)
        finally:
            made.close()

    return queue()


LACKS = "log, replay, partitions, groups, idempotence, durability; a process killed with the lock stops the queue"

FIFO = Peer(
    name="faster-fifo",
    title="faster-fifo, put",
    settings=f"{QUEUE_BYTES >> 20} MiB, bytes as they are instead of pickled",
    lacks=LACKS,
    start=lambda _directory, _size_bytes: _start(False),
    library="faster_fifo",
    package="faster-fifo",
)
FIFO_MANY = Peer(
    name="faster-fifo-many",
    title="faster-fifo, put_many",
    settings=f"as above; put_many of {BATCH_RECORDS}, get_many",
    lacks=LACKS,
    start=lambda _directory, _size_bytes: _start(True),
    is_batched=True,
    library="faster_fifo",
    package="faster-fifo",
)

"""multiprocessing.Pipe and multiprocessing.Queue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from pathlib import Path

from .peer import Peer, Receiver, Route, Sender

NOT_A_LOG = "log, replay, partitions, groups, idempotence, durability; survives no process"


@dataclass(frozen=True, slots=True)
class PipeRoute:
    """Both ends of one pipe."""

    reading: Connection
    writing: Connection

    def sender(self) -> Sender:
        return PipeSender(self.writing)

    def receiver(self) -> Receiver:
        return PipeReceiver(self.reading)


@dataclass(frozen=True, slots=True)
class PipeSender:
    """send_bytes, which pickles nothing."""

    connection: Connection

    def send(self, payloads: list[bytes]) -> None:
        send_bytes = self.connection.send_bytes
        for payload in payloads:
            send_bytes(payload)

    def close(self) -> None:
        self.connection.close()


@dataclass(frozen=True, slots=True)
class PipeReceiver:
    """recv_bytes."""

    connection: Connection

    def receive(self, most: int) -> list[bytes]:
        recv_bytes = self.connection.recv_bytes
        return [recv_bytes() for _ in range(most)]

    def close(self) -> None:
        self.connection.close()


@contextlib.contextmanager
def _pipe(_directory: Path, _size_bytes: int) -> Iterator[Route]:
    reading, writing = get_context("spawn").Pipe(duplex=False)
    with reading, writing:
        yield PipeRoute(reading, writing)


@dataclass(frozen=True, slots=True)
class QueueRoute:
    """One queue."""

    queue: Queue[bytes]

    def sender(self) -> Sender:
        return QueueSender(self.queue)

    def receiver(self) -> Receiver:
        return QueueReceiver(self.queue)


@dataclass(frozen=True, slots=True)
class QueueSender:
    """put, which leaves pickling and writing to a thread."""

    queue: Queue[bytes]

    def send(self, payloads: list[bytes]) -> None:
        put = self.queue.put
        for payload in payloads:
            put(payload)

    def close(self) -> None:
        self.queue.cancel_join_thread()
        self.queue.close()


@dataclass(frozen=True, slots=True)
class QueueReceiver:
    """get."""

    queue: Queue[bytes]

    def receive(self, most: int) -> list[bytes]:
        get = self.queue.get
        return [get() for _ in range(most)]

    def close(self) -> None:
        self.queue.close()


@contextlib.contextmanager
def _queue(_directory: Path, _size_bytes: int) -> Iterator[Route]:
    queue: Queue[bytes] = get_context("spawn").Queue()
    try:
        yield QueueRoute(queue)
    finally:
        queue.close()


PIPE = Peer(
    name="pipe",
    title="multiprocessing.Pipe",
    settings="duplex=False, send_bytes and recv_bytes",
    lacks=NOT_A_LOG,
    start=_pipe,
)
QUEUE = Peer(
    name="queue",
    title="multiprocessing.Queue",
    settings="unbounded, put and get",
    lacks=NOT_A_LOG,
    start=_queue,
)

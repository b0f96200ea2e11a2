"""pyzmq: PUSH and PULL over ipc://, one message per record or blobs that the user joins and splits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from .peer import Peer, Receiver, Route, Sender

BLOB_RECORDS = 100
HIGH_WATER_MARK = 100_000
"""Messages that either end may hold; the library's default is 1000, which makes a fast sender wait."""


@dataclass(frozen=True, slots=True)
class ZeromqRoute:
    """The socket's address; records per message."""

    address: str
    size_bytes: int
    blob: int

    def sender(self) -> Sender:
        return ZeromqSender(_socket("PUSH", "bind", self.address), self.blob)

    def receiver(self) -> Receiver:
        return ZeromqReceiver(_socket("PULL", "connect", self.address), self.size_bytes, self.blob)


def _socket(kind: str, attach: str, address: str) -> Any:
    zmq: Any = import_module("zmq")
    socket = zmq.Context.instance().socket(getattr(zmq, kind))
    socket.set_hwm(HIGH_WATER_MARK)
    socket.setsockopt(zmq.LINGER, 0)
    getattr(socket, attach)(address)
    return socket


@dataclass(frozen=True, slots=True)
class ZeromqSender:
    """One message per `blob` records."""

    socket: Any
    blob: int

    def send(self, payloads: list[bytes]) -> None:
        send = self.socket.send
        if self.blob == 1:
            for payload in payloads:
                send(payload)
        else:
            for at in range(0, len(payloads), self.blob):
                send(b"".join(payloads[at : at + self.blob]))

    def close(self) -> None:
        self.socket.close()


@dataclass(frozen=True, slots=True)
class ZeromqReceiver:
    """Splits blobs into records again."""

    socket: Any
    size_bytes: int
    blob: int

    def receive(self, most: int) -> list[bytes]:
        recv, size_bytes = self.socket.recv, self.size_bytes
        if self.blob == 1:
            return [recv() for _ in range(most)]
        joined = recv()
        return [joined[at : at + size_bytes] for at in range(0, len(joined), size_bytes)]

    def close(self) -> None:
        self.socket.close()


def _start(blob: int, directory: Path, size_bytes: int) -> contextlib.AbstractContextManager[Route]:
    @contextlib.contextmanager
    def address() -> Iterator[Route]:
        yield ZeromqRoute(f"ipc://{directory / 'zmq'}", size_bytes, blob)

    return address()


LACKS = "log, replay, partitions, groups, idempotence, durability"

ZEROMQ = Peer(
    name="pyzmq",
    title="pyzmq, one message",
    settings=f"PUSH/PULL, ipc://, high water mark {HIGH_WATER_MARK:,}",
    lacks=LACKS,
    start=lambda directory, size_bytes: _start(1, directory, size_bytes),
    library="zmq",
    package="pyzmq",
)
ZEROMQ_BLOBS = Peer(
    name="pyzmq-blobs",
    title=f"pyzmq, blobs of {BLOB_RECORDS}",
    settings=f"as above; the user joins {BLOB_RECORDS} records into a message and splits it",
    lacks=LACKS,
    start=lambda directory, size_bytes: _start(BLOB_RECORDS, directory, size_bytes),
    is_batched=True,
    library="zmq",
    package="pyzmq",
)

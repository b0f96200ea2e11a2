"""NATS JetStream with a file store, each publish acknowledged (many in flight) or none."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from .peer import Peer, Receiver, Route, Sender, program_path
from .server import running

SUBJECT = "versus"
IN_FLIGHT = 4000
INGEST_RECORDS = 4_000_000
CONFIGURATION = """\
listen: "127.0.0.1:-1"
ports_file_dir: "{directory}"
ping_interval: "1h"
max_pending: 1GB
jetstream {{ store_dir: "{directory}/store", max_buffered_msgs: {ingest}, max_buffered_size: 4GB }}
"""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class JetStreamRoute:
    """Where the server listens."""

    url: str
    is_acked: bool

    def sender(self) -> Sender:
        return JetStreamSender(self.url, self.is_acked)

    def receiver(self) -> Receiver:
        return JetStreamReceiver(self.url)


class Connection:
    """A connection with an event loop of its own, which runs only inside send and receive."""

    def __init__(self, url: str) -> None:
        import nats

        self._runner = asyncio.Runner()
        self.client: Any = self.run(nats.connect(url, allow_reconnect=False))
        self.stream: Any = self.client.jetstream(publish_async_max_pending=IN_FLIGHT)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def close(self) -> None:
        self.run(self.client.close())
        self._runner.close()


class JetStreamSender:
    """publish_async with a window, or the client's plain publish to the stream's subject."""

    def __init__(self, url: str, is_acked: bool) -> None:
        self._connection = Connection(url)
        self._is_acked = is_acked

    def send(self, payloads: list[bytes]) -> None:
        self._connection.run(self._acked(payloads) if self._is_acked else self._unacked(payloads))

    async def _acked(self, payloads: list[bytes]) -> None:
        publish = self._connection.stream.publish_async
        futures = [await publish(SUBJECT, payload) for payload in payloads]
        for future in futures:
            await future

    async def _unacked(self, payloads: list[bytes]) -> None:
        publish = self._connection.client.publish
        for payload in payloads:
            await publish(SUBJECT, payload)
        await self._connection.client.flush()

    def close(self) -> None:
        self._connection.close()


class JetStreamReceiver:
    """A push consumer that acknowledges nothing: the order of the stream, and its position in the client."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._inbox: deque[bytes] = deque()
        self._wanted = 1
        self._arrived = asyncio.Event()
        self._connection.run(self._subscribe())

    async def _subscribe(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig

        await self._connection.stream.subscribe(
            SUBJECT,
            cb=self._take,
            manual_ack=True,
            config=ConsumerConfig(ack_policy=AckPolicy.NONE),
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )

    async def _take(self, message: Any) -> None:
        self._inbox.append(message.data)
        if len(self._inbox) >= self._wanted:
            self._arrived.set()

    async def _wait(self, most: int) -> list[bytes]:
        self._wanted = most
        if len(self._inbox) < most:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._inbox.popleft() for _ in range(most)]

    def receive(self, most: int) -> list[bytes]:
        return self._connection.run(self._wait(most))

    def close(self) -> None:
        self._connection.close()


def _url(directory: Path) -> str | None:
    """Where the server says that it listens; None while it has not said so, or not to the end."""
    for file in directory.glob("*.ports"):
        with contextlib.suppress(orjson.JSONDecodeError):
            url: str = orjson.loads(file.read_bytes())["nats"][0]
            return url
    return None


def _start(is_acked: bool, directory: Path) -> contextlib.AbstractContextManager[Route]:
    @contextlib.contextmanager
    def server() -> Iterator[Route]:
        program = program_path("nats-server")
        assert program is not None
        configuration = directory / "nats.conf"
        configuration.write_text(CONFIGURATION.format(directory=directory, ingest=INGEST_RECORDS))
        with running([program, "-c", str(configuration)], directory, lambda: _url(directory) is not None):
            url = _url(directory)
            assert url is not None
            connection = Connection(url)
            connection.run(connection.stream.add_stream(name=SUBJECT, subjects=[SUBJECT]))
            connection.close()
            yield JetStreamRoute(url, is_acked)

    return server()


REMEDY = "apt-get install nats-server, or `go install` the module nats-server/v2"
LACKS = "partitions; the file is synced every two minutes unless it is told otherwise"

JETSTREAM_ACKED = Peer(
    name="nats",
    title="NATS JetStream, acked",
    settings=f"file store, publish_async with {IN_FLIGHT:,} in flight, push consumer without acknowledgements",
    lacks=LACKS,
    start=lambda directory, _size_bytes: _start(True, directory),
    library="nats",
    package="nats-py",
    program="nats-server",
    remedy=REMEDY,
)
JETSTREAM_UNACKED = Peer(
    name="nats-unacked",
    title="NATS JetStream, not acked",
    settings="file store, publish without acknowledgement, push consumer without acknowledgements",
    lacks=f"{LACKS}; nobody learns that a record was not stored",
    start=lambda directory, _size_bytes: _start(False, directory),
    library="nats",
    package="nats-py",
    program="nats-server",
    remedy=REMEDY,
)

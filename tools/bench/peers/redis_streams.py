"""Redis Streams over a unix socket, with an append-only file that is synced every second."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .peer import Peer, Receiver, Route, Sender, program_path
from .server import running

STREAM = b"versus"
FIELD = b"v"
PIPELINE_RECORDS = 100
READ_RECORDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class RedisRoute:
    """Path of the server's socket."""

    path: str

    def sender(self) -> Sender:
        return RedisSender(_client(self.path))

    def receiver(self) -> Receiver:
        return RedisReceiver(_client(self.path))


def _client(path: str) -> Any:
    import redis

    return redis.Redis(unix_socket_path=path, protocol=2)


@dataclass(frozen=True, slots=True)
class RedisSender:
    """XADD, pipelined; returns when all are answered."""

    client: Any

    def send(self, payloads: list[bytes]) -> None:
        for at in range(0, len(payloads), PIPELINE_RECORDS):
            pipeline = self.client.pipeline(transaction=False)
            for payload in payloads[at : at + PIPELINE_RECORDS]:
                pipeline.xadd(STREAM, {FIELD: payload})
            pipeline.execute()

    def close(self) -> None:
        self.client.close()


class RedisReceiver:
    """XREAD that blocks."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._last: bytes = b"0-0"

    def receive(self, most: int) -> list[bytes]:
        answer = self._client.xread({STREAM: self._last}, count=min(most, READ_RECORDS_MAX), block=0)
        entries: list[tuple[bytes, dict[bytes, bytes]]] = answer[0][1]
        self._last = entries[-1][0]
        return [fields[FIELD] for _, fields in entries]

    def close(self) -> None:
        self._client.close()


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


@contextlib.contextmanager
def _start(directory: Path, _size_bytes: int) -> Iterator[Route]:
    program = program_path("redis-server")
    assert program is not None
    listening = str(directory / "redis.sock")
    settings = {
        "port": "0",
        "unixsocket": listening,
        "unixsocketperm": "700",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "daemonize": "no",
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
    with running([program, *arguments], directory, lambda: _accepts(listening)):
        yield RedisRoute(listening)


REDIS = Peer(
    name="redis",
    title="Redis Streams",
    settings=f"unix socket, append-only file synced every second, XADD in pipelines of {PIPELINE_RECORDS}, hiredis",
    lacks="partitions, idempotence; may lose a second when the server dies",
    start=_start,
    library="redis",
    package="redis[hiredis]",
    program="redis-server",
    remedy="apt-get install redis-server",
)

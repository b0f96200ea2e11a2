"""A client that says anything to a supervisor: bytes that are no messages, and messages that make no sense.

Everything is drawn from a seeded generator. `speak` holds one conversation on a connection of its own; `request` makes
a message that has the right fields, of the right types, with values that nobody expects.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import types
import typing
from random import Random
from typing import Any, Final

import orjson

from shmlog.control import messages
from shmlog.control.messages import PROTOCOL, Hello, Request
from shmlog.limits import CONTROL_MESSAGE_BYTES_MAX

NUMBERS: Final = (-(1 << 63), -(1 << 31), -2, -1, 0, 0, 1, 7, 32_767, 70_000, (1 << 31) - 1, 1 << 32, 1 << 40,
                  (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip
PREY: Final = "prey"
"""The topic that it likes to meddle with; it may not be there."""
TEXTS: Final = (PREY, PREY, PREY, "", ".", "..", "/", "a/b", "\0", "é" * 300, "__x", "max.message.bytes",
                "retention.ms", "9" * 30, "\n")  # fmt: skip
JUNK: Final[tuple[object, ...]] = (None, True, -1.5, 1e300, "text", [], {}, [[]], {"a": {"b": []}})
PLAUSIBLE: Final[dict[str, Any]] = {
    "request_id": 5, "topic": PREY, "partition": 0, "producer_id": -1, "producer_epoch": -1, "linger_us": 0,
    "lane_bytes": None, "compression_type": "none", "compression_level": 0, "partitions": 1, "replication_factor": 1,
    "config": {}, "set": {}, "unset": [], "topics": None,
}  # fmt: skip


class HostileClient:
    """Speaks to the socket at `path`. Never ends the cluster: Shutdown is not in its vocabulary."""

    def __init__(self, path: str, random: Random) -> None:
        self._path = path
        self._random = random
        self._kinds = [kind for kind in typing.get_args(Request) if kind is not messages.Shutdown]

    def speak(self, said_max: int = 6) -> None:
        """Connect, say some things, with or without Hello, and hang up, with or without reading the answers."""
        random = self._random
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(5.0)
            line.connect(self._path)
            with contextlib.suppress(OSError):  # it hung up first, and may
                if random.random() < 0.6:
                    line.sendall(_frame(_json(Hello(1, PROTOCOL, "0", os.getpid(), None))))
                for _ in range(random.randint(1, said_max)):
                    self._say(line)
                if random.random() < 0.5:
                    line.shutdown(socket.SHUT_WR)
                    while line.recv(1 << 16):
                        pass

    def request(self) -> Request:
        """Well-formed nonsense: all of its fields, or one of a request that would be fine without."""
        random = self._random
        kind = random.choice((*self._kinds, messages.OpenLane, messages.OpenLane))
        hints = typing.get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        lies = set(names) - PLAUSIBLE.keys() | set(names if random.random() < 0.5 else [random.choice(names)])
        made: Request = kind(**{name: self._value(hints[name]) if name in lies else PLAUSIBLE[name] for name in names})
        return made

    def _say(self, line: socket.socket) -> None:
        random = self._random
        frame = _frame(self._payload())
        how = random.randrange(8)
        if how == 0:
            line.sendall(frame[: random.randrange(len(frame))])
        elif how == 1:
            line.sendall(random.randbytes(random.randint(1, 200)))
        elif how == 2:
            length = random.choice((0, CONTROL_MESSAGE_BYTES_MAX, CONTROL_MESSAGE_BYTES_MAX + 1, (1 << 32) - 1))
            line.sendall(length.to_bytes(4, "big") + bytes(random.randint(0, 5000)))
        elif how == 3:
            with open(os.devnull) as null:
                socket.send_fds(line, [frame], [null.fileno()] * random.randint(1, 20))
        elif how == 4:
            for at in range(len(frame)):
                line.sendall(frame[at : at + 1])
        else:
            line.sendall(frame)

    def _payload(self) -> bytes:
        random = self._random
        how = random.randrange(12)
        if how == 0:
            return random.choice((b"[" * 100_000, b'{"kind":' * 2000, b"\xff\xfe", b"{}", b"null", b'{"kind":7}', b" "))
        body = orjson.loads(_json(self.request()))
        if how == 1:
            body[random.choice(sorted(body))] = random.choice(JUNK)
        elif how == 2:
            del body[random.choice(sorted(body))]
        elif how == 3:
            body[random.choice(TEXTS)] = random.choice(JUNK)
        payload = bytearray(orjson.dumps(body))
        if how == 4:
            payload[random.randrange(len(payload))] = random.randrange(256)
        return bytes(payload)

    def _value(self, hint: Any) -> Any:
        random = self._random
        arguments = typing.get_args(hint)
        if typing.get_origin(hint) is types.UnionType:
            return self._value(random.choice(arguments))
        if typing.get_origin(hint) is list:
            return [self._value(arguments[0]) for _ in range(random.choice((0, 1, 3, 1000)))]
        if typing.get_origin(hint) is dict:
            return {self._value(str): self._value(str) for _ in range(random.randrange(3))}
        if hint is int:
            return random.choice(NUMBERS)
        if hint is str:
            return random.choice(TEXTS)
        assert hint is type(None), hint
        return None


def _json(message: Request) -> bytes:
    return orjson.dumps(
        {"kind": type(message).__name__, **{f.name: getattr(message, f.name) for f in dataclasses.fields(message)}}
    )


def _frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload

"""Messages as bytes: JSON objects {"kind": class name, ...fields}, and a decoder that accepts nothing else.

Two sorts of refusal. ForeignVersionError: well-formed, but not of this protocol (unknown kind, missing or unknown
field), so the other side is probably another version. InvalidRequestError: no version of shmlog would have sent it.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any

import orjson

from shmlog.control import messages
from shmlog.control.messages import PROTOCOL, Hello, Message, Spawned, SpawnFollower, SpawnOwner
from shmlog.errors import ForeignVersionError, InvalidRequestError
from shmlog.limits import CONTROL_MESSAGE_BYTES_MAX
from shmlog.version import VERSION

FDS_CARRIED: dict[type[Any], int] = {SpawnOwner: 1, SpawnFollower: 1, Spawned: 1}
"""How many file descriptors travel with a message; all others carry none."""

_Check = Callable[[Any, str], Any]  # (value from JSON, where it stands) -> value of the field


def encode(message: Message) -> bytes:
    """The JSON of `message`. Raises InvalidRequestError if it is larger than the channel carries."""
    body: dict[str, Any] = {"kind": type(message).__name__}
    for field in dataclasses.fields(message):
        body[field.name] = getattr(message, field.name)
    payload = orjson.dumps(body)
    if len(payload) > CONTROL_MESSAGE_BYTES_MAX:
        raise InvalidRequestError(
            f"a {body['kind']} message of {len(payload)} bytes is larger than the limit of {CONTROL_MESSAGE_BYTES_MAX}"
        )
    return payload


def decode(payload: bytes | bytearray | memoryview) -> Message:
    """The message in `payload`; raises ForeignVersionError or InvalidRequestError, and nothing else."""
    body = _json_object(payload)
    kind = body.pop("kind", None)
    if not isinstance(kind, str):
        raise InvalidRequestError("a control message without a kind")
    known = _KINDS.get(kind)
    if known is None:
        raise ForeignVersionError(
            f"unknown control message {kind[:40]!r}: the other side is not of this version"
            f" (control protocol {PROTOCOL})"
        )
    if known is Hello:
        _same_protocol(body)
    return typing.cast(Message, _decoder(known)(body, kind))  # type: ignore[arg-type]  # mypy: a class is hashable


def request_id_of(payload: bytes | bytearray | memoryview) -> int:
    """The request_id in a payload that decode() refused, so that the refusal finds its request; 0 if there is none."""
    try:
        found = _json_object(payload).get("request_id")
    except InvalidRequestError:
        return 0
    return found if type(found) is int else 0


def _json_object(payload: bytes | bytearray | memoryview) -> dict[str, Any]:
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"a control message that is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidRequestError("a control message that is not a JSON object")
    return body


def _same_protocol(body: dict[str, Any]) -> None:
    theirs, version = body.get("protocol"), body.get("version")
    if theirs != PROTOCOL:
        raise ForeignVersionError(
            f"the client is shmlog {str(version)[:40]} (control protocol {str(theirs)[:20]}), the cluster runs shmlog"
            f" {VERSION} (control protocol {PROTOCOL}): install the same version on both sides"
        )


class _Decoder:
    """Builds one dataclass from a JSON object, field by field."""

    def __init__(self, message: type[Any]) -> None:
        self.message = message
        hints = typing.get_type_hints(message)
        self.fields = {field.name: _check_for(hints[field.name]) for field in dataclasses.fields(message)}

    def __call__(self, body: Any, where: str) -> Any:
        if not isinstance(body, dict):
            raise InvalidRequestError(f"{where} is not an object")
        if body.keys() != self.fields.keys():
            missing = sorted(self.fields.keys() - body.keys())
            unknown = [name[:40] for name in sorted(body.keys() - self.fields.keys())[:5]]
            raise ForeignVersionError(
                f"{where} has missing fields {missing} and unknown fields {unknown}:"
                f" the other side is not of this version (control protocol {PROTOCOL})"
            )
        return self.message(**{name: check(body[name], f"{where}.{name}") for name, check in self.fields.items()})


def _exactly(kind: type[Any]) -> _Check:
    def check(value: Any, where: str) -> Any:
        if type(value) is not kind:  # exactly: a JSON true is not an int
            raise InvalidRequestError(f"{where} must be {kind.__name__}, not {type(value).__name__}")
        return value

    return check


def _optional(inner: _Check) -> _Check:
    return lambda value, where: None if value is None else inner(value, where)


def _list_of(inner: _Check) -> _Check:
    is_list = _exactly(list)
    return lambda value, where: [inner(item, f"{where}[{n}]") for n, item in enumerate(is_list(value, where))]


def _text_by_text(value: Any, where: str) -> Any:
    for key, item in _exactly(dict)(value, where).items():
        _exactly(str)(item, f"{where}[{key[:40]!r}]")
    return value


def _check_for(hint: Any) -> _Check:
    """The check for one field's type; an assertion fails for a type that we do not carry."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (int, str, bool):
        return _exactly(hint)
    if origin is types.UnionType:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _optional(_check_for(inner))
    if origin is list:
        return _list_of(_check_for(arguments[0]))
    if origin is dict:
        assert arguments == (str, str), hint
        return _text_by_text
    assert isinstance(hint, type), hint
    return _decoder(hint)


@functools.cache
def _decoder(kind: type[Any]) -> _Decoder:
    """Made at first use: all of them together take as long as the rest of a supervisor's start."""
    return _Decoder(kind)


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for group in (
        messages.Request,
        messages.Reply,
        messages.OwnerOrder,
        messages.FollowerOrder,
        messages.OwnerReport,
        messages.FollowerReport,
        messages.ZygoteMessage,
        messages.CleanerMessage,
        messages.GroupMessage,
    )
    for kind in typing.get_args(group)
}

"""Keys and values between Python objects and bytes.

`"str"` is UTF-8, `"json"` is orjson; a callable gets the object (or the bytes) and returns the other. None is never
passed to any of them: a null key stays null, and a null value is a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import orjson

from shmlog.errors import SerializationError

SerializerSetting = Literal["str", "json"] | Callable[[Any], bytes] | None
DeserializerSetting = Literal["str", "json"] | Callable[[bytes], Any] | None
Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_SERIALIZERS: dict[str, Serializer] = {"str": str.encode, "json": orjson.dumps}
_DESERIALIZERS: dict[str, Deserializer] = {"str": bytes.decode, "json": orjson.loads}


def serializer(setting: SerializerSetting) -> Serializer | None:
    """The function behind a `key.serializer` or `value.serializer`; None: bytes are sent as they are."""
    return _SERIALIZERS[setting] if isinstance(setting, str) else setting


def deserializer(setting: DeserializerSetting) -> Deserializer | None:
    """The function behind a `key.deserializer` or `value.deserializer`; None: bytes are given as they are."""
    return _DESERIALIZERS[setting] if isinstance(setting, str) else setting


def to_bytes(thing: Any, function: Serializer | None, what: str) -> bytes | None:
    """`thing` as bytes; `what` ("key" or "value") for the error.

    Raises SerializationError if the serializer fails or returns something else, or if there is none and `thing` is
    neither bytes-like nor None.
    """
    if thing is None:
        return None
    if function is not None:
        try:
            made = function(thing)
        except Exception as error:  # whatever a user's function raises is the same to the one who called send
            raise SerializationError(
                f"the {what}.serializer failed on a {type(thing).__name__}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, bytes):
            raise SerializationError(f"the {what}.serializer returned {type(made).__name__}, not bytes")
        return made
    if isinstance(thing, bytes):
        return thing
    if isinstance(thing, (bytearray, memoryview)):
        return bytes(thing)
    raise SerializationError(
        f"a {what} of type {type(thing).__name__} cannot be sent as it is: pass bytes, or give the producer"
        f' {what}_serializer="str", "json" or a function'
    )


def from_bytes(content: bytes | None, function: Deserializer | None, what: str, where: str) -> Any:
    """`content` as what `function` makes of it; raises SerializationError naming `where` it was read."""
    if content is None or function is None:
        return content
    try:
        return function(content)
    except Exception as error:  # whatever a user's function raises is the same to the one who reads
        raise SerializationError(
            f"the {what}.deserializer failed on the record at {where}: {type(error).__name__}: {error}; seek past it to"
            " go on"
        ) from error

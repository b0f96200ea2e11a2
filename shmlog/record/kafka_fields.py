"""The field types of Kafka's messages as bytes, big-endian: of those that are flexible (KIP-482) and of those before.

A flexible message has its lengths as unsigned variable-length numbers, one more than there is, and ends with tagged
fields. In the others a text has a length of 16 bits and nothing can be added.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from shmlog.errors import CorruptRecordError, InvalidRequestError

T = TypeVar("T")

UUID_BYTES = 16
TEXT_BYTES_MAX = 32_767
"""What the length of a text that is not flexible can say; Kafka holds flexible ones to it, too."""

_INT8, _INT16, _INT32, _INT64 = (struct.Struct(format_) for format_ in (">b", ">h", ">i", ">q"))
_UNSIGNED_BITS = 32


class FieldWriter:
    """Appends field after field; `content` has them."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def content(self) -> bytes:
        return bytes(self._bytes)

    def int8(self, value: int) -> None:
        self._bytes += _INT8.pack(value)

    def int16(self, value: int) -> None:
        self._bytes += _INT16.pack(value)

    def int32(self, value: int) -> None:
        self._bytes += _INT32.pack(value)

    def int64(self, value: int) -> None:
        self._bytes += _INT64.pack(value)

    def uuid(self, hex_digits: str) -> None:
        """From 32 hex digits."""
        content = bytes.fromhex(hex_digits)
        assert len(content) == UUID_BYTES, hex_digits
        self._bytes += content

    def text(self, value: str) -> None:
        """Raises InvalidRequestError if it has more than TEXT_BYTES_MAX bytes."""
        content = _encoded(value)
        self.int16(len(content))
        self._bytes += content

    def unsigned(self, value: int) -> None:
        assert 0 <= value < 1 << _UNSIGNED_BITS, value
        while value > 0x7F:
            self._bytes.append(0x80 | (value & 0x7F))
            value >>= 7
        self._bytes.append(value)

    def compact_text(self, value: str | None) -> None:
        """Raises InvalidRequestError if it has more than TEXT_BYTES_MAX bytes."""
        if value is None:
            self.unsigned(0)
            return
        content = _encoded(value)
        self.unsigned(len(content) + 1)
        self._bytes += content

    def compact_array(self, items: Sequence[T], write: Callable[[T], None]) -> None:
        self.unsigned(len(items) + 1)
        for item in items:
            write(item)

    def tagged(self, fields: Mapping[int, bytes] | None = None) -> None:
        """The end of a flexible structure: content of its tagged fields by tag."""
        fields = fields or {}
        self.unsigned(len(fields))
        for tag in sorted(fields):
            self.unsigned(tag)
            self.unsigned(len(fields[tag]))
            self._bytes += fields[tag]


def _encoded(value: str) -> bytes:
    content = value.encode()
    if len(content) > TEXT_BYTES_MAX:
        raise InvalidRequestError(
            f"a text that begins with {value[:40]!r} has {len(content)} bytes; Kafka's records take {TEXT_BYTES_MAX}"
        )
    return content


class FieldReader:
    """Takes field after field. `what` names the bytes in errors.

    Every length is held against the bytes that are left; what does not fit raises CorruptRecordError.
    """

    def __init__(self, content: bytes | memoryview, what: str) -> None:
        self._content = bytes(content)
        self._what = what
        self._at = 0

    def take(self, size_bytes: int) -> bytes:
        end = self._at + size_bytes
        if not self._at <= end <= len(self._content):
            raise self._corrupt(f"has {len(self._content) - self._at} bytes where {size_bytes} are announced")
        found, self._at = self._content[self._at : end], end
        return found

    def int8(self) -> int:
        return int(_INT8.unpack(self.take(_INT8.size))[0])

    def int16(self) -> int:
        return int(_INT16.unpack(self.take(_INT16.size))[0])

    def int32(self) -> int:
        return int(_INT32.unpack(self.take(_INT32.size))[0])

    def int64(self) -> int:
        return int(_INT64.unpack(self.take(_INT64.size))[0])

    def uuid(self) -> str:
        """32 hex digits."""
        return self.take(UUID_BYTES).hex()

    def text(self) -> str:
        return self._decoded(self.int16())

    def unsigned(self) -> int:
        value = 0
        for shift in range(0, _UNSIGNED_BITS, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> _UNSIGNED_BITS:
                    break
                return value
        raise self._corrupt(f"has a number of more than {_UNSIGNED_BITS} bits")

    def compact_text(self) -> str | None:
        length = self.unsigned() - 1
        return None if length < 0 else self._decoded(length)

    def some_compact_text(self) -> str:
        """One that must not be null."""
        found = self.compact_text()
        if found is None:
            raise self._corrupt("has null where a text has to be")
        return found

    def compact_array(self, read: Callable[[], T]) -> list[T]:
        """One that must not be null, of items that take a byte at least."""
        count = self.unsigned() - 1
        if not 0 <= count <= len(self._content) - self._at:
            raise self._corrupt(f"has an array of {count} in {len(self._content) - self._at} bytes")
        return [read() for _ in range(count)]

    def tagged(self) -> dict[int, bytes]:
        """The end of a flexible structure: content of its tagged fields by tag, whoever knows what they are."""
        return {self.unsigned(): self.take(self.unsigned()) for _ in range(self.unsigned())}

    def end(self) -> None:
        """Asserts that nothing is left."""
        if self._at != len(self._content):
            raise self._corrupt(f"has {len(self._content) - self._at} bytes behind its end")

    def _decoded(self, size_bytes: int) -> str:
        try:
            return self.take(size_bytes).decode()
        except UnicodeDecodeError as error:
            raise self._corrupt(f"has a text that is not UTF-8: {error}") from None

    def _corrupt(self, what: str) -> CorruptRecordError:
        return CorruptRecordError(f"{self._what}, at byte {self._at}, {what}")

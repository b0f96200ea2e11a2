"""Zigzag variable-length integers: seven bits to a byte, low bits first, small magnitudes short."""

from __future__ import annotations

from shmlog.errors import CorruptRecordError

VARINT_BYTES_MAX = 10
"""A 64-bit number takes at most this many bytes."""

_INT64_MASK = (1 << 64) - 1


def append_varint(target: bytearray, value: int) -> None:
    """Append `value`, a signed 64-bit number, to `target`."""
    zigzag = ((value << 1) ^ (value >> 63)) & _INT64_MASK
    while zigzag > 0x7F:
        target.append(0x80 | (zigzag & 0x7F))
        zigzag >>= 7
    target.append(zigzag)


def read_varint(data: bytes | memoryview, at: int, end: int) -> tuple[int, int]:
    """The number that starts at `at` and the position after it.

    Raises CorruptRecordError if it does not end before `end` or has more than 64 bits.
    """
    zigzag = 0
    for count in range(VARINT_BYTES_MAX):
        if at + count >= end:
            raise CorruptRecordError(f"a number at byte {at} runs past the end of its record at byte {end}")
        byte = data[at + count]
        zigzag |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if zigzag > _INT64_MASK:
                break
            return (zigzag >> 1) ^ -(zigzag & 1), at + count + 1
    raise CorruptRecordError(f"a number at byte {at} has more than 64 bits")

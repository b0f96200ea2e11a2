"""Checksums are Kafka's, whichever implementation computes them, however the bytes lie and are cut."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st
from kafka.record.util import calc_crc32c as crc32c_of_kafka_python

from shmlog.native.checksum import crc32c, crc32c_portable, flavour, murmur2

IMPLEMENTATIONS = [pytest.param(crc32c, id=flavour()), pytest.param(crc32c_portable, id="portable")]

# The block lengths of the three-stream loop are 3 x 256 and 3 x 2048 bytes; errors live next to them.
LENGTHS_AT_SEAMS = [
    0, 1, 7, 8, 9, 255, 256, 767, 768, 769, 775, 776, 6143, 6144, 6145, 6911, 6912, 6913, 12288, 20000,
]  # fmt: skip


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_gives_the_published_values(implementation: Callable[[bytes], int], data: bytes, expected: int) -> None:
    assert implementation(data) == expected


@pytest.mark.parametrize("length", LENGTHS_AT_SEAMS)
def test_both_implementations_agree_with_kafka_python_at_every_seam_and_alignment(length: int) -> None:
    data = random.Random(length).randbytes(length + 8)
    for start in range(8):
        view = memoryview(data)[start : start + length]
        expected = crc32c_of_kafka_python(bytes(view))
        assert crc32c(view) == expected
        assert crc32c_portable(view) == expected


@given(data=st.binary(max_size=8192), cut=st.integers(min_value=0, max_value=8192))
def test_a_checksum_goes_on_from_an_earlier_one(data: bytes, cut: int) -> None:
    first, rest = data[:cut], data[cut:]
    assert crc32c(rest, crc32c(first)) == crc32c(data)
    assert crc32c_portable(rest, crc32c(first)) == crc32c(data)


@given(data=st.binary(min_size=1, max_size=4096), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_always_noticed(data: bytes, at: int, bit: int) -> None:
    damaged = bytearray(data)
    damaged[at % len(data)] ^= 1 << bit
    assert crc32c(damaged) != crc32c(data)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_the_java_client(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF

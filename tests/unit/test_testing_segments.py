"""Partition directories are read by a decoder that is not ours, and what is wrong with a file is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shmlog.testing import wait_until
from shmlog.testing.segments import UndecodableSegmentError, read_partition

kafka_record: Any = pytest.importorskip("kafka.record")


def batch(base_offset: int, values: list[bytes]) -> bytes:
    builder = kafka_record.MemoryRecordsBuilder(2, 0, 1 << 20, offset=base_offset)
    for value in values:
        builder.append(1_700_000_000_000, b"key", value, [("h", b"x")])
    builder.close()
    return bytes(builder.buffer())


def write_partition(directory: Path) -> None:
    (directory / "00000000000000000000.log").write_bytes(batch(0, [b"a", b"b"]) + batch(2, [b"c"]))
    (directory / "00000000000000000003.log").write_bytes(batch(3, [b"d"]))
    (directory / "00000000000000000000.log.deleted").write_bytes(b"not to be read")


def test_a_partition_is_read_file_after_file(tmp_path: Path) -> None:
    write_partition(tmp_path)
    records = list(read_partition(tmp_path))
    assert [(record.offset, record.value) for record in records] == [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")]
    assert records[0].headers == (("h", b"x"),)


def test_a_flipped_bit_is_refused_with_file_and_position(tmp_path: Path) -> None:
    write_partition(tmp_path)
    file = tmp_path / "00000000000000000003.log"
    spoiled = bytearray(file.read_bytes())
    spoiled[-1] ^= 1
    file.write_bytes(spoiled)
    with pytest.raises(UndecodableSegmentError, match=r"00000000000000000003\.log: after position 0: .*checksum"):
        list(read_partition(tmp_path))


def test_a_torn_tail_is_refused(tmp_path: Path) -> None:
    write_partition(tmp_path)
    file = tmp_path / "00000000000000000003.log"
    file.write_bytes(file.read_bytes() + batch(4, [b"e"])[:30])
    with pytest.raises(UndecodableSegmentError, match="30 bytes at"):
        list(read_partition(tmp_path))


def test_an_offset_below_the_files_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000009.log").write_bytes(batch(3, [b"d"]))
    with pytest.raises(UndecodableSegmentError, match="before its base 9"):
        list(read_partition(tmp_path))


def test_wait_until_returns_what_the_condition_returned() -> None:
    answers = iter([0, "", 7])
    assert wait_until(lambda: next(answers), timeout_s=5) == 7


def test_wait_until_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s for the moon; it last was False"):
        wait_until(lambda: False, timeout_s=0.01, what="the moon")

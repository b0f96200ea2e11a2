"""The newest offset of each key, in memory of a fixed size: every key is found again, and no other."""

from __future__ import annotations

import random

import pytest

from shmlog.native.compaction import SLOT_BYTES, OffsetMap, siphash
from shmlog.record.batch import NewRecord, encode_batch

SEED = bytes(range(16))
SIPHASHES = {  # of the reference implementation: the first n numbers under the key 0, 1, .. 15
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
    7: "a1f1ebbed8dbc153c0b84aa61ff08239",
    8: "3b62a9ba6258f5610f83e264f31497b4",
    15: "5493e99933b0a8117e08ec0f97cfc3d9",
    16: "6ee2a4ca67b054bbfd3315bf85230577",
    63: "5150d1772f50834a503e069a973fbd7c",
}


def record(key: bytes, value: bytes | None = b"v") -> NewRecord:
    return NewRecord(value, key)


@pytest.mark.parametrize("length", SIPHASHES)
def test_the_hash_is_siphash_of_the_reference(length: int) -> None:
    assert siphash(bytes(range(length)), bytes(range(16))).hex() == SIPHASHES[length]


def test_a_map_has_the_newest_offset_of_each_key() -> None:
    newest = OffsetMap(bytearray(100 * SLOT_BYTES), SEED, 50)
    first = encode_batch([record(b"a"), record(b"b"), record(b"a")], base_offset=0)
    newest.add_batches(
        first + encode_batch([record(b"c", None), record(b"b" * 300), record(b"")], base_offset=3), 0, 0, 0
    )
    found = {key: newest.newest_offset(key) for key in (b"a", b"b", b"c", b"b" * 300, b"", b"d")}
    assert found == {b"a": 2, b"b": 1, b"c": 3, b"b" * 300: 4, b"": 5, b"d": -1}
    assert newest.key_count == 5


def test_a_full_map_finds_all_its_keys_and_no_others() -> None:
    """At nine tenths full the probes are longest: what gives way to nearer ones must be found again."""
    newest, expected, offset = OffsetMap(bytearray(1000 * SLOT_BYTES), SEED, 10**9), dict[bytes, int](), 0
    chance = random.Random(7)
    while not newest.is_full:
        keys = [b"%d" % chance.randrange(2000) for _ in range(20)]
        batch = encode_batch([record(key) for key in keys], base_offset=offset)
        walked = newest.add_batches(batch, offset, 0, 0)
        expected |= {key: offset + number for number, key in enumerate(keys)} if walked.done_bytes else {}
        offset = walked.next_offset
    assert newest.key_count == newest.key_count_max == 900
    assert newest.end_offset == offset
    for number in range(2000):
        key = b"%d" % number
        assert newest.newest_offset(key) >= expected.get(key, -1)
        assert key in expected or newest.newest_offset(key) in {-1, *range(offset, offset + 20)}


def test_a_full_map_takes_what_it_knows_and_stops_at_a_batch_with_a_new_key() -> None:
    newest = OffsetMap(bytearray(3 * SLOT_BYTES), SEED, 100)
    assert newest.key_count_max == 2
    batches = [encode_batch([record(key)], base_offset=number) for number, key in enumerate((b"a", b"b", b"a", b"c"))]
    walked = newest.add_batches(b"".join(batches), 0, 0, 0)
    assert newest.is_full
    assert (walked.done_bytes, walked.next_offset, newest.end_offset) == (3 * len(batches[0]), 3, 3)
    assert newest.newest_offset(b"a") == 2
    assert newest.add_batches(batches[3], 3, 0, 0).done_bytes == 0, "nothing goes in any more"


def test_a_map_touches_no_more_memory_than_its_keys_need() -> None:
    memory = bytearray(b"\xff" * 1000 * SLOT_BYTES)
    newest = OffsetMap(memory, SEED, 9)
    assert 9 <= newest.key_count_max < 20
    assert memory[20 * SLOT_BYTES :] == b"\xff" * (980 * SLOT_BYTES)


@pytest.mark.parametrize("memory", [bytearray(SLOT_BYTES), memoryview(bytearray(1000))[1:]])
def test_memory_that_is_too_small_or_not_aligned_is_refused(memory: bytearray | memoryview) -> None:
    with pytest.raises(ValueError, match="offset map"):
        OffsetMap(memory, SEED, 10)


def test_records_before_the_dirty_part_and_of_transactions_are_in_nobodys_way() -> None:
    newest = OffsetMap(bytearray(100 * SLOT_BYTES), SEED, 50)
    batch = encode_batch([record(b"a"), record(b"b")], base_offset=0)
    open_ended = encode_batch([record(b"c")], base_offset=2, producer_id=1, producer_epoch=0, transactional=True)
    newest.add_batches(batch + open_ended, 0, 0, 1)
    assert [newest.newest_offset(key) for key in (b"a", b"b", b"c")] == [-1, 1, -1]

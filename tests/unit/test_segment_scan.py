"""Walking batches natively: what counts as sound, and which batches hold which offsets."""

from __future__ import annotations

from hypothesis import given, strategies as st

from shmlog.native.scan import check_batches, select_batches
from shmlog.record.batch import NewRecord, encode_batch


def batch(base_offset: int, count: int = 1, value: bytes = b"value") -> bytes:
    return encode_batch([NewRecord(value)] * count, base_offset=base_offset)


THREE = [batch(10, 2), batch(12, 1), batch(13, 3)]
BYTES = b"".join(THREE)


def test_sound_batches_are_valid_to_the_end() -> None:
    assert check_batches(BYTES, 10) == (len(BYTES), 16, 61, "")


def test_bytes_that_end_inside_a_batch_are_valid_up_to_it_and_say_how_much_is_wanted() -> None:
    whole_at = {0: 10, len(THREE[0]): 12, len(THREE[0] + THREE[1]): 13, len(BYTES): 16}
    for length in range(len(BYTES)):
        valid, next_offset, wanted, problem = check_batches(BYTES[:length], 10)
        expected = max(at for at in whole_at if at <= length)
        assert (valid, next_offset, problem) == (expected, whole_at[expected], "")
        assert length - valid < wanted


def test_every_flipped_bit_but_the_leader_epochs_is_found_at_its_batch() -> None:
    at = len(THREE[0])
    for byte in range(len(THREE[1])):
        for bit in range(8):
            damaged = bytearray(BYTES)
            damaged[at + byte] ^= 1 << bit
            valid, next_offset, wanted, problem = check_batches(damaged, 10)
            if 12 <= byte < 16:
                assert problem == ""
                continue
            longer_than_the_rest = not problem and wanted > len(BYTES) - at
            assert problem or longer_than_the_rest, (byte, bit)
            assert (valid, next_offset) == (at, 12)


def test_checksums_before_the_given_offset_are_not_looked_at() -> None:
    damaged = bytearray(BYTES)
    damaged[len(THREE[0]) - 1] ^= 1
    assert check_batches(damaged, 10, 12)[3] == ""
    assert check_batches(damaged, 10, 10)[3] == "its checksum is wrong"


def test_a_batch_that_does_not_follow_the_one_before_is_not_sound() -> None:
    assert check_batches(THREE[0] + THREE[2], 10) == (
        len(THREE[0]),
        12,
        61,
        "its base offset does not follow the batch before",
    )


def test_selection_begins_with_the_batch_that_holds_the_offset_and_ends_before_the_limit() -> None:
    first, second = len(THREE[0]), len(THREE[0] + THREE[1])
    assert select_batches(BYTES, 11)[:3] == (0, len(BYTES), 16)
    assert select_batches(BYTES, 12)[:3] == (first, len(BYTES), 16)
    assert select_batches(BYTES, 12, 13)[:4] == (first, second, 13, 0)
    assert select_batches(BYTES, 10, 14)[:3] == (0, len(BYTES), 16)
    assert select_batches(BYTES, 99)[:2] == (len(BYTES), len(BYTES))


def test_selection_leaves_out_a_batch_that_is_not_all_there_and_wants_its_size() -> None:
    start, end, next_offset, wanted, problem = select_batches(BYTES[:-1], 10)
    assert (start, end, next_offset, wanted, problem) == (0, len(THREE[0] + THREE[1]), 13, len(THREE[2]), "")


@given(st.binary(max_size=300), st.integers(0, 2**63 - 1))
def test_arbitrary_bytes_never_count_as_more_than_they_are(data: bytes, offset: int) -> None:
    valid, *_ = check_batches(data, offset)
    assert 0 <= valid <= len(data)
    start, end, *_ = select_batches(data, offset)
    assert 0 <= start <= end <= len(data)

"""What a successor reads out of its predecessor's index: the end of the log, and what lanes do not know yet."""

from __future__ import annotations

import struct

import pytest

from shmlog.errors import CorruptRecordError
from shmlog.memory.layout import IDX_ENTRY_BYTES
from shmlog.partition.survey import FrameResult, find_end, lane_results, offset_at, read_entries

BATCH = 100  # bytes of every batch, 10 records each
SPAN = 104  # bytes of its frame in a lane: 64 instead of 61 in front, whole words


def no_look(lane_pos: int) -> int:
    raise AssertionError(f"no frame at {lane_pos} is without an entry")


def index_of(*entries: tuple[int, int, int], cells: int = 8, span: int = SPAN) -> bytes:
    """An index region with batches (seq, lane id, lane_pos_end), which lie one after another from position 0."""
    raw = bytearray(cells * IDX_ENTRY_BYTES)
    for seq, lane_id, lane_pos_end in entries:
        struct.pack_into(
            "<QQQIIIIQQQ", raw, (seq % cells) * IDX_ENTRY_BYTES, seq + 1, (seq + 1) * BATCH, seq * 10, BATCH, 10, 5,
            lane_id, lane_pos_end, max(0, lane_pos_end - span), 0,
        )  # fmt: skip
    return bytes(raw)


def test_the_end_is_where_the_entry_at_the_tail_says_not_where_the_newest_entry_is() -> None:
    entries = read_entries(index_of((0, 1, 64), (1, 1, 128), (2, 1, 192)))
    end = find_end(entries, tail_pos=2 * BATCH, base_offset=0, base_pos=0)
    assert (end.next_offset, end.next_seq) == (20, 2)
    assert end.stale_cells == [2], "the group that was not published must not look valid to the next one"


def test_an_index_that_has_wrapped_is_read_in_the_order_of_writing() -> None:
    entries = read_entries(index_of(*[(seq, 1, seq) for seq in range(5, 13)]))
    assert [entry.seq for entry in entries] == list(range(5, 13))
    assert find_end(entries, 13 * BATCH, 0, 0).next_offset == 130


def test_a_ring_without_batches_ends_where_it_began() -> None:
    end = find_end(read_entries(index_of((3, 1, 64))), tail_pos=700, base_offset=42, base_pos=700)
    assert (end.next_offset, end.next_seq, end.stale_cells) == (42, 0, [3])


def test_a_tail_that_no_batch_ends_at_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(CorruptRecordError, match="position 150"):
        find_end(read_entries(index_of((0, 1, 64))), tail_pos=150, base_offset=0, base_pos=0)


def test_the_offset_at_the_written_position_is_that_of_the_first_batch_that_is_not_written() -> None:
    end = find_end(read_entries(index_of((0, 1, 64), (1, 1, 128), (2, 1, 192))), 3 * BATCH, 0, 0)
    assert offset_at(end, BATCH, 3 * BATCH) == 10
    assert offset_at(end, 3 * BATCH, 3 * BATCH) == 30


def test_a_lane_learns_the_results_of_frames_between_its_head_and_the_log() -> None:
    end = find_end(
        read_entries(index_of((0, 1, SPAN), (1, 2, 5 * SPAN), (2, 1, 2 * SPAN), (3, 1, 3 * SPAN))), 4 * BATCH, 0, 0
    )
    expected = [FrameResult(SPAN, 20, 2 * BATCH), FrameResult(2 * SPAN, 30, 3 * BATCH)]
    assert lane_results(end, 5, 1, SPAN, no_look) == (3 * SPAN, expected)
    assert lane_results(end, 5, 1, 3 * SPAN, no_look) == (3 * SPAN, [])


def test_a_frame_that_is_longer_than_its_compressed_batch_is_found_where_it_begins() -> None:
    end = find_end(read_entries(index_of((0, 1, 5000), (1, 1, 10_000), span=5000)), 2 * BATCH, 0, 0)
    assert lane_results(end, 5, 1, 0, no_look) == (10_000, [FrameResult(0, 0, 0), FrameResult(5000, 10, BATCH)])


def test_a_duplicate_among_published_frames_has_no_entry_and_does_not_shift_the_others() -> None:
    end = find_end(read_entries(index_of((0, 1, SPAN), (1, 1, 3 * SPAN))), 2 * BATCH, 0, 0)
    expected = [FrameResult(0, 0, 0), FrameResult(SPAN, None), FrameResult(2 * SPAN, 10, BATCH)]
    assert lane_results(end, 5, 1, 0, lambda pos: SPAN) == (3 * SPAN, expected)


def test_each_of_several_duplicates_in_front_of_a_published_frame_has_a_result() -> None:
    end = find_end(read_entries(index_of((0, 1, 2 * SPAN + 72))), BATCH, 0, 0)
    lengths = {0: SPAN - 3, SPAN: 72}
    expected = [FrameResult(0, None), FrameResult(SPAN, None), FrameResult(SPAN + 72, 0, 0)]
    assert lane_results(end, 5, 1, 0, lengths.__getitem__) == (2 * SPAN + 72, expected)


def test_frames_whose_lengths_make_no_sense_do_not_lead_recovery_astray() -> None:
    end = find_end(read_entries(index_of((0, 1, 1 << 20))), BATCH, 0, 0)
    for nonsense in ([0] * 9, [1] * 9, [0xFFFFFFFF] * 9):
        lane_pos_end, results = lane_results(end, 5, 1, 0, nonsense.__getitem__)
        assert lane_pos_end == 1 << 20
        assert results == [FrameResult((1 << 20) - SPAN, 0, 0)]


def test_entries_of_an_earlier_lane_in_the_same_slot_say_nothing_about_this_one() -> None:
    end = find_end(read_entries(index_of((0, 1, 640))), BATCH, 0, 0)
    assert lane_results(end, 5, 9, 0, no_look) == (0, [])

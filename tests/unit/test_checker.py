"""The checker finds what it is there to find: one forged history per rule, each broken in one way only."""

from __future__ import annotations

import pytest

from shmlog.testing import History, check_history


def honest_history(records: int = 20, *, keys: tuple[bytes, ...] = (b"even", b"odd")) -> History:
    """Producer 0 sends alternately to two keys, which live in partitions 0 and 1; reader 0 reads everything."""
    history = History()
    for sequence in range(records):
        partition, offset = sequence % 2, sequence // 2
        history.intend(0, sequence, keys[partition])
        history.acknowledge(0, sequence, partition, offset)
    for partition in (0, 1):
        for offset in range(records // 2):
            history.read(0, partition, offset, 0, 2 * offset + partition)
    return history


def forge_read(history: History, at: int, *, offset: int | None = None, sequence: int | None = None) -> None:
    if offset is not None:
        history.read_offsets[at] = offset
    if sequence is not None:
        history.read_ids[at] = sequence


def drop_read(history: History, at: int) -> None:
    for column in (history.read_readers, history.read_partitions, history.read_offsets, history.read_ids):
        del column[at]


def broken_rules(history: History) -> dict[str, int]:
    verdict = check_history(history)
    assert verdict.ok == (not verdict.broken)
    for rule in verdict.broken:
        assert any(example.startswith(rule + ":") for example in verdict.examples)
    return verdict.broken


def test_an_honest_history_is_exact() -> None:
    verdict = check_history(honest_history())
    assert verdict.ok
    assert (verdict.attempts, verdict.acks, verdict.reads) == (20, 20, 20)
    assert str(verdict) == "exact: 20 attempts, 20 acknowledged, 20 read"


def test_an_empty_history_is_exact() -> None:
    assert check_history(History()).ok


def test_an_acknowledged_record_that_nobody_read_is_lost() -> None:
    history = honest_history()
    drop_read(history, 9)  # the last of partition 0: no gap, no other trace
    assert broken_rules(history) == {"lost": 1}


def test_nothing_is_lost_as_long_as_reading_goes_on() -> None:
    history = honest_history()
    history.complete = False
    drop_read(history, 9)
    assert check_history(history).ok


def test_an_unacknowledged_record_may_be_absent() -> None:
    history = honest_history()
    history.intend(0, 20, b"even")
    assert check_history(history).ok


def test_an_unacknowledged_record_may_be_present() -> None:
    history = honest_history()
    history.intend(0, 20, b"even")
    history.read(0, 0, 10, 0, 20)
    assert check_history(history).ok


def test_a_record_at_two_offsets_is_duplicated() -> None:
    history = honest_history()
    history.read(0, 0, 10, 0, 18)  # the last record of partition 0 once more: order is kept
    assert broken_rules(history) == {"duplicated": 1}


def test_a_record_delivered_twice_at_one_offset_is_a_position_that_went_back() -> None:
    history = honest_history()
    history.read(0, 1, 9, 0, 19)
    assert broken_rules(history) == {"gaps": 1}


def test_two_records_of_a_key_that_changed_places_are_reordered() -> None:
    history = honest_history()
    history.acknowledged_offsets = type(history.acknowledged_offsets)("q", [-1] * 20)  # acks=0: places were not told
    forge_read(history, 3, sequence=8)
    forge_read(history, 4, sequence=6)
    assert broken_rules(history) == {"reordered": 1}


def test_a_key_in_two_partitions_has_no_order() -> None:
    history = honest_history()
    history.intended_keys[19] = history.key_numbers[b"even"]
    assert broken_rules(history) == {"reordered": 1}


def test_a_skipped_offset_is_a_gap() -> None:
    history = honest_history()
    history.complete = False
    drop_read(history, 4)
    assert broken_rules(history) == {"gaps": 1}


def test_a_partition_that_does_not_begin_at_its_first_offset_has_a_gap() -> None:
    history = honest_history()
    history.complete = False
    drop_read(history, 0)
    assert broken_rules(history) == {"gaps": 1}
    assert check_history(history, first_offset=-1).ok


def test_a_record_read_at_another_place_than_acknowledged_is_misplaced() -> None:
    history = honest_history()
    history.acknowledged_offsets[4] = 40
    assert broken_rules(history) == {"misplaced": 1}


def test_two_records_acknowledged_at_one_place_are_misplaced() -> None:
    history = honest_history()
    history.intend(0, 20, b"even")
    history.complete = False
    history.acknowledge(0, 20, 0, 9)
    assert broken_rules(history) == {"misplaced": 1}


def test_a_record_that_nobody_sent_is_a_phantom() -> None:
    history = honest_history()
    history.read(0, 0, 10, 3, 77)
    assert broken_rules(history) == {"phantom": 1}


def test_a_refused_record_that_is_read_is_a_phantom() -> None:
    history = honest_history()
    history.intend(0, 20, b"even")
    history.refuse(0, 20)
    history.read(0, 0, 10, 0, 20)
    assert broken_rules(history) == {"phantom": 1}


def test_two_readers_with_different_records_at_one_offset_disagree() -> None:
    history = honest_history()
    history.intend(1, 0)
    for offset in range(9):
        history.read(1, 0, offset, 0, 2 * offset)
    history.read(1, 0, 9, 1, 0)
    assert broken_rules(history) == {"disagreeing": 1}


def test_a_producer_or_sequence_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        History().intend(1 << 30, 0)


def test_a_reader_that_stops_before_an_end_that_others_saw_has_left_records_unread() -> None:
    history = honest_history()
    for offset in range(8):
        history.read(1, 0, offset, 0, 2 * offset)
    history.finish(0, 0)
    assert check_history(history).ok  # reader 1 goes on reading
    history.finish(1, 0)
    assert broken_rules(history) == {"unread": 2}


def test_a_reader_that_was_given_nothing_of_a_partition_has_left_all_of_it_unread() -> None:
    history = honest_history()
    history.finish(1, 1)
    assert broken_rules(history) == {"unread": 10}


def test_a_reader_at_the_end_of_an_empty_partition_has_read_everything() -> None:
    history = honest_history()
    history.finish(0, 2)
    assert check_history(history).ok


def test_a_verdict_calls_partitions_and_readers_by_their_names() -> None:
    history = honest_history()
    history.partition_names[0], history.reader_names[0] = "flights-0", "the segments"
    drop_read(history, 4)
    gap = next(example for example in check_history(history).examples if example.startswith("gaps"))
    assert gap == "gaps: the segments of flights-0 was given offset 5, not 4"

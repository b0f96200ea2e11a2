"""What a torture is judged by: notes, records that show every changed byte, segments, the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.cli.torture.judging import judge, log_complaints
from shmlog.cli.torture.records import GARBLED_PRODUCER, Recipe
from shmlog.cli.torture.times import time_complaints
from shmlog.model import TopicPartition
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.testing import History, Verdict, check_history
from shmlog.testing.history import record_id
from shmlog.testing.history_file import ENTRY_BYTES, HistoryFile, load, positions

RECIPE = Recipe.of({"alpha": 1}, 500)
ALPHA = TopicPartition("alpha", 0)
RECORDS = 12


# --- notes ------------------------------------------------------------------------------------------------------------


def test_notes_are_a_history_again(tmp_path: Path) -> None:
    notes = HistoryFile(tmp_path / "notes")
    notes.intend(record_id(3, 0), 3)
    notes.acknowledge(record_id(3, 0), 1, 40)
    notes.refuse(record_id(3, 1))
    notes.read(record_id(3, 0), 1, 40)
    notes.close()
    history = History()
    load(history, tmp_path / "notes", 7, lambda identity: b"even" if identity % 2 == 0 else None)
    assert list(history.intended_ids) == [record_id(3, sequence) for sequence in range(3)]
    assert list(history.intended_keys) == [0, -1, 0]
    assert list(history.acknowledged_offsets) == [40]
    assert list(history.refused_ids) == [record_id(3, 1)]
    assert (list(history.read_readers), list(history.read_partitions)) == ([7], [1])
    assert check_history(history, first_offset=40).ok


def test_an_intent_is_in_the_file_before_anything_is_sent(tmp_path: Path) -> None:
    notes = HistoryFile(tmp_path / "notes")
    notes.intend(5, 1)
    assert (tmp_path / "notes").stat().st_size == ENTRY_BYTES
    notes.close()


def test_what_a_kill_tore_off_is_passed_over_and_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    notes = HistoryFile(file)
    for offset in range(3):
        notes.read(offset, 2, offset)
    notes.close()
    with file.open("r+b") as stream:
        stream.truncate(3 * ENTRY_BYTES - 5)
    assert positions(file) == {2: 2}
    again = HistoryFile(file)
    again.read(2, 2, 2)
    again.close()
    assert positions(file) == {2: 3}


def test_who_has_noted_nothing_has_no_position(tmp_path: Path) -> None:
    assert positions(tmp_path / "nothing") == {}


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_record_is_known_by_every_byte_of_it() -> None:
    recipe = Recipe.of({"alpha": 1, "beta": 2}, 2000)
    for identity in (record_id(0, 0), record_id(4, 123_456)):
        topic, key, value = recipe.topic_of(identity), recipe.key_of(identity), recipe.value_of(identity)
        assert recipe.identify(topic, 9, key, value) == identity
        other = "beta" if topic == "alpha" else "alpha"
        for forged in (
            (topic, key, value + b"x"),
            (topic, key, value[:-1] if len(value) > 8 else b""),
            (topic, key, bytes([value[0] ^ 1]) + value[1:]),
            (topic, b"another key", value),
            (other, key, value),
            (topic, key, None),
        ):
            assert recipe.identify(forged[0], 9, forged[1], forged[2]) == record_id(GARBLED_PRODUCER, 9)


def test_records_are_of_many_sizes_and_keys_and_reach_every_topic() -> None:
    recipe = Recipe.of({"alpha": 1, "beta": 2}, 2000)
    ids = range(record_id(1, 0), record_id(1, 5000))
    sizes = {len(recipe.value_of(one)) for one in ids}
    assert min(sizes) >= 8
    assert 1000 < max(sizes) <= 2000
    assert {recipe.topic_of(one) for one in ids} == {"alpha", "beta"}
    keys = {recipe.key_of(one) for one in ids}
    assert None in keys
    assert len(keys) > 20


# --- the judge --------------------------------------------------------------------------------------------------------


def forged_torture(directory: Path, *, in_segments: int = RECORDS, read: int = RECORDS, garble: int = -1) -> Verdict:
    """Producer 0 had RECORDS records acknowledged; so many are in the segments, and so many did consumer 0 read."""
    histories, log_dir = directory / "histories", directory / "alpha-0"
    histories.mkdir()
    log_dir.mkdir()
    producer, consumer = HistoryFile(histories / "producer-00000"), HistoryFile(histories / "consumer-00000")
    producer.intend(0, RECORDS)
    records = []
    for identity in range(RECORDS):
        producer.acknowledge(identity, 0, identity)
        value = RECIPE.value_of(identity) + (b"!" if identity == garble else b"")
        records.append(NewRecord(value, RECIPE.key_of(identity)))
    for identity in range(read):
        consumer.read(identity, 0, identity)
    producer.close()
    consumer.close()
    (log_dir / f"{0:020d}.log").write_bytes(encode_batch(records[:in_segments], base_offset=0))
    complaints: list[str] = []
    verdict = judge(histories, RECIPE, {ALPHA: str(log_dir)}, complaints)
    assert complaints == []
    return verdict


def test_a_torture_in_which_everything_arrived_is_exact(tmp_path: Path) -> None:
    verdict = forged_torture(tmp_path)
    assert verdict.ok, str(verdict)
    assert (verdict.acks, verdict.reads) == (RECORDS, 2 * RECORDS)


def test_acknowledged_records_in_no_segment_and_unread_are_lost(tmp_path: Path) -> None:
    assert forged_torture(tmp_path, in_segments=10, read=10).broken == {"lost": 2}


def test_records_that_were_read_and_are_in_no_segment_any_more_are_unread_there(tmp_path: Path) -> None:
    verdict = forged_torture(tmp_path, in_segments=10)
    assert verdict.broken == {"unread": 2}
    assert "the reader of segments found the end of alpha-0 at offset 10" in verdict.examples[0]


def test_records_in_the_segments_that_a_consumer_was_not_given_are_unread(tmp_path: Path) -> None:
    assert forged_torture(tmp_path, read=9).broken == {"unread": 3}


def test_a_garbled_record_in_the_segments_is_a_phantom(tmp_path: Path) -> None:
    broken = forged_torture(tmp_path, garble=4).broken
    assert broken["phantom"] == 1
    assert broken["disagreeing"] == 1


def test_segments_that_cannot_be_decoded_are_a_complaint(tmp_path: Path) -> None:
    (tmp_path / f"{0:020d}.log").write_bytes(b"\0" * 100)
    complaints: list[str] = []
    judge(tmp_path, RECIPE, {ALPHA: str(tmp_path)}, complaints)
    assert len(complaints) == 1
    assert "the segments of alpha-0 cannot be decoded" in complaints[0]


# --- the daemon's log -------------------------------------------------------------------------------------------------

DIED = "2026-01-01 10:00:00,000 WARNING alpha-0: owner 41 died"
CAUSE = [
    *("Traceback (most recent call last):", "  File x", "ValueError: y", ""),
    *("The above exception was the direct cause of the following exception:", ""),
]
AWAY = "2026-01-01 10:00:00,000 WARNING the owner of alpha-0 (process 41) does not come back: killing it"
STUCK = "2026-01-01 10:00:00,000 WARNING the owner of alpha-0 does not react: killing it"


@pytest.mark.parametrize(
    ("lines", "killed", "complaints"),
    [
        ([DIED], {41}, 0),
        ([DIED], set(), 1),
        ([STUCK, DIED], set(), 0),
        ([AWAY, DIED], set(), 0),
        ([STUCK, DIED, DIED], set(), 1),
        (["Traceback (most recent call last):", "  File x", "ValueError: y"], set(), 1),
        ([*CAUSE, "Traceback (most recent call last):", "  File z", "OSError: w"], set(), 1),
        (["Traceback (most recent call last):"], set(), 1),
        (["2026-01-01 10:00:00,000 INFO all is well"], set(), 0),
    ],
)
def test_deaths_that_nobody_ordered_and_tracebacks_are_complaints(
    tmp_path: Path, lines: list[str], killed: set[int], complaints: int
) -> None:
    log = tmp_path / "supervisor.log"
    log.write_text("\n".join(lines) + "\n")
    assert len(log_complaints(log, killed)) == complaints


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_record_that_a_search_by_time_passes_over_is_a_complaint(tmp_path: Path) -> None:
    times = [5000, 9000, 2000, 7000, 9500, 1000]
    batches = b"".join(
        encode_batch([NewRecord(b"v", timestamp_ms=time_ms)], base_offset=offset)
        for offset, time_ms in enumerate(times)
    )
    (tmp_path / f"{0:020}.log").write_bytes(batches)
    offsets = range(len(times))
    assert time_complaints(ALPHA, str(tmp_path), offsets, times) == []
    (complaint,) = time_complaints(ALPHA, str(tmp_path), offsets, [5000, 9000, 9400, 7000, 9500, 1000])
    assert complaint == "alpha-0: the first record at or after 9400 ms is at offset 2, and a search by time finds 4"

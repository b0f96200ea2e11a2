"""Compacted segments take the places of those that they were made from: killed anywhere, read at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError, InvalidRequestError, StorageError
from shmlog.log.cold import ColdReader
from shmlog.log.compaction_checkpoint import (
    NEVER_CLEANED,
    CompactionCheckpoint,
    read_compaction_checkpoint,
    write_compaction_checkpoint,
)
from shmlog.log.dump import verify
from shmlog.log.partition_log import PartitionLog
from shmlog.log.scrub import log_flaws, sealed_segments
from shmlog.log.segment import list_base_offsets
from shmlog.log.storage import OsStorage
from shmlog.log.swap import NOTE, CleanedSegments, prepare
from shmlog.log.truncation import truncate
from shmlog.record.header import BatchHeader
from shmlog.testing.known_log import append, look_at_segments, open_log
from shmlog.testing.sparse_log import batches_of, clean, offsets_of
from shmlog.testing.storage import FaultyStorage, Killed

# Six segments of five batches of two offsets each, at 0, 10, .. 50; the last one is active.
SEGMENTS, BATCHES = 6, 5
GROUPS = ((0, 10, 20), (30,), (40,))
KEPT = [0, 6, 12, 18, 24, 28, 30, 36, 38, 42, 48, *range(50, 60, 2)]
LOG_END = 60


def keeps(offset: int) -> bool:
    return offset % 6 == 0


def fill(directory: Path, storage: FaultyStorage | None = None) -> PartitionLog:
    log = open_log(directory, storage=storage)
    for number in range(SEGMENTS):
        if number:
            log.roll(log.log_end_offset)
        append(log, BATCHES)
    log.sync(log.log_end_offset)
    return log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PartitionLog]:
    log = fill(tmp_path / "t-0")
    yield log
    log.close(clean=False)


def cleaned(log: PartitionLog) -> CleanedSegments:
    return clean(OsStorage(), log, GROUPS, keeps)


def read_from(reader: ColdReader, offset: int, max_bytes: int = 200) -> list[int]:
    """Base offsets of what comes when reading on from `offset` to the end."""
    found: list[int] = []
    while chunk := reader.read(offset, max_bytes, LOG_END):
        position = 0
        while position < len(chunk):
            header = BatchHeader.parse(chunk, position)
            found.append(header.base_offset)
            position, offset = position + header.size_bytes, header.next_offset
    return found


def expected_from(offset: int, kept: list[int] = KEPT) -> list[int]:
    return [base for base in kept if base + 1 >= offset]


def test_a_swapped_log_has_what_was_kept_and_goes_on(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    assert list(log.sealed) == [0, 30, 40]
    assert offsets_of(log) == KEPT
    assert read_compaction_checkpoint(OsStorage(), log.directory) == CompactionCheckpoint(50, 50)
    assert [log.sealed.following(base) for base in log.sealed] == [30, 40, 50]
    assert log.size_bytes() == sum(header.size_bytes for header, _ in batches_of(log))
    append(log, 1)
    assert offsets_of(log) == [*KEPT, 60]
    assert look_at_segments(log) == ""


def test_what_an_earlier_cleaning_left_goes_with_the_swap(log: PartitionLog) -> None:
    left = Path(log.directory, f"{30:020d}.log.6.cleaned")
    left.write_bytes(b"half a batch")
    log.swap(cleaned(log), now_ms=0)
    assert not left.exists()


def test_what_is_cut_off_was_never_compacted(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    log.close(clean=True)
    truncate(OsStorage(), log.directory, 36)
    assert read_compaction_checkpoint(OsStorage(), log.directory) == CompactionCheckpoint(36, 50)


def test_what_an_opening_cuts_off_was_never_compacted(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    log.close(clean=False)
    Path(log.directory, "recovery-point").unlink()
    with Path(log.directory, f"{30:020d}.log").open("r+b") as file:
        file.truncate(10)
    again = open_log(Path(log.directory))
    assert again.log_end_offset == 30
    assert read_compaction_checkpoint(OsStorage(), log.directory) == CompactionCheckpoint(30, 50)
    again.close(clean=False)


def test_a_reader_finds_the_next_record_that_is_there_from_every_offset(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    for offset in range(LOG_END):
        assert read_from(ColdReader(log.directory), offset) == expected_from(offset), offset


@pytest.mark.parametrize("clean_close", [True, False])
def test_a_compacted_log_opens_as_it_was_closed(log: PartitionLog, tmp_path: Path, clean_close: bool) -> None:
    log.swap(cleaned(log), now_ms=0)
    log.close(clean=clean_close)
    for path in Path(log.directory).glob("recovery-point"):
        path.unlink()  # so that every byte is looked at
    again = open_log(Path(log.directory))
    assert offsets_of(again) == KEPT
    assert (again.log_end_offset, again.damaged, look_at_segments(again)) == (LOG_END, False, "")
    again.close(clean=True)
    for path in tmp_path.glob("t-0/0*.*"):
        if not path.name.endswith((".deleted", ".snapshot")):
            assert verify(str(path)).sound, path


def test_segments_may_end_with_a_hole(log: PartitionLog) -> None:
    kept = [base for base in KEPT if base not in (28, 38)]
    log.swap(clean(OsStorage(), log, GROUPS, keeps, keeps_ends=False), now_ms=0)
    assert offsets_of(log) == kept
    for offset in range(LOG_END):
        assert read_from(ColdReader(log.directory), offset) == expected_from(offset, kept), offset
    log.close(clean=False)
    Path(log.directory, "recovery-point").unlink()
    again = open_log(Path(log.directory))
    assert (offsets_of(again), again.damaged, look_at_segments(again)) == (kept, False, "")
    again.close(clean=True)


def test_a_scrub_finds_nothing_in_a_compacted_log_and_a_hole_where_none_may_be(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    storage = OsStorage()

    def flaws() -> list[int]:
        segments = sealed_segments(log.directory, list_base_offsets(storage, log.directory))
        return [flaw.first_offset for one in segments for flaw in log_flaws(storage, one, lambda _: None)]

    assert flaws() == []
    write_compaction_checkpoint(storage, log.directory, CompactionCheckpoint(20, 20))
    assert flaws() == [20, 26, 32, 40, 44]


def test_holes_are_damage_from_the_dense_offset_on(log: PartitionLog) -> None:
    log.swap(cleaned(log), now_ms=0)
    write_compaction_checkpoint(OsStorage(), log.directory, CompactionCheckpoint(20, 20))
    with pytest.raises(CorruptRecordError, match="offset 20"):
        offsets_of(log)
    with pytest.raises(CorruptRecordError, match="offset 21 is nowhere before it"):
        read_from(ColdReader(log.directory), 21)


def test_a_log_rolls_behind_its_end_only_over_a_hole_that_may_be(log: PartitionLog) -> None:
    with pytest.raises(InvalidRequestError, match="the log ends at offset 60, not at 64"):
        log.roll(64)
    write_compaction_checkpoint(OsStorage(), log.directory, CompactionCheckpoint(0, 64))
    log.roll(64)
    append(log, 1)
    assert offsets_of(log)[-2:] == [58, 64]


# --- what is refused --------------------------------------------------------------------------------------------------


def drop_the_oldest(log: PartitionLog) -> None:
    log.delete_segments([0], now_ms=0)


def lose_a_file(log: PartitionLog) -> None:
    Path(log.directory, f"{30:020d}.index.7.cleaned").unlink()


def grow_a_segment(log: PartitionLog) -> None:
    with Path(log.directory, f"{40:020d}.log").open("ab") as file:
        file.write(b"x")


def shorten_what_was_cleaned(log: PartitionLog) -> None:
    with Path(log.directory, f"{0:020d}.log.7.cleaned").open("ab") as file:
        file.truncate(10)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_the_oldest, "no segments 0, 10, 20 in a row"),
        (lose_a_file, "was opened again meanwhile"),
        (grow_a_segment, "when they were cleaned"),
        (shorten_what_was_cleaned, "has 10 bytes, not"),
    ],
)
def test_a_log_that_is_not_what_was_cleaned_stays_as_it_is(
    log: PartitionLog, change: Callable[[PartitionLog], None], said: str
) -> None:
    made = cleaned(log)
    change(log)
    before = list(log.sealed)
    with pytest.raises(StorageError, match=said):
        log.swap(made, now_ms=0)
    assert list(log.sealed) == before
    assert read_compaction_checkpoint(OsStorage(), log.directory) == NEVER_CLEANED


def test_what_is_not_synced_is_not_replaced(tmp_path: Path) -> None:
    log = open_log(tmp_path / "t-0")
    append(log, 5)
    log.roll(10)
    append(log, 1)
    with pytest.raises(StorageError, match="what can be replaced ends at 0"):
        log.swap(clean(OsStorage(), log, ((0,),), keeps), now_ms=0)
    log.close(clean=False)


# --- killed, and read in between --------------------------------------------------------------------------------------


def test_a_swap_that_is_killed_at_any_call_did_not_happen_or_is_finished(tmp_path: Path) -> None:
    directory, outcomes = tmp_path / "t-0", []
    for calls in range(200):
        shutil.rmtree(directory, ignore_errors=True)
        storage = FaultyStorage()
        log = fill(directory, storage)
        made, everything = clean(storage, log, GROUPS, keeps), offsets_of(log)
        storage.calls_left = calls
        try:
            log.swap(made, now_ms=0)
            is_done = True
        except Killed:
            is_done = False
        storage.calls_left = None
        storage.close_all()
        for killed_again in range(200):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(directory, copy)
            again = FaultyStorage(calls_left=killed_again)
            try:
                open_log(copy, storage=again).close(clean=False)
                break
            except Killed:
                again.close_all()
                found = open_log(copy)
                assert offsets_of(found) in (everything, KEPT), (calls, killed_again)
                assert not found.damaged
                found.close(clean=False)
                if calls % 12:  # some of them are enough to be killed twice everywhere
                    break
        found = open_log(directory)
        outcomes.append(offsets_of(found) == KEPT)
        assert offsets_of(found) in (everything, KEPT)
        assert look_at_segments(found).replace(found.recovered, "") == "", found.recovered
        assert not found.damaged
        append(found, 1)
        found.close(clean=True)
        assert not list(directory.glob("*.cleaned"))
        if is_done:
            break
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)
    assert len(outcomes) > 20


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda note: b"", id="empty"),
        pytest.param(lambda note: note[:-3], id="cut"),
        pytest.param(lambda note: b"1" + note[1:], id="of another version"),
        pytest.param(lambda note: note.replace(b"3 0", b"x 0"), id="no number"),
        pytest.param(lambda note: note + b"5\n", id="too long"),
    ],
)
def test_a_swap_whose_note_is_damaged_is_not_forgotten(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    directory = tmp_path / "t-0"
    log = fill(directory)
    prepare(OsStorage(), str(directory), cleaned(log))
    log.close(clean=False)
    note = directory / NOTE
    whole = note.read_bytes()
    note.write_bytes(spoil(whole))
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(CorruptRecordError, match="compaction-swap is damaged"):
        open_log(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    note.write_bytes(whole)
    again = open_log(directory)
    assert offsets_of(again) == KEPT
    again.close(clean=False)


def test_a_reader_loses_nothing_whenever_segments_are_swapped_under_it(tmp_path: Path) -> None:
    """Fresh ones, ones that know the old listing, and ones that stand inside each of the old files."""
    directory, is_done = tmp_path / "t-0", False
    for calls in range(200):
        shutil.rmtree(directory, ignore_errors=True)
        storage = FaultyStorage()
        log = fill(directory, storage)
        made, everything = cleaned(log), offsets_of(log)
        standing = [reader_at(directory, offset, has_read) for offset in range(4, LOG_END, 8) for has_read in (0, 1)]
        storage.calls_left = calls
        try:
            log.swap(made, now_ms=0)
            is_done = True
        except Killed:
            pass
        fresh: list[tuple[ColdReader, int, list[int]]] = [
            (ColdReader(str(directory)), offset, []) for offset in range(0, LOG_END, 7)
        ]
        for reader, offset, seen in [*standing, *fresh]:
            found = seen + read_from(reader, offset + 2 if seen else offset)
            assert found == sorted(set(found)), (calls, offset)
            assert set(expected_from(offset)) <= set(found) <= set(everything), (calls, offset, found)
            reader.close()
        storage.calls_left = None
        storage.close_all()
        if is_done:
            break
    assert is_done
    assert calls > 20


def reader_at(directory: Path, offset: int, has_read: int) -> tuple[ColdReader, int, list[int]]:
    """One that knows the listing of now, and stands behind the batch at `offset` if it `has_read`."""
    reader = ColdReader(str(directory))
    reader.earliest()
    if has_read:
        assert reader.read(offset, 1, LOG_END)
    return reader, offset, [offset] if has_read else []

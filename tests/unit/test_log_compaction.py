"""Compaction of a log's files, by example: what stays, what is written, and what happens when it goes wrong."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError, StorageError
from shmlog.log.compaction import clean
from shmlog.log.compaction_checkpoint import CompactionCheckpoint, write_compaction_checkpoint
from shmlog.log.listing import look, sweep
from shmlog.log.segment import SUFFIXES
from shmlog.log.snapshot import ProducerEntry, write_snapshot
from shmlog.log.storage import OsStorage
from shmlog.record import layout
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.testing.compacted_log import ALWAYS, CompactedLog
from shmlog.testing.storage import Failure, FaultyStorage

NOW_MS = 1_800_000_000_000
HORIZON_MS = NOW_MS + ALWAYS.delete_retention_ms
KEYS = tuple(b"key %d" % number for number in range(6))


def record(key: bytes | None, value: bytes | None = b"value") -> NewRecord:
    return NewRecord(value, key, NOW_MS - 5000)


def batch(base_offset: int, *keys: bytes, **fields: int) -> bytes:
    return encode_batch([record(key, b"%d" % base_offset) for key in keys], base_offset=base_offset, **fields)  # type: ignore[arg-type]  # as they are


@pytest.fixture
def log(tmp_path: Path) -> CompactedLog:
    return CompactedLog(tmp_path)


# --- by example -------------------------------------------------------------------------------------------------------


def test_of_each_key_the_newest_record_stays_with_its_offset(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a", b"b"), batch(2, b"a")], [batch(3, b"c"), batch(4, b"b", b"b")]])
    write_snapshot(log.storage, str(log.directory), 6, [], [])
    (done,) = log.compact(NOW_MS)
    assert [(one.offset, one.key) for one in log.records()] == [(2, b"a"), (3, b"c"), (5, b"b")]
    assert log.bases == [0, 6], "two segments became one, and the active one is as it was"
    assert log.checkpoint == CompactionCheckpoint(6, 6, 0)
    (group,) = done.segments.groups
    assert (group.base_offsets, group.size_bytes) == ((0, 3), len(log.segment_bytes(0)))
    assert (done.keys, done.records_read, done.records_kept, done.is_complete) == (3, 6, 3, True)
    assert done.bytes_read == 2 * sum(group.sizes_bytes), "once for the map, once for the copy"
    assert done.bytes_written == group.size_bytes


def test_a_log_that_is_clean_is_left_alone(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a", b"b", b"a")], [batch(3, b"c")]])
    log.compact(NOW_MS)
    before = log.files()
    assert log.compact(NOW_MS) == []
    write_compaction_checkpoint(log.storage, str(log.directory), CompactionCheckpoint(0, 4))
    decision = log.decide(NOW_MS)
    assert decision is not None
    assert log.clean(decision, NOW_MS).segments.groups == (), "what comes out as it was is not to be put in place"
    (log.directory / f"cleaning.{log.cleanings}.cleaned").unlink()
    write_compaction_checkpoint(log.storage, str(log.directory), CompactionCheckpoint(4, 4))
    assert log.files() == before


def test_segments_of_which_all_stays_still_become_one(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a")], [batch(1, b"b")], [batch(2, b"c")]])
    before = b"".join(log.segment_bytes(base) for base in log.bases)
    log.compact(NOW_MS)
    assert log.bases == [0, 3]
    assert log.segment_bytes(0) == before


def test_what_is_behind_a_full_map_waits_for_the_next_cleaning(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a", b"b")], [batch(2, b"c")], [batch(3, b"a")]])
    first, second = log.compact(NOW_MS, keys_max=2)
    assert (first.is_complete, first.segments.first_dirty_offset, first.segments.groups) == (False, 2, ())
    assert second.is_complete
    assert [(one.offset, one.key) for one in log.records()] == [(1, b"b"), (2, b"c"), (3, b"a")]


def test_what_is_clean_is_read_once_and_what_is_dirty_twice(log: CompactedLog) -> None:
    log.config = replace(log.config, segment_bytes=1)
    log.write_all([[batch(0, b"a", b"b")], [batch(2, b"a")]])
    write_snapshot(log.storage, str(log.directory), 5, [], [])
    write_compaction_checkpoint(log.storage, str(log.directory), CompactionCheckpoint(2, 2))
    (done,) = log.compact(NOW_MS)
    assert done.bytes_read == sum(done.segments.groups[0].sizes_bytes) + 2 * len(log.segment_bytes(2))


def test_a_log_that_was_cleaned_further_than_may_be_now_stays_as_clean_as_it_was(log: CompactedLog) -> None:
    log.config = replace(log.config, segment_bytes=1)
    log.write_all([[encode_batch([record(b"a", None), record(b"b")], base_offset=0)], [batch(2, b"c")]])
    log.compact(NOW_MS)
    decision = log.decide(HORIZON_MS, uncleanable_offset=3)
    assert decision is not None
    assert log.clean(replace(decision, end_offset=2, groups=((0,),)), HORIZON_MS).segments.first_dirty_offset == 3


def test_only_cleaned_files_are_written_until_somebody_puts_them_in_place(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a")], [batch(1, b"a")]])
    before = log.files()
    decision = log.decide(NOW_MS)
    assert decision is not None
    done = log.clean(decision, NOW_MS)
    after = log.files()
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == [
        *(f"{0:020d}{suffix}.1.cleaned" for suffix in (".index", ".log", ".timeindex")),
        "cleaning.1.cleaned",
    ]
    again = log.clean(decision, NOW_MS)
    assert again == replace(done, segments=replace(done.segments, cleaning=2)), "nor what a cleaning before left"


def test_the_last_offset_of_what_was_cleaned_stays_known(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a"), encode_batch([record(None)], base_offset=1)]])
    log.compact(NOW_MS)
    assert [(header.base_offset, header.record_count) for header, _ in log.batches()] == [(0, 1), (1, 0)]


def test_no_segment_comes_out_without_a_batch(log: CompactedLog) -> None:
    """The first one cannot be joined with the second: it has the last of its batches, without records."""
    log.config = replace(log.config, segment_bytes=1)
    log.write_all([[batch(0, b"a"), batch(1, b"a")], [batch(2, b"a")]])
    log.compact(NOW_MS)
    assert [(header.base_offset, header.record_count) for header, _ in log.batches()] == [(1, 0), (2, 1)]
    assert log.bases == [0, 2, 3]
    log.config = replace(log.config, segment_bytes=10**6)
    log.write(3, [batch(3, b"b")])
    log.write(4, [])
    log.compact(NOW_MS)
    assert [(header.base_offset, header.record_count) for header, _ in log.batches()] == [(2, 1), (3, 1)]


def test_a_producers_last_batch_stays_as_long_as_the_partition_remembers_the_producer(log: CompactedLog) -> None:
    producers = {"producer_epoch": 0, "base_sequence": 0}
    log.write_all(
        [[batch(0, b"a", producer_id=1, **producers), batch(1, b"a", producer_id=2, **producers)], [batch(2, b"a")]]
    )
    known = [ProducerEntry(2, 0, 0, 1, 0, 0), ProducerEntry(3, 0, -1, -1, 0, 0)]
    write_snapshot(OsStorage(), str(log.directory), 3, known, [])
    log.compact(NOW_MS)
    assert [(header.producer_id, header.record_count) for header, _ in log.batches()] == [(2, 0), (-1, 1)]


@pytest.mark.parametrize(("taken_at", "known", "kept"), [(1, [1], [1, 2]), (0, [], [1, 2]), (1, [], [2])])
def test_producers_that_no_snapshot_knows_are_found_in_the_log(
    log: CompactedLog, taken_at: int, known: list[int], kept: list[int]
) -> None:
    """Also where a snapshot is older than what is cleaned, and where it is damaged; but not those that it forgot."""
    producers = {"producer_epoch": 0, "base_sequence": 0}
    log.write_all(
        [
            [batch(0, b"a", producer_id=1, **producers), batch(1, b"a", producer_id=2, codec=1, **producers)],
            [batch(2, b"a", producer_id=2, **producers), batch(3, b"a")],
        ]
    )
    write_snapshot(
        OsStorage(), str(log.directory), taken_at, [ProducerEntry(number, 0, 0, 0, 0, 0) for number in known], []
    )
    (log.directory / f"{4:020d}.snapshot").write_bytes(b"damaged")
    log.compact(NOW_MS)
    assert [header.producer_id for header, _ in log.batches()] == [*kept, -1]


def test_a_tombstone_goes_when_its_time_has_passed_although_nothing_new_came(log: CompactedLog) -> None:
    log.write_all([[batch(0, b"a", b"b")], [encode_batch([record(b"a", None), record(b"c")], base_offset=2)]])
    log.compact(NOW_MS)
    assert [one.value for one in log.records()] == [b"0", None, b"value"]
    assert log.checkpoint.delete_horizon_ms == HORIZON_MS
    assert log.compact(HORIZON_MS - 1) == []
    (done,) = log.compact(HORIZON_MS)
    assert done.tombstones_dropped == 1
    assert [one.key for one in log.records()] == [b"b", b"c"]
    assert log.checkpoint == CompactionCheckpoint(4, 4, 0)
    assert log.compact(HORIZON_MS * 2) == []


def test_a_batch_larger_than_a_chunk_is_cleaned_like_any_other(log: CompactedLog) -> None:
    large = [NewRecord(bytes(3 << 20), b"a"), record(b"b"), NewRecord(bytes(1 << 21), b"a")]
    log.write_all([[batch(0, b"b"), encode_batch(large, base_offset=1), batch(4, b"c")]])
    log.compact(NOW_MS)
    assert [(one.offset, one.key, len(one.value or b"")) for one in log.records()] == [
        (2, b"b", 5),
        (3, b"a", 1 << 21),
        (4, b"c", 1),
    ]


def test_what_is_kept_of_a_compressed_batch_is_compressed_again(log: CompactedLog) -> None:
    for codec in range(1, 5):
        log.directory = log.directory / layout.CODEC_NAMES[codec]
        log.directory.mkdir()
        whole, part, gone = batch(0, b"a", codec=codec), batch(1, b"b", b"c", codec=codec), batch(3, b"b", codec=codec)
        log.write_all([[whole, part, gone], [batch(4, b"b")]])
        log.compact(NOW_MS)
        (_, kept), (header, _), _ = log.batches()
        assert kept == whole, "all of it stays, so not a byte changes"
        assert (header.codec, header.base_offset, header.record_count) == (layout.CODEC_NAMES[codec], 1, 1)
        assert [(one.offset, one.key) for one in log.records()] == [(0, b"a"), (2, b"c"), (4, b"b")]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def spoil(log: CompactedLog, base_offset: int, at: int) -> None:
    path = log.directory / f"{base_offset:020d}.log"
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("codec", [0, 1])
@pytest.mark.parametrize("base_offset", [0, 2])
def test_a_log_with_a_damaged_batch_stays_as_it_is(log: CompactedLog, base_offset: int, codec: int) -> None:
    log.write_all([[batch(0, b"a", codec=codec), batch(1, b"a", codec=codec)], [batch(2, b"b", codec=codec)]])
    write_compaction_checkpoint(OsStorage(), str(log.directory), CompactionCheckpoint(2, 2))
    spoil(log, base_offset, -1)
    before = log.files()
    decision = log.decide(NOW_MS)
    assert decision is not None
    with pytest.raises(
        CorruptRecordError, match=rf"{base_offset:020d}.log: the batch at offset {base_offset or 1} \(byte"
    ):
        log.clean(decision, NOW_MS)
    assert log.files() == before


def test_memory_is_the_callers_again_after_an_error_too(log: CompactedLog) -> None:
    """A mapping is closed while the error is on its way, whose traceback knows all that there was."""
    log.write_all([[batch(0, b"a")]])
    spoil(log, 0, -1)
    decision = log.decide(NOW_MS)
    assert decision is not None
    with pytest.raises(CorruptRecordError), mmap.mmap(-1, 4096) as pages, memoryview(pages) as memory:
        clean(log.storage, str(log.directory), decision, memory, cleaning=1, now_ms=NOW_MS)


@pytest.mark.parametrize("dense_from", [0, 4, 5])
def test_a_hole_that_compaction_did_not_leave_is_damage_between_segments_too(
    log: CompactedLog, dense_from: int
) -> None:
    end = log.write(0, [batch(0, b"a"), batch(1, b"b")])
    log.write(end + 3, [batch(end + 3, b"a")])
    log.write(end + 4, [])
    write_compaction_checkpoint(OsStorage(), str(log.directory), CompactionCheckpoint(0, dense_from))
    if dense_from == 5:
        log.compact(NOW_MS)
        assert [one.offset for one in log.records()] == [1, 5]
    else:
        with pytest.raises(CorruptRecordError, match="ends at offset 2, and the next file begins at 5"):
            log.compact(NOW_MS)


@pytest.mark.parametrize("missing", [1, 30, 69])
def test_a_segment_that_ends_inside_a_batch_is_refused(log: CompactedLog, missing: int) -> None:
    log.write_all([[batch(0, b"a"), batch(1, b"b")]])
    path = log.directory / f"{0:020d}.log"
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(CorruptRecordError, match=r"offset 1 \(byte \d+\) is not sound: the file ends inside it"):
        log.compact(NOW_MS)


def test_a_batch_with_more_keys_than_there_is_memory_for_is_refused_and_says_what_to_do(log: CompactedLog) -> None:
    log.write_all([[batch(0, *KEYS)]])
    with pytest.raises(StorageError, match=r"at offset 0, has more keys than the 3 .* at 24 bytes each: give it more"):
        log.compact(NOW_MS, keys_max=3)


class TooMuchError(Exception):
    """Raised by a budget."""


@pytest.mark.parametrize("calls", range(6))
def test_a_cleaning_that_is_broken_off_leaves_nothing(log: CompactedLog, calls: int) -> None:
    log.config = replace(log.config, segment_bytes=1)
    log.write_all([[batch(0, b"a")], [batch(1, b"a")]])
    before, told = log.files(), []

    def budget(read: int, written: int) -> None:
        told.append((read, written))
        if len(told) > calls:
            raise TooMuchError

    decision = log.decide(NOW_MS)
    assert decision is not None
    with pytest.raises(TooMuchError):
        log.clean(decision, NOW_MS, budget=budget)
    assert log.files() == before


@pytest.mark.parametrize("operation", ["create", "fdatasync"])
@pytest.mark.parametrize("name", [f"{base:020d}{suffix}.1.cleaned" for base in (0, 2) for suffix in SUFFIXES])
def test_a_disk_that_refuses_leaves_the_log_as_it_was_and_nothing_open(
    tmp_path: Path, operation: str, name: str
) -> None:
    storage = FaultyStorage()
    log = CompactedLog(tmp_path, replace(ALWAYS, segment_bytes=1), storage)
    log.write_all([[batch(0, b"a"), batch(1, b"a")], [batch(2, b"a", b"b", b"a")]])
    before, decision = log.files(), log.decide(NOW_MS)
    assert decision is not None
    storage.failures = [Failure(operation, name)]
    with pytest.raises(OSError, match="cleaned"):
        log.clean(decision, NOW_MS)
    assert log.files() == before
    assert not storage.opened


# --- a log that is cut meanwhile --------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_duplicates", [True, False])
def test_what_was_cleaned_of_a_log_that_was_opened_meanwhile_is_refused(
    log: CompactedLog, has_duplicates: bool
) -> None:
    """Between the two passes, when no file of a segment is there yet; or where no segment changes at all."""
    log.write_all([[batch(0, b"a"), batch(1, b"b")], [batch(2, b"c"), batch(3, b"a" if has_duplicates else b"d")]])
    opened: list[list[int]] = []

    def open_again(read: int, written: int) -> None:
        if not opened:
            listing = look(log.storage, str(log.directory))
            sweep(log.storage, str(log.directory), listing)  # as every opening does
            opened.append(listing.base_offsets)

    decision = log.decide(NOW_MS)
    assert decision is not None
    made = log.clean(decision, NOW_MS, budget=open_again)
    assert opened
    before = log.segment_files()
    with pytest.raises(StorageError, match="opened again meanwhile"):
        log.put_in_place(made)
    assert log.checkpoint.first_dirty_offset == 0
    assert {name: data for name, data in before.items() if ".cleaned" not in name} == log.segment_files()
    assert not list(log.directory.glob("*.cleaned"))

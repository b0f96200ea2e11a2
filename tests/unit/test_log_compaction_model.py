"""Any log, cleaned in any number of steps, against a model of a few lines; read by a decoder that is not ours."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from shmlog.log.compaction_checkpoint import CompactionCheckpoint, write_compaction_checkpoint
from shmlog.log.dump import dump_time_index, verify
from shmlog.record import layout
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.record.control import Marker, MarkerType, encode_marker
from shmlog.record.header import BatchHeader
from shmlog.testing.compacted_log import ALWAYS, CompactedLog
from shmlog.testing.segments import StoredRecord
from shmlog.testing.storage import FaultyStorage

NOW_MS = 1_800_000_000_000
HORIZON_MS = NOW_MS + ALWAYS.delete_retention_ms
KEYS = tuple(b"key %d" % number for number in range(16))


@dataclass
class History:
    """A log as it was written, and what the model says of it."""

    segments: list[list[bytes]] = field(default_factory=list)
    records: list[tuple[StoredRecord, bool]] = field(default_factory=list)
    """With whether it was written in a transaction."""
    producer_ends: dict[int, int] = field(default_factory=dict)
    end: int = 0

    def survivors(self, end: int, *, with_tombstones: bool = True) -> list[StoredRecord]:
        """What has to be left when everything before `end` is clean."""
        newest = {
            one.key: one.offset for one, is_transactional in self.records if not is_transactional and one.offset < end
        }
        return [
            one
            for one, is_transactional in self.records
            if one.offset >= end
            or (
                one.key is not None
                and newest.get(one.key, -1) <= one.offset
                and (one.value is not None or is_transactional or with_tombstones)
            )
        ]


RECORDS = st.lists(
    st.builds(
        NewRecord,
        st.none() | st.binary(max_size=20),
        st.sampled_from([None, *KEYS, *KEYS]),
        st.integers(NOW_MS - 100, NOW_MS),
        st.just(()) | st.just((("h", b"x"), ("g", None))),
    ),
    min_size=1,
    max_size=8,
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History()
    sequences: dict[int, int] = {}
    for _ in range(draw(st.integers(1, 4))):
        history.segments.append([])
        for _ in range(draw(st.integers(1, 5))):
            base = history.end
            producer = draw(st.sampled_from([-1, -1, 1, 2, 3]))
            kind = draw(st.sampled_from(["plain"] * 8 + ["transactional", "marker"])) if producer > 0 else "plain"
            if kind == "marker":
                marker = Marker(draw(st.sampled_from(MarkerType)), 0)
                encoded = encode_marker(
                    marker, base_offset=base, producer_id=producer, producer_epoch=0, timestamp_ms=NOW_MS
                )
            else:
                records = draw(RECORDS)
                append_time = draw(st.none() | st.just(NOW_MS + 7))
                encoded = encode_batch(
                    records,
                    base_offset=base,
                    producer_id=producer,
                    producer_epoch=0 if producer > 0 else -1,
                    base_sequence=sequences.get(producer, 0) if producer > 0 else -1,
                    leader_epoch=draw(st.integers(0, 3)),
                    codec=draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4])),
                    log_append_time_ms=append_time,
                    transactional=kind == "transactional",
                )
                sequences[producer] = sequences.get(producer, 0) + len(records)
                for number, one in enumerate(records):
                    at_ms = one.timestamp_ms if append_time is None else append_time
                    stored = StoredRecord(base + number, at_ms, one.key, one.value, one.headers)
                    history.records.append((stored, kind == "transactional"))
                if producer > 0:
                    history.producer_ends[producer] = base + len(records) - 1
            history.segments[-1].append(encoded)
            history.end = BatchHeader.parse(encoded).next_offset
    return history


def in_place(log: CompactedLog, history: History) -> None:
    """Whatever was cleaned: each batch is what is left of one that was written, and the files are sound."""
    written = {
        header.base_offset: header
        for segment in history.segments
        for header in (BatchHeader.parse(one) for one in segment)
    }
    there = [header for header, _ in log.batches()]
    for header in there:
        before = written[header.base_offset]
        assert header.last_offset == before.last_offset
        assert (header.producer_id, header.producer_epoch) == (before.producer_id, before.producer_epoch)
        assert (header.base_sequence, header.leader_epoch) == (before.base_sequence, before.leader_epoch)
        kept_bits = layout.TRANSACTIONAL | layout.CONTROL | layout.LOG_APPEND_TIME
        kept_bits |= layout.CODEC_MASK if header.record_count else 0
        assert header.attributes & kept_bits == before.attributes & kept_bits
    ends = {(header.producer_id, header.last_offset) for header in there}
    assert set(history.producer_ends.items()) <= ends, "the last batch of each producer says its last sequence"
    assert there[-1].next_offset == history.end, "the last offset is known"
    for base in log.bases[:-1]:
        assert log.segment_bytes(base)
        times = [
            header.max_timestamp_ms for header, _ in log.batches() if base <= header.base_offset < log.end_of(base)
        ]
        assert dump_time_index(str(log.directory / f"{base:020d}.timeindex"))[-1].timestamp_ms == max(times)
    for name in log.segment_files():
        verdict = verify(str(log.directory / name))
        assert verdict.sound, verdict.summary


def cleaned_as_the_model_says(history: History, keys_max: int, segment_bytes: int) -> None:
    with tempfile.TemporaryDirectory(prefix="compaction-") as directory:
        log = CompactedLog(Path(directory), replace(ALWAYS, segment_bytes=segment_bytes), FaultyStorage())
        log.write_all(history.segments)
        passes = 0
        while decision := log.decide(NOW_MS):
            passes += 1
            done = log.clean(decision, NOW_MS, keys_max)
            assert done.is_complete == (done.segments.first_dirty_offset == history.end)
            log.put_in_place(done)
            left = log.records()
            clean = history.survivors(done.segments.first_dirty_offset)
            gone = [one for one in clean if one not in left]
            assert left == [one for one in clean if one not in gone], f"after pass {passes}"
            assert not gone or not done.is_complete
            assert not {one.offset for one in gone} & {one.offset for one in history.survivors(history.end)}, (
                "what goes early, because the map had some of the batch that it had no room for, is out of date"
            )
            in_place(log, history)
        assert log.checkpoint.first_dirty_offset == log.checkpoint.dense_from_offset == history.end
        tombstones = {one.offset for one in history.survivors(history.end) if one.value is None}
        going = tombstones - {one.offset for one in history.survivors(history.end, with_tombstones=False)}
        assert log.checkpoint.delete_horizon_ms == (HORIZON_MS if going else 0)
        log.compact(HORIZON_MS)
        assert log.records() == history.survivors(history.end, with_tombstones=False)
        in_place(log, history)
        assert log.compact(HORIZON_MS) == []


PASSES = (histories(), st.integers(8, 16), st.sampled_from([1, 400, 10**6]))


@settings(max_examples=30)
@given(*PASSES)
def test_any_log_is_cleaned_to_what_the_model_says_in_however_many_passes(
    history: History, keys_max: int, segment_bytes: int
) -> None:
    cleaned_as_the_model_says(history, keys_max, segment_bytes)


@pytest.mark.long
@settings(max_examples=3000)
@given(*PASSES)
def test_many_logs_are_cleaned_to_what_the_model_says(history: History, keys_max: int, segment_bytes: int) -> None:
    cleaned_as_the_model_says(history, keys_max, segment_bytes)


@settings(max_examples=20)
@given(histories(), st.data())
def test_a_log_that_grows_between_cleanings_is_cleaned_to_what_the_model_says(
    history: History, data: st.DataObject
) -> None:
    """Segment by segment, now and then broken off after some of the groups were put in place."""
    with tempfile.TemporaryDirectory(prefix="compaction-") as directory:
        config = replace(ALWAYS, segment_bytes=data.draw(st.sampled_from([1, 500])))
        log = CompactedLog(Path(directory), config, FaultyStorage())
        end = 0
        for segment in history.segments:
            (log.directory / f"{end:020d}.log").unlink(missing_ok=True)
            end = log.write(end, segment)
            log.write(end, [])
            decision = log.decide(NOW_MS) if data.draw(st.booleans()) else None
            if decision is not None:
                done = log.clean(decision, NOW_MS)
                groups = done.segments.groups[: data.draw(st.integers(0, len(done.segments.groups)))]
                if len(groups) < len(done.segments.groups):
                    kept = replace(done.segments, groups=groups)
                    log.put_in_place(replace(done, segments=kept))
                    write_compaction_checkpoint(
                        log.storage, directory, CompactionCheckpoint(decision.first_dirty_offset, end)
                    )
                else:
                    log.put_in_place(done)
        log.compact(NOW_MS)
        assert log.records() == history.survivors(end)
        log.compact(HORIZON_MS)
        assert log.records() == history.survivors(end, with_tombstones=False)

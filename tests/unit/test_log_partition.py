"""The partition log in the hands of its owner: rolling, syncing, dropping segments, closing."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from functools import partial
from pathlib import Path

import pytest

from shmlog.errors import ForeignVersionError, InvalidRequestError, StorageError
from shmlog.limits import INDEX_BYTES_MAX
from shmlog.log.checkpoint import EpochStart
from shmlog.log.dump import verify
from shmlog.log.partition_log import RECOVERY_POINT_STRIDE_BYTES, PartitionLog
from shmlog.log.snapshot import ProducerEntry, encode_snapshot
from shmlog.log.storage import OsStorage
from shmlog.native.segment import SegmentWriter
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.storage import Failure, FaultyStorage

TOPIC_ID = "A" * 22
CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), segment_bytes=2000, segment_ms=60_000)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-0"


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage()


def open_log(directory: Path, storage: FaultyStorage, config: TopicConfig = CONFIG) -> PartitionLog:
    return PartitionLog.open(str(directory), config, topic_id=TOPIC_ID, storage=storage)


def append(
    log: PartitionLog,
    batches: int = 1,
    *,
    value_bytes: int = 100,
    timestamp_ms: int = 0,
    producer: tuple[int, int, int] = (-1, -1, -1),
) -> None:
    """Batches of one record each; `producer` is id, epoch and base sequence."""
    producer_id, producer_epoch, base_sequence = producer
    for _ in range(batches):
        batch = encode_batch(
            [NewRecord(b"v" * value_bytes, timestamp_ms=timestamp_ms)],
            base_offset=log.log_end_offset,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
        )
        log.append(batch)


def three_segments(directory: Path, storage: FaultyStorage) -> PartitionLog:
    """Offsets 0-2, 3-5 and, active, 6-8."""
    log = open_log(directory, storage)
    for segment in range(3):
        append(log, 3, timestamp_ms=1000 * (segment + 1))
        if segment < 2:
            log.roll(log.log_end_offset)
    return log


def names(directory: Path, suffix: str) -> list[str]:
    return sorted(path.name.removesuffix(suffix).lstrip("0") or "0" for path in directory.glob(f"*{suffix}"))


def test_a_new_directory_names_its_topic_and_begins_at_offset_zero(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    assert (directory / "partition.metadata").read_text() == f"version: 0\ntopic_id: {TOPIC_ID}"
    assert (log.log_start_offset, log.log_end_offset, log.recovery_point, log.recovered) == (0, 0, 0, "")
    assert names(directory, ".log") == ["0"]


def test_what_it_creates_has_its_mode_whatever_the_umask_says(directory: Path) -> None:
    before = os.umask(0o077)
    try:
        PartitionLog.open(str(directory), CONFIG, topic_id=TOPIC_ID, storage=OsStorage(file_mode=0o660)).close(
            clean=True
        )
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o770
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o660}


def test_another_topics_directory_is_refused(directory: Path, storage: FaultyStorage) -> None:
    open_log(directory, storage).close(clean=True)
    with pytest.raises(InvalidRequestError, match=f"{TOPIC_ID}, not to {'B' * 22}"):
        PartitionLog.open(str(directory), CONFIG, topic_id="B" * 22, storage=storage)


def test_a_directory_of_another_version_is_refused_naming_both(directory: Path, storage: FaultyStorage) -> None:
    open_log(directory, storage).close(clean=True)
    (directory / "partition.metadata").write_text(f"version: 9\ntopic_id: {TOPIC_ID}")
    with pytest.raises(ForeignVersionError, match="version 9.*version 0"):
        open_log(directory, storage)


def test_it_rolls_by_size_age_full_index_and_far_offsets(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    now_ms = next(log.segments()).created_ms
    assert not log.should_roll(now_ms + 10**9, 10**9)  # an empty segment has nothing to close
    append(log)
    size_bytes = log.active.size_bytes
    assert not log.should_roll(now_ms, CONFIG.segment_bytes - size_bytes)
    assert log.should_roll(now_ms, CONFIG.segment_bytes - size_bytes + 1)
    assert not log.should_roll(now_ms + 59_000, 0)
    assert log.should_roll(now_ms + 60_000, 0)
    roomy = dataclasses.replace(CONFIG, segment_bytes=2**31 - 1)
    log.config = roomy
    assert not log.should_roll(now_ms, 100)
    fds = (log.active.log_fd, log.active.index_fd, log.active.time_index_fd)
    log.active = SegmentWriter(*fds, base_offset=0, size_bytes=10, next_offset=5, index_bytes=INDEX_BYTES_MAX)
    assert log.should_roll(now_ms, 100)
    log.active = SegmentWriter(*fds, base_offset=0, size_bytes=10, next_offset=2**31 - 50)
    assert log.should_roll(now_ms, 100)


def test_a_compacted_log_rolls_when_its_oldest_record_is_due(directory: Path, storage: FaultyStorage) -> None:
    lag = dataclasses.replace(CONFIG, segment_ms=10_000_000, max_compaction_lag_ms=1000)
    for config, rolls in ((lag, False), (dataclasses.replace(lag, cleanup_policy=("compact",)), True)):
        log = open_log(directory, storage, config)
        append(log, 1)
        assert not log.should_roll(log._created_ms + 999, 0)
        assert log.should_roll(log._created_ms + 1000, 0) is rolls
        log.close(clean=True)


def test_a_rolled_segment_is_complete_and_the_next_one_goes_on(directory: Path, storage: FaultyStorage) -> None:
    log = three_segments(directory, storage)
    assert [(info.base_offset, info.max_timestamp_ms) for info in log.segments()] == [(0, 1000), (3, 2000), (6, 3000)]
    assert (log.log_start_offset, log.active_base_offset, log.log_end_offset) == (0, 6, 9)
    for path in sorted(directory.glob("0*")):
        assert verify(str(path)).sound, path
    assert [path.stat().st_size for path in sorted(directory.glob("*.timeindex"))] == [12, 12, 0]


def test_rolling_an_empty_segment_changes_nothing(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    assert log.roll(0) is log.active
    append(log)
    active = log.roll(1)
    assert log.roll(1) is active
    assert names(directory, ".log") == ["0", "1"]


@pytest.mark.parametrize("missing", [".log", ".index", ".timeindex"])
def test_a_roll_that_cannot_create_its_files_leaves_the_old_segment_going(
    directory: Path, storage: FaultyStorage, missing: str
) -> None:
    log = open_log(directory, storage)
    append(log)
    storage.failures.append(Failure("create", missing))
    with pytest.raises(OSError, match="Input/output"):
        log.roll(1)
    assert names(directory, ".log") == ["0"]
    storage.failures.clear()
    append(log)
    log.roll(2)
    append(log)
    assert [info.base_offset for info in log.segments()] == [0, 2]
    assert verify(next(log.segments()).path).sound


def test_a_sync_covers_closed_segments_with_their_indexes_and_the_directory(
    directory: Path, storage: FaultyStorage
) -> None:
    log = three_segments(directory, storage)
    storage.synced.clear()
    log.sync(4)
    assert log.recovery_point == 4
    zeros = "0" * 19
    closed = [f"{zeros}{base}{suffix}" for base in (0, 3) for suffix in (".log", ".index", ".timeindex")]
    assert [name for name in storage.synced if not name.startswith("recovery")] == ["flights-0", *closed, "flights-0"]
    storage.synced.clear()
    log.sync(4)
    assert storage.synced == []
    log.sync(100)
    assert log.recovery_point == 9
    assert storage.synced == [f"{zeros}6.log"]


def test_the_recovery_point_reaches_its_file_when_a_segment_is_done_or_enough_was_synced(
    directory: Path, storage: FaultyStorage
) -> None:
    log = open_log(directory, storage, dataclasses.replace(CONFIG, segment_bytes=2**30))
    file = directory / "recovery-point"
    append(log)
    log.sync(1)
    assert not file.exists()
    append(log, 3, value_bytes=RECOVERY_POINT_STRIDE_BYTES // 3)
    log.sync(4)
    assert file.read_text() == "0\n4\n"
    append(log)
    log.roll(5)
    log.sync(5)
    assert file.read_text() == "0\n5\n"


def test_a_recovery_point_that_cannot_be_written_hurts_nobody(directory: Path, storage: FaultyStorage) -> None:
    log = three_segments(directory, storage)
    storage.failures.append(Failure("rename", "recovery-point"))
    log.sync(6)
    assert log.recovery_point == 6
    assert log.checkpoint_error is not None
    append(log)


@pytest.mark.parametrize("file", ["6.log", "0.log", "3.index", "flights-0"])
def test_a_failed_sync_is_never_tried_again_on_the_same_files(
    directory: Path, storage: FaultyStorage, file: str
) -> None:
    log = three_segments(directory, storage)
    storage.failures.append(Failure("fsync_dir" if file == "flights-0" else "fdatasync", file))
    with pytest.raises(OSError, match="Input/output"):
        log.sync(9)
    assert log.recovery_point == 0
    storage.failures.clear()
    calls = storage.calls.copy()
    for use in (partial(log.sync, 9), partial(append, log)):
        with pytest.raises(StorageError, match="offsets 0 to 8 may not be on the disk"):
            use()
    assert storage.calls == calls
    log.close(clean=True)
    assert not (directory / "clean-shutdown").exists()
    assert (directory / "rewrite-needed").exists()
    storage.close_all()


def test_syncing_in_one_thread_while_rolling_in_another_misses_nothing(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    done = threading.Event()

    def sync_all_the_time() -> None:
        while not done.is_set():
            log.sync(log.log_end_offset)

    syncing = threading.Thread(target=sync_all_the_time)
    syncing.start()
    for _ in range(200):
        append(log)
        log.roll(log.log_end_offset)
    done.set()
    syncing.join()
    log.sync(log.log_end_offset)
    assert log.recovery_point == 200
    synced = set(storage.synced)
    assert all(f"{base:020d}{suffix}" in synced for base in range(200) for suffix in (".log", ".index", ".timeindex"))
    log.close(clean=True)


def test_dropped_segments_leave_the_log_at_once_and_the_disk_after_the_delay(
    directory: Path, storage: FaultyStorage
) -> None:
    log = three_segments(directory, storage)
    log.delete_segments([0, 3], now_ms=5_000)
    assert log.log_start_offset == 6
    assert names(directory, ".log") == ["6"]
    assert len(list(directory.glob("*.deleted"))) == 6
    deadline_ms = 5_000 + CONFIG.file_delete_delay_ms
    assert log.remove_deleted(deadline_ms - 1) == deadline_ms
    assert len(list(directory.glob("*.deleted"))) == 6
    assert log.remove_deleted(deadline_ms) is None
    assert not list(directory.glob("*.deleted"))
    log.sync(9)
    assert log.recovery_point == 9


@pytest.mark.parametrize("wrong", [[3], [0, 6], [0, 3, 6], [3, 0], [1]])
def test_only_the_oldest_closed_segments_can_be_dropped(
    directory: Path, storage: FaultyStorage, wrong: list[int]
) -> None:
    log = three_segments(directory, storage)
    with pytest.raises(InvalidRequestError):
        log.delete_segments(wrong)
    assert names(directory, ".log") == ["0", "3", "6"]


def test_a_log_without_any_record_left_still_knows_its_offsets(directory: Path, storage: FaultyStorage) -> None:
    log = three_segments(directory, storage)
    log.roll(9)
    log.delete_segments([0, 3, 6])
    log.close(clean=False)
    again = open_log(directory, storage)
    assert (again.log_start_offset, again.log_end_offset) == (9, 9)
    assert not list(directory.glob("*.deleted"))


def test_facts_of_closed_segments_are_the_same_after_opening_again(directory: Path, storage: FaultyStorage) -> None:
    log = three_segments(directory, storage)
    before = [(info.base_offset, info.size_bytes, info.max_timestamp_ms, info.path) for info in log.segments()]
    log.close(clean=True)
    again = list(open_log(directory, storage).segments())
    assert [(info.base_offset, info.size_bytes, info.max_timestamp_ms, info.path) for info in again] == before
    assert [info.created_ms for info in again] == [1000, 2000, 3000]


def test_replay_begins_with_the_batch_that_holds_the_offset(directory: Path, storage: FaultyStorage) -> None:
    log = three_segments(directory, storage)
    assert [header.base_offset for header in log.headers()] == list(range(9))
    assert [header.base_offset for header in log.headers(4)] == [4, 5, 6, 7, 8]
    assert list(log.headers(9)) == []
    assert b"".join(log.batches(3)) == b"".join(Path(info.path).read_bytes() for info in list(log.segments())[1:])


def test_leader_epochs_only_rise_and_survive(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    log.assign_epoch(0)
    append(log)
    log.assign_epoch(3)
    with pytest.raises(InvalidRequestError):
        log.assign_epoch(3)
    log.assign_epoch(4)  # nothing was written under epoch 3
    assert (directory / "leader-epoch-checkpoint").read_text() == "0\n2\n0 0\n4 1\n"
    log.close(clean=True)
    assert open_log(directory, storage).leader_epochs == [EpochStart(0, 0), EpochStart(4, 1)]


def test_producers_come_back_from_the_snapshot_and_the_batches_after_it(
    directory: Path, storage: FaultyStorage
) -> None:
    log = open_log(directory, storage)
    append(log, producer=(7, 1, 10), timestamp_ms=5)
    append(log, producer=(8, 0, 0), timestamp_ms=6)
    log.write_snapshot(2, log.restore_producers())
    append(log, producer=(7, 1, 11), timestamp_ms=7)
    log.close(clean=False)
    again = open_log(directory, storage)
    seventh, eighth = ProducerEntry(7, 1, 11, 2, 0, 7), ProducerEntry(8, 0, 0, 1, 0, 6)
    assert again.restore_producers() == [seventh, eighth]
    snapshot = directory / f"{2:020d}.snapshot"
    assert again.latest_snapshot() == (2, [ProducerEntry(7, 1, 10, 0, 0, 5), eighth])
    damaged = bytearray(snapshot.read_bytes())
    damaged[20] ^= 1
    snapshot.write_bytes(damaged)
    assert again.latest_snapshot() == (0, [])
    assert again.restore_producers() == [seventh, eighth]


def test_a_snapshot_has_kafkas_bytes() -> None:
    encoded = encode_snapshot([ProducerEntry(7, 3, 11, 100, 1, 1_700_000_000_000)])
    assert len(encoded) == 10 + 46
    assert encoded.hex() == (
        "0001" + encoded[2:6].hex() + "00000001"
        "0000000000000007"
        "0003"
        "0000000b"
        "0000000000000064"
        "00000001"
        "0000018bcfe56800"
        "ffffffff"
        "ffffffffffffffff"
    )


def test_old_snapshots_are_dropped(directory: Path, storage: FaultyStorage) -> None:
    log = open_log(directory, storage)
    for _ in range(4):
        append(log)
        log.write_snapshot(log.log_end_offset, [])
    assert names(directory, ".snapshot") == ["3", "4"]


def test_a_closed_log_refuses_and_closes_twice(directory: Path, storage: FaultyStorage) -> None:
    before = len(os.listdir("/proc/self/fd"))
    log = three_segments(directory, storage)
    log.close(clean=True)
    log.close(clean=True)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(StorageError, match="closed"):
        append(log)

"""The log killed at every call to the storage, and its recovery killed again: the next opening always finds a log."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shmlog.log.dump import verify
from shmlog.log.partition_log import PartitionLog
from shmlog.log.segment import segment_path
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from shmlog.testing.storage import FaultyStorage, Killed

CONFIG = dataclasses.replace(TopicConfig.from_mapping({}), index_interval_bytes=200)
CALLS_MAX = 500


def open_log(directory: Path, storage: FaultyStorage) -> PartitionLog:
    return PartitionLog.open(str(directory), CONFIG, topic_id="A" * 22, storage=storage)


def batch_at(offset: int) -> bytes:
    return encode_batch([NewRecord(b"value %06d" % offset, timestamp_ms=offset)], base_offset=offset)


def append(log: PartitionLog, batches: int) -> None:
    for _ in range(batches):
        log.append(batch_at(log.log_end_offset))


def write_torn_log(directory: Path) -> None:
    """Four segments of ten batches, the second damaged at offset 14, its index missing."""
    storage = FaultyStorage()
    log = open_log(directory, storage)
    for segment in range(4):
        append(log, 10)
        if segment < 3:
            log.roll(log.log_end_offset)
    log.close(clean=False)
    second = Path(segment_path(str(directory), 10, ".log"))
    data = bytearray(second.read_bytes())
    data[4 * len(batch_at(0)) + 30] ^= 1
    second.write_bytes(data)
    Path(segment_path(str(directory), 10, ".index")).unlink()


def kill_at_every_call(
    prepare: Callable[[Path], None], act: Callable[[FaultyStorage], None], directory: Path, check: Callable[[], None]
) -> int:
    """Run `act` on what `prepare` makes, killed at the first call, the second, ... until it survives; always check.

    Returns the number of calls at which it was killed.
    """
    for calls in range(CALLS_MAX):
        shutil.rmtree(directory, ignore_errors=True)
        prepare(directory)
        storage = FaultyStorage(calls_left=calls)
        try:
            act(storage)
        except Killed:
            storage.close_all()
            check()
            continue
        storage.close_all()
        check()
        return calls
    raise AssertionError(f"still not done after {CALLS_MAX} calls")


def assert_sound(directory: Path, *, at_least: int, at_most: int) -> None:
    """An opening that is not disturbed finds a whole prefix of what was written, and can go on."""
    storage = FaultyStorage()
    log = open_log(directory, storage)
    assert (directory / "partition.metadata").exists()
    end_offset = log.log_end_offset
    assert at_least <= end_offset <= at_most
    append(log, 3)
    assert b"".join(log.batches()) == b"".join(
        batch_at(offset) for offset in range(log.log_start_offset, end_offset + 3)
    )
    log.close(clean=True)
    for path in directory.glob("0*.*"):
        assert verify(str(path)).sound, path
    assert not storage.opened


def test_a_recovery_that_is_killed_at_any_call_is_finished_by_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    points = kill_at_every_call(
        write_torn_log,
        lambda storage: open_log(directory, storage).close(clean=False),
        directory,
        lambda: assert_sound(directory, at_least=14, at_most=14),
    )
    assert points > 30


def test_creating_a_log_can_be_killed_at_any_call(tmp_path: Path) -> None:
    directory = tmp_path / "t-0"
    kill_at_every_call(
        lambda _: None,
        lambda storage: open_log(directory, storage).close(clean=True),
        directory,
        lambda: assert_sound(directory, at_least=0, at_most=0),
    )


@pytest.mark.parametrize("work", ["roll and sync", "retention", "clean close"])
def test_work_on_a_log_can_be_killed_at_any_call(tmp_path: Path, work: str) -> None:
    directory = tmp_path / "t-0"

    def prepare(path: Path) -> None:
        log = open_log(path, FaultyStorage())
        append(log, 10)
        log.roll(10)
        append(log, 10)
        log.sync(20)
        log.close(clean=True)

    def act(storage: FaultyStorage) -> None:
        log = open_log(directory, storage)
        append(log, 5)
        if work == "roll and sync":
            log.write_snapshot(25, [])
            log.roll(25)
            append(log, 5)
            log.sync(30)
        elif work == "retention":
            log.roll(25)
            log.delete_segments([0, 10], now_ms=0)
            log.remove_deleted(now_ms=2**60)
        log.close(clean=work == "clean close")

    points = kill_at_every_call(prepare, act, directory, lambda: assert_sound(directory, at_least=20, at_most=30))
    assert points > 15

"""A failed sync: the files are written anew and never believed again, whoever comes to do it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmlog.errors import StorageError
from shmlog.log.cold import ColdReader
from shmlog.log.partition_log import PartitionLog
from shmlog.log.recovery import WarmStart
from shmlog.log.segment import SUFFIXES, segment_path
from shmlog.testing.known_log import (
    append,
    assert_it_goes_on,
    batch_at,
    contents,
    expected_log,
    log_file,
    open_log,
)
from shmlog.testing.storage import Failure, FaultyStorage, Killed

NOTE = "rewrite-needed"
SYNCED = 5
BATCH_BYTES = len(batch_at(0))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-0"


@pytest.fixture
def storage() -> Iterator[FaultyStorage]:
    made = FaultyStorage()
    yield made
    made.close_all()


def two_segments(directory: Path, storage: FaultyStorage) -> PartitionLog:
    """Five batches on the disk, five more in the same segment, five in the next one."""
    log = open_log(directory, storage=storage)
    append(log, SYNCED)
    log.sync(2 * SYNCED)
    append(log, 5)
    log.roll(log.log_end_offset)
    append(log, 5)
    return log


def fail_a_sync(log: PartitionLog, storage: FaultyStorage, what: str) -> None:
    operation = "fsync_dir" if what == "flights-0" else "fdatasync"
    storage.failures.append(Failure(operation, what, times=1))
    with pytest.raises(OSError, match="Input/output"):
        log.sync(log.log_end_offset)


@pytest.mark.parametrize("what", [f"{20:020d}.log", f"{0:020d}.log", ".index", ".timeindex", "flights-0"])
def test_the_log_goes_on_in_new_files_with_every_byte_and_index_entry(
    directory: Path, storage: FaultyStorage, what: str
) -> None:
    log = two_segments(directory, storage)
    before = contents(directory)
    fail_a_sync(log, storage, what)
    inodes = {name: (directory / name).stat().st_ino for name in before}
    storage.synced.clear()
    log.rewrite()
    assert {name for name in before if (directory / name).stat().st_ino != inodes[name]} == before.keys()
    assert {f"{name}.rewrite" for name in before} <= set(storage.synced)
    assert storage.synced.index(directory.name) > max(storage.synced.index(f"{name}.rewrite") for name in before)
    assert storage.synced.index(directory.name) < storage.synced.index("recovery-point.tmp")
    assert contents(directory) == before
    assert (log.recovery_point, log.sync_failed) == (30, False)
    log.forget_failed_sync()
    assert not (directory / NOTE).exists()
    assert_it_goes_on(log, directory, 15)
    assert storage.believed == []


def test_what_was_on_the_disk_before_is_not_copied_again(directory: Path, storage: FaultyStorage) -> None:
    log = two_segments(directory, storage)
    log.sync(30)
    append(log, 1)
    sealed = log_file(directory, 0).stat().st_ino
    fail_a_sync(log, storage, f"{20:020d}.log")
    log.rewrite()
    assert log_file(directory, 0).stat().st_ino == sealed


@pytest.mark.parametrize("failure", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_the_new_files_too_keeps_the_note_and_the_old_files(
    directory: Path, storage: FaultyStorage, failure: int
) -> None:
    log = two_segments(directory, storage)
    fail_a_sync(log, storage, f"{20:020d}.log")
    before = contents(directory)
    storage.failures.append(Failure("fdatasync", ".log.rewrite", failure, times=1))
    with pytest.raises(StorageError, match="offsets from 10 on may not be on the disk.*Input/output"):
        log.rewrite()
    assert (directory / NOTE).exists()
    assert {name: data for name, data in contents(directory).items() if not name.endswith(".rewrite")} == before
    assert log.recovery_point == 10
    log.rewrite()  # there is room now
    assert (log.recovery_point, storage.believed) == (30, [])


@pytest.mark.parametrize("warm", [True, False])
def test_whoever_opens_next_writes_the_files_anew_before_anything_else(
    directory: Path, storage: FaultyStorage, warm: bool
) -> None:
    log = two_segments(directory, storage)
    fail_a_sync(log, storage, f"{0:020d}.log")
    log.close(clean=False)
    inode = log_file(directory, 0).stat().st_ino
    start = WarmStart(20, 5 * BATCH_BYTES) if warm else None
    again = open_log(directory, storage=storage, warm_from=start)
    assert "offsets 10 to 29 may not be on the disk" in again.rewritten
    assert log_file(directory, 0).stat().st_ino != inode
    assert (again.recovery_point, again.recovered) == (30, "")
    if warm:
        again.forget_failed_sync()
    assert not (directory / NOTE).exists()
    assert_it_goes_on(again, directory, 15)
    assert storage.believed == []


@pytest.mark.parametrize("warm", [True, False])
def test_killed_at_any_call_the_rewriting_is_finished_by_the_next(tmp_path: Path, warm: bool) -> None:
    points = 0
    while True:
        directory = tmp_path / f"{points}" / "flights-0"
        directory.parent.mkdir()
        storage = FaultyStorage()
        log = two_segments(directory, storage)
        fail_a_sync(log, storage, f"{20:020d}.log")
        storage.calls_left = points
        try:
            log.rewrite()
            log.forget_failed_sync()
        except Killed:
            storage.calls_left = None
            storage.close_all()
        else:
            break
        successor = FaultyStorage()
        again = open_log(directory, storage=successor, warm_from=WarmStart(20, 5 * BATCH_BYTES) if warm else None)
        assert not warm or not (directory / NOTE).exists() or "may not be on the disk" in again.rewritten
        assert_it_goes_on(again, directory, 15)
        points += 1
    storage.close_all()
    assert points > 20


def test_a_start_from_files_names_what_was_acknowledged_and_is_gone_and_cuts_nothing(
    directory: Path, storage: FaultyStorage
) -> None:
    log = two_segments(directory, storage)
    log.on_failed_sync = lambda: 28
    fail_a_sync(log, storage, f"{20:020d}.log")
    log.close(clean=False)
    damaged = log_file(directory, 20)
    data = bytearray(damaged.read_bytes())
    data[2 * BATCH_BYTES + 80] ^= 1
    damaged.write_bytes(data)
    for _ in range(2):
        with pytest.raises(
            StorageError, match=r"lost offsets 24 to 27: .*checksum.* remove .*/flights-0/rewrite-needed"
        ):
            open_log(directory, storage=storage)
        assert damaged.read_bytes() == data
    (directory / NOTE).unlink()  # so be it
    assert open_log(directory, storage=storage).log_end_offset == 24


def test_what_nobody_was_told_is_cut_off_like_any_torn_tail(directory: Path, storage: FaultyStorage) -> None:
    log = two_segments(directory, storage)
    log.on_failed_sync = lambda: 10
    fail_a_sync(log, storage, f"{20:020d}.log")
    log.close(clean=False)
    path = log_file(directory, 20)
    path.write_bytes(path.read_bytes()[: 3 * BATCH_BYTES - 7])
    again = open_log(directory, storage=storage)
    assert again.log_end_offset == 24
    assert_it_goes_on(again, directory, 12)


class Spare:
    """Stands for a ring that still has the bytes of one segment from some position on."""

    def __init__(self, base_offset: int, position: int, data: bytes) -> None:
        self.base_offset, self.position, self.data = base_offset, position, data

    def overlap(self, base_offset: int, start: int, end: int) -> tuple[int, bytes]:
        first = max(start, self.position)
        if base_offset != self.base_offset or first >= end:
            return end, b""
        return first, self.data[first - self.position : end - self.position]


@pytest.mark.parametrize("position", [0, 2 * BATCH_BYTES, 2 * BATCH_BYTES + 13])
def test_memory_is_believed_rather_than_the_file(directory: Path, storage: FaultyStorage, position: int) -> None:
    log = two_segments(directory, storage)
    fail_a_sync(log, storage, f"{20:020d}.log")
    path = log_file(directory, 20)
    data = path.read_bytes()
    path.write_bytes(data[:position] + bytes(len(data) - position))
    memory = Spare(20, position, data[position:])
    log.rewrite(memory)
    assert_it_goes_on(log, directory, 15)


def test_a_successor_over_a_ring_needs_nothing_of_the_file_that_the_ring_has(
    directory: Path, storage: FaultyStorage
) -> None:
    log = two_segments(directory, storage)
    fail_a_sync(log, storage, f"{20:020d}.log")
    log.close(clean=False)
    path = log_file(directory, 20)
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))
    warm = WarmStart(20, len(data), Spare(20, 0, data))
    assert_it_goes_on(open_log(directory, storage=storage, warm_from=warm), directory, 15)


def test_without_a_note_a_successor_is_told_by_its_predecessors_page(directory: Path, storage: FaultyStorage) -> None:
    log = two_segments(directory, storage)
    storage.failures.append(Failure("create", NOTE))
    fail_a_sync(log, storage, f"{20:020d}.log")
    assert not log.failure_is_noted
    assert not (directory / NOTE).exists()
    log.close(clean=False)
    again = open_log(directory, storage=storage, warm_from=WarmStart(20, 5 * BATCH_BYTES, sync_failed=True))
    assert again.rewritten
    assert_it_goes_on(again, directory, 15)
    assert storage.believed == []


def test_the_note_needs_no_more_than_a_name_on_a_full_disk(directory: Path, storage: FaultyStorage) -> None:
    log = two_segments(directory, storage)
    storage.failures.append(Failure("pwrite", NOTE, errno.ENOSPC))
    fail_a_sync(log, storage, f"{20:020d}.log")
    assert log.failure_is_noted
    log.close(clean=False)
    again = open_log(directory, storage=storage)
    assert again.rewritten
    assert_it_goes_on(again, directory, 15)


@pytest.mark.parametrize("read_so_far", [1, 12])
def test_a_reader_that_holds_the_old_file_finds_the_new_one(
    directory: Path, storage: FaultyStorage, read_so_far: int
) -> None:
    log = two_segments(directory, storage)
    reader = ColdReader(str(directory))
    read, offset = b"", 0
    while len(read) < read_so_far * BATCH_BYTES:
        chunk = reader.read(offset, 1, 30)
        assert chunk is not None
        read, offset = read + chunk, offset + 2
    spoiled = [(path := log_file(directory, base)).open("r+b") for base in (0, 20)]
    del path
    fail_a_sync(log, storage, f"{0:020d}.log")
    log.rewrite()
    for file in spoiled:  # the kernel has thrown its pages away
        file.truncate(0)
        file.close()
    append(log, 3)
    while chunk := reader.read(offset, 1, 36):
        read, offset = read + chunk, offset + 2
    assert read == expected_log(18)
    reader.close()


def test_leftovers_of_a_killed_rewriting_are_swept(directory: Path, storage: FaultyStorage) -> None:
    two_segments(directory, storage).close(clean=True)
    for suffix in SUFFIXES:
        Path(segment_path(str(directory), 20, suffix) + ".rewrite").write_bytes(b"half")
    open_log(directory, storage=storage).close(clean=True)
    assert not list(directory.glob("*.rewrite"))


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_an_index_whose_sync_fails_in_a_clean_close_is_not_believed_either(
    directory: Path, storage: FaultyStorage, suffix: str
) -> None:
    """Regression: the next opening's sync of the same file went well, and its clean close vouched for the index."""
    log = open_log(directory, storage=storage)
    append(log, SYNCED)
    storage.failures.append(Failure("fdatasync", suffix, times=1))
    with pytest.raises(OSError, match="Input/output"):
        log.close(clean=True)
    assert (directory / NOTE).exists()
    assert not list(directory.glob("clean-shutdown*"))
    inode = (directory / f"{0:020d}{suffix}").stat().st_ino
    again = open_log(directory, storage=storage)
    assert (directory / f"{0:020d}{suffix}").stat().st_ino != inode
    again.close(clean=True)
    assert storage.believed == []

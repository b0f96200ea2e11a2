"""The power goes out while a follower's log is cut, or begun anew: what is left is cut again, and nothing is damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.storage import OsStorage, Storage
from shmlog.log.truncation import begin_anew, truncate
from shmlog.testing.known_log import append, batch_at, open_log
from shmlog.testing.power_loss import PowerLossStorage

SEGMENTS = 4
END = SEGMENTS * 20
SEEDS = 12
ANEW = 500


def make(directory: Path) -> None:
    """Four segments of ten batches of two records, all of it on the disk."""
    log = open_log(directory)
    for segment in range(SEGMENTS):
        append(log, 10)
        if segment < SEGMENTS - 1:
            log.write_snapshot(log.log_end_offset, [])
            log.roll(log.log_end_offset)
    log.sync(log.log_end_offset)
    log.close(clean=False)


def known(end: int) -> bytes:
    return b"".join(batch_at(offset) for offset in range(0, end, 2))


def assert_beginning(directory: Path, at_least: int) -> None:
    """Of the log that was made, or the empty one that is begun anew."""
    log = open_log(directory)
    assert not log.damaged, log.recovered
    assert not damage.read(str(directory))
    if log.log_end_offset != ANEW:
        assert at_least <= log.log_end_offset <= END, log.recovered
        assert b"".join(log.batches()) == known(log.log_end_offset)
    log.close(clean=False)


def lose_power_everywhere(place: Path, change: Callable[[Storage, str], None], at_least: int, end: int) -> int:
    root = place / "disk"
    root.mkdir()
    make(root / "log")
    storage = PowerLossStorage(str(root))
    target = place / "crash"
    crashes = 0

    def crash(operation: str) -> None:
        nonlocal crashes
        for seed in range(SEEDS):
            storage.crash(str(target), seed if seed < 4 else 100 * storage.calls + seed)
            assert_beginning(target / "log", at_least)
            change(OsStorage(), str(target / "log"))
            log = open_log(target / "log")
            assert (log.log_end_offset, log.damaged) == (end, False), f"after {operation}, seed {seed}"
            log.close(clean=False)
            shutil.rmtree(target)
            crashes += 1

    storage.on_call = crash
    change(storage, str(root / "log"))
    for seed in range(SEEDS):  # what other batches, and the epochs that name them, are appended to now
        storage.crash(str(target), seed)
        assert open_log(target / "log").log_end_offset == end, "the cut was not on the disk when it returned"
        shutil.rmtree(target)
    storage.close_all()
    return crashes


@pytest.mark.slow
@pytest.mark.parametrize("end", [0, 22, 40, 62])
def test_a_cut_log_is_a_beginning_of_what_it_was_whenever_the_power_goes(tmp_path: Path, end: int) -> None:
    def cut(storage: Storage, directory: str) -> None:
        truncate(storage, directory, end)

    assert lose_power_everywhere(tmp_path, cut, end, end) > 50


@pytest.mark.slow
def test_a_log_that_is_begun_anew_is_empty_or_a_beginning_whenever_the_power_goes(tmp_path: Path) -> None:
    def anew(storage: Storage, directory: str) -> None:
        begin_anew(storage, directory, ANEW)

    assert lose_power_everywhere(tmp_path, anew, 0, ANEW) > 50

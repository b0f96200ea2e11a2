"""The power goes out while compacted segments are put in their places: the log is what it was, or what it was to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.partition_log import PartitionLog
from shmlog.testing.known_log import append, look_at_segments, open_log
from shmlog.testing.power_loss import PowerLossStorage
from shmlog.testing.sparse_log import clean, offsets_of

SEEDS = 12
GROUPS = ((0, 10, 20), (30,), (40,))
KEPT = [0, 6, 12, 18, 24, 28, 30, 36, 38, 42, 48, *range(50, 60, 2)]


def fill(log: PartitionLog) -> None:
    """Six segments of five batches of two records, all of it on the disk."""
    for number in range(6):
        if number:
            log.roll(log.log_end_offset)
        append(log, 5)
    log.sync(log.log_end_offset)


@pytest.mark.slow
@pytest.mark.parametrize("is_swept", [False, True])
def test_the_log_is_whole_before_or_after_whatever_the_power_leaves(tmp_path: Path, is_swept: bool) -> None:
    """Also when the files that readers keep for a while are removed at once."""
    root, target = tmp_path / "disk", tmp_path / "crash"
    root.mkdir()
    storage = PowerLossStorage(str(root))
    log = PartitionLog.open(str(root / "log"), open_log(tmp_path / "other").config, topic_id="A" * 22, storage=storage)
    fill(log)
    made, everything = clean(storage, log, GROUPS, lambda offset: offset % 6 == 0), offsets_of(log)
    crashes, outcomes = 0, []

    def lose_power(operation: str) -> None:
        nonlocal crashes
        for seed in range(SEEDS):
            storage.crash(str(target), seed if seed < 4 else 100 * storage.calls + seed)
            found = open_log(target / "log")
            what = f"after {operation}, seed {seed}: {found.recovered}"
            outcomes.append(offsets_of(found) == KEPT)
            assert outcomes[-1] or offsets_of(found) == everything, what
            assert not found.damaged, what
            assert "could not" not in look_at_segments(found), what
            assert not damage.read(str(target / "log")), what
            append(found, 1)
            found.close(clean=False)
            everything_now = [*everything, 60]
            again = open_log(target / "log")
            assert offsets_of(again) in ([*KEPT, 60], everything_now), what
            again.close(clean=False)
            shutil.rmtree(target)
            crashes += 1

    storage.on_call = lose_power
    log.swap(made, now_ms=0)
    if is_swept:
        log.remove_deleted(now_ms=10**15)
    storage.on_call = lambda operation: None
    log.close(clean=False)
    storage.close_all()
    assert crashes > 200
    assert not outcomes[0]
    assert outcomes[-1]

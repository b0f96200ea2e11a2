"""A successor over a surviving ring: it goes on where the control page says, without reading the log."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shmlog.errors import CorruptRecordError
from shmlog.log.recovery import WarmStart
from shmlog.log.segment import segment_path
from shmlog.testing.damage import (
    Damage,
    empty,
    fill_with_garbage,
    flip_in_the_last_entrys_first_field,
    remove,
    shorten,
)
from shmlog.testing.known_log import (
    CONFIG,
    append,
    assert_it_goes_on,
    batch_at,
    contents,
    log_file,
    open_log,
    write_log,
)
from shmlog.testing.storage import FaultyStorage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-0"


def test_a_successor_goes_on_wherever_the_owner_before_was_killed(directory: Path, tmp_path: Path) -> None:
    """Whatever of the next append reached log and indexes before the kill, the same bytes come out in the end."""
    write_log(directory, [30], clean=False)
    complete = contents(directory)
    pristine = tmp_path / "pristine"
    shutil.copytree(directory, pristine)
    batch_bytes = len(batch_at(0))
    for written in range(31):
        shutil.rmtree(directory)
        shutil.copytree(pristine, directory)  # log and indexes of 30 batches, of which `written` are known
        log = open_log(directory, warm_from=WarmStart(0, written * batch_bytes))
        assert (log.recovered, log.log_end_offset, log.active.size_bytes) == ("", 2 * written, written * batch_bytes)
        append(log, 30 - written)
        assert contents(directory) == complete
        assert log.active.bytes_since_index <= CONFIG.index_interval_bytes + batch_bytes
        log.close(clean=False)


def test_a_successor_does_not_read_the_log(directory: Path) -> None:
    (whole,) = write_log(directory, [500], clean=False)
    storage = FaultyStorage()
    log = open_log(directory, warm_from=WarmStart(0, len(whole)), storage=storage)
    assert log.log_end_offset == 1000
    assert storage.read_bytes < 4000 < len(whole) // 10


def test_a_successor_drops_a_roll_that_had_only_begun(directory: Path) -> None:
    (whole,) = write_log(directory, [30], clean=False)
    before = contents(directory)
    log = open_log(directory, warm_from=WarmStart(0, len(whole)))
    log.roll(60)  # killed before the new segment was announced: the final time index entry is there already
    log.close(clean=False)
    again = open_log(directory, warm_from=WarmStart(0, len(whole)))
    assert list(again.segments())[-1].base_offset == 0
    append(again, 5)
    assert_it_goes_on(again, directory, 35)
    assert before.keys() == contents(directory).keys()


def test_a_successor_syncs_what_its_predecessor_had_rolled(directory: Path) -> None:
    _, second = write_log(directory, [5, 5], clean=False)
    storage = FaultyStorage()
    log = open_log(directory, warm_from=WarmStart(10, len(second)), storage=storage)
    storage.synced.clear()
    log.sync(20)
    assert f"{0:020d}.log" in storage.synced
    assert log.recovery_point == 20


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("damage", [remove, empty, shorten, flip_in_the_last_entrys_first_field, fill_with_garbage])
def test_a_successor_makes_indexes_again_that_are_not_this_logs(directory: Path, suffix: str, damage: Damage) -> None:
    (whole,) = write_log(directory, [30], clean=False)
    before = contents(directory)
    damage(Path(segment_path(str(directory), 0, suffix)))
    log = open_log(directory, warm_from=WarmStart(0, len(whole)))
    assert contents(directory) == before
    assert_it_goes_on(log, directory, 30)


@pytest.mark.parametrize(
    ("warm", "reason"),
    [
        (WarmStart(7, 0), "no segment 7"),
        (WarmStart(10, 10**6), "1000000 were written"),
        (WarmStart(10, 70), "not sound"),
        (WarmStart(0, 100), "older segment"),
    ],
)
def test_a_successor_refuses_files_that_cannot_be_what_the_ring_was_written_to(
    directory: Path, warm: WarmStart, reason: str
) -> None:
    write_log(directory, [5, 5], clean=False)
    with pytest.raises(CorruptRecordError, match=reason):
        open_log(directory, warm_from=warm)
    assert log_file(directory, 10).stat().st_size == 5 * len(batch_at(0))

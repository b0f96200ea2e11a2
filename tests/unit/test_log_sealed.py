"""Segments that an opening believes by their names: none is touched then, and each is looked at once, later."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.recovery import WarmStart
from shmlog.log.segment import segment_path
from shmlog.testing.damage import fill_with_garbage, shorten
from shmlog.testing.known_log import append, contents, log_file, look_at_segments, open_log, write_log
from shmlog.testing.storage import Failure, FaultyStorage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "flights-0"


class OpeningStorage(FaultyStorage):
    """Knows the names of the files that were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def open(self, path: str, flags: int) -> int:
        self.names.append(Path(path).name)
        return super().open(path, flags)


def indexed(name: str) -> bool:
    return name.endswith((".log", ".index", ".timeindex"))


@pytest.mark.parametrize("how", ["clean", "killed", "warm"])
def test_an_opening_touches_no_segment_but_the_last_whatever_their_number(directory: Path, how: str) -> None:
    write_log(directory, [2] * 30, clean=True)
    if how != "clean":
        (directory / "clean-shutdown").unlink()
    storage = OpeningStorage()
    warm = WarmStart(29 * 4, log_file(directory, 29 * 4).stat().st_size) if how == "warm" else None
    log = open_log(directory, storage=storage, warm_from=warm)
    assert log.log_end_offset == 30 * 4
    assert {name[:20] for name in storage.names if indexed(name)} == {f"{29 * 4:020d}"}
    storage.names.clear()
    assert look_at_segments(log) == ""
    assert {int(name[:20]) for name in storage.names if indexed(name)} == set(range(0, 29 * 4, 4))
    assert log.sealed.is_checked
    log.close(clean=True)


def test_a_successor_over_a_ring_looks_at_what_its_predecessor_did_not_get_to(directory: Path) -> None:
    write_log(directory, [20, 20, 20], clean=True)
    before = contents(directory)
    fill_with_garbage(Path(segment_path(str(directory), 40, ".index")))
    open_log(directory).close(clean=False)
    log = open_log(directory, warm_from=WarmStart(80, log_file(directory, 80).stat().st_size))
    assert "which did not fit it" in look_at_segments(log)
    assert contents(directory) == before
    log.close(clean=True)


def test_retention_looks_at_a_segment_before_it_believes_its_time_index(directory: Path) -> None:
    """A time index that lost its end makes records look older than they are: they would go too early."""
    write_log(directory, [20, 20, 1], clean=True)
    log = open_log(directory)
    youngest = [info.max_timestamp_ms for info in log.segments()]
    log.close(clean=True)
    shorten(Path(segment_path(str(directory), 40, ".timeindex")))
    log = open_log(directory)
    assert [info.max_timestamp_ms for info in log.segments()] == youngest
    assert "which did not fit it" in log.sealed.take_findings()
    log.close(clean=True)


def test_a_segment_that_cannot_be_read_is_a_finding_and_the_next_one_is_looked_at(directory: Path) -> None:
    write_log(directory, [20, 20, 20], clean=True)
    log_of_second = log_file(directory, 40)
    whole = log_of_second.read_bytes()
    log_of_second.write_bytes(whole[:-10])
    storage = OpeningStorage()
    log = open_log(directory, storage=storage)
    storage.failures.append(Failure("open", log_file(directory, 0).name, errno.EIO))
    found = look_at_segments(log)
    assert "segment 0 in " in found
    assert os.strerror(errno.EIO) in found
    assert f"{log_of_second}, from offset 78 on: the batch at byte " in found
    (noted,) = damage.read(str(directory))
    assert (noted.first_offset, noted.end_offset) == (78, 80)
    log.close(clean=True)


def test_a_full_disk_puts_the_look_off(directory: Path) -> None:
    write_log(directory, [20, 20], clean=True)
    before = contents(directory)
    index = Path(segment_path(str(directory), 0, ".index"))
    fill_with_garbage(index)
    storage = OpeningStorage()
    log = open_log(directory, storage=storage)
    storage.failures.append(Failure("create", index.name + ".rebuild", errno.ENOSPC))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        log.sealed.check_next()
    assert not log.sealed.is_checked
    storage.failures.clear()
    assert "which did not fit it" in look_at_segments(log)
    assert contents(directory) == before
    log.close(clean=True)


def test_what_was_dropped_or_rolled_meanwhile_is_not_looked_at(directory: Path) -> None:
    write_log(directory, [2, 2, 2], clean=True)
    storage = OpeningStorage()
    log = open_log(directory, storage=storage)
    assert log.sealed.check_next()
    log.delete_segments([0, 4])
    log.roll(12)
    append(log, 2)
    log.roll(16)
    storage.names.clear()
    assert look_at_segments(log) == ""
    assert [name for name in storage.names if indexed(name)] == []
    assert list(log.sealed) == [8, 12]
    log.close(clean=True)


def test_the_size_of_all_segments_is_counted_once_and_kept_up(directory: Path) -> None:
    write_log(directory, [3, 4, 5], clean=True)
    storage = OpeningStorage()
    log = open_log(directory, storage=storage)

    def on_the_disk() -> int:
        return sum(path.stat().st_size for path in directory.glob("*.log"))

    assert log.size_bytes() == on_the_disk()
    storage.names.clear()
    append(log, 2)
    log.roll(log.log_end_offset)
    append(log, 1)
    log.delete_segments([0])
    assert log.size_bytes() == on_the_disk()
    assert [name for name in storage.names if name.startswith(f"{6:020d}")] == []
    log.close(clean=True)

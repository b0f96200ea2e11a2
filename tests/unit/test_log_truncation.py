"""A log that is cut to what its leader has, killed at every call to the storage: an undamaged beginning is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from shmlog.log import damage
from shmlog.log.checkpoint import read_recovery_point
from shmlog.log.partition_log import PartitionLog
from shmlog.log.storage import OsStorage
from shmlog.log.truncation import SET_ASIDE, begin_anew, truncate
from shmlog.testing.known_log import append, batch_at, open_log
from shmlog.testing.storage import FaultyStorage, Killed

SEGMENTS = 4
END = SEGMENTS * 20
"""Batches have two records, segments ten batches."""

ASIDE = f"{SET_ASIDE}7"


def make(directory: Path, *, clean: bool = True) -> None:
    log = open_log(directory)
    for segment in range(SEGMENTS):
        append(log, 10)
        if segment < SEGMENTS - 1:
            log.write_snapshot(log.log_end_offset, [])
            log.roll(log.log_end_offset)
    log.sync(log.log_end_offset)
    log.close(clean=clean)


def batches_in(log: PartitionLog) -> bytes:
    return b"".join(log.batches(log.log_start_offset))


def known(end: int) -> bytes:
    return b"".join(batch_at(offset) for offset in range(0, end, 2))


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("end", [0, 2, 20, 22, 38, 40, 60, 78, END, END + 5])
def test_a_log_ends_where_it_was_cut(tmp_path: Path, end: int, clean: bool) -> None:
    make(tmp_path / "log", clean=clean)
    truncate(OsStorage(), str(tmp_path / "log"), end)
    log = open_log(tmp_path / "log")
    assert log.log_end_offset == min(end, END)
    assert batches_in(log) == known(min(end, END))
    assert (log.recovered, log.damaged) == ("", False)
    assert log.latest_snapshot()[0] <= log.log_end_offset
    append(log, 5)
    log.close(clean=False)
    assert batches_in(open_log(tmp_path / "log")) == known(min(end, END) + 10)


def test_an_offset_inside_a_batch_cuts_all_of_it(tmp_path: Path) -> None:
    make(tmp_path / "log")
    truncate(OsStorage(), str(tmp_path / "log"), 25)
    assert open_log(tmp_path / "log").log_end_offset == 24


def test_a_log_that_begins_anew_is_empty(tmp_path: Path) -> None:
    make(tmp_path / "log")
    begin_anew(OsStorage(), str(tmp_path / "log"), 1234)
    log = open_log(tmp_path / "log")
    assert (log.log_start_offset, log.log_end_offset, log.leader_epochs) == (1234, 1234, [])
    assert (log.recovered, log.damaged) == ("", False)
    append(log, 3)
    log.close(clean=False)
    assert open_log(tmp_path / "log").log_end_offset == 1240


def kill_at_every_call(
    directory: Path, act: Callable[[FaultyStorage], None], check: Callable[[PartitionLog], None]
) -> int:
    for calls in count():
        shutil.rmtree(directory, ignore_errors=True)
        make(directory, clean=calls % 2 == 0)
        storage = FaultyStorage(calls_left=calls)
        try:
            act(storage)
        except Killed:
            storage.close_all()
        else:
            return calls
        log = open_log(directory)
        assert not log.damaged
        assert not damage.read(str(directory))
        check(log)
        assert read_recovery_point(OsStorage(), str(directory)) <= log.log_end_offset
        log.close(clean=False)
        act(FaultyStorage())
    raise AssertionError


@pytest.mark.parametrize("end", [0, 22, 40])
def test_a_cut_that_is_killed_leaves_a_beginning_and_is_made_again(tmp_path: Path, end: int) -> None:
    directory = tmp_path / "log"

    def check(log: PartitionLog) -> None:
        assert end <= log.log_end_offset <= END
        assert batches_in(log) == known(log.log_end_offset)

    kills = kill_at_every_call(directory, lambda storage: truncate(storage, str(directory), end), check)
    assert kills > 10
    assert open_log(directory).log_end_offset == end


def test_beginning_anew_that_is_killed_leaves_a_beginning_and_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "log"

    def check(log: PartitionLog) -> None:
        assert log.log_start_offset == log.log_end_offset or batches_in(log) == known(log.log_end_offset)

    kills = kill_at_every_call(directory, lambda storage: begin_anew(storage, str(directory), 500), check)
    assert kills > 10
    log = open_log(directory)
    assert (log.log_start_offset, log.log_end_offset) == (500, 500)


def test_what_is_set_aside_is_all_there_whenever_it_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "log"

    def check(log: PartitionLog) -> None:
        bytes_there = [path.read_bytes() for suffix in ("", ASIDE) for path in sorted(directory.glob("*.log" + suffix))]
        assert b"".join(bytes_there) == known(END)

    kills = kill_at_every_call(directory, lambda storage: begin_anew(storage, str(directory), 500, ASIDE), check)
    assert kills > 10
    log = open_log(directory)
    assert (log.log_start_offset, log.log_end_offset) == (500, 500)
    check(log)

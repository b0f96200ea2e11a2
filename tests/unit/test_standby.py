"""The parts of a standby that need no processes: when a supervisor counts as silent, and what it shows."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from shmlog.control.life import LifeLock
from shmlog.control.paths import RuntimePaths, make_runtime_directory
from shmlog.errors import StartError
from shmlog.machines.silence import LOOKS, SilenceMachine
from shmlog.supervisor.sign_of_life import SignOfLife, last_sign
from shmlog.supervisor.standby import Standby


def test_who_shows_nothing_new_for_so_many_looks_is_silent() -> None:
    silence = SilenceMachine()
    assert [silence.look(7, 3) for _ in range(LOOKS + 1)] == LOOKS * [False] + [True]


def test_a_sign_at_the_last_moment_begins_the_patience_anew() -> None:
    silence = SilenceMachine()
    for _ in range(LOOKS):
        assert not silence.look(7, 3)
    assert not silence.look(7, 4)
    assert [silence.look(7, 4) for _ in range(LOOKS)] == (LOOKS - 1) * [False] + [True]


def test_another_process_with_the_same_sign_is_somebody_else() -> None:
    silence = SilenceMachine()
    for _ in range(LOOKS):
        silence.look(7, 3)
    assert not silence.look(8, 3)


def test_every_beat_is_another_sign_and_nobody_takes_it_for_his_own(tmp_path: Path) -> None:
    path = str(tmp_path / "alive")
    assert last_sign(path, os.getpid()) == 0
    with closing(SignOfLife(path)) as life:
        first = last_sign(path, os.getpid())
        life.beat()
        assert 0 < first < last_sign(path, os.getpid())
        assert last_sign(path, os.getpid() + 1) == 0


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimePaths:
    paths = RuntimePaths(str(tmp_path / "run"))
    make_runtime_directory(paths)
    return paths


def test_a_standby_gets_the_lock_of_a_supervisor_that_died(runtime: RuntimePaths) -> None:
    LifeLock.acquire(runtime.supervisor_lock).release(remove=False)  # as the kernel does
    lock = Standby(runtime, 0, 1000).wait()
    assert lock is not None
    assert lock.is_linked
    assert os.listdir(runtime.standbys) == []
    lock.release()


def test_a_standby_of_a_cluster_that_was_closed_takes_nothing(runtime: RuntimePaths) -> None:
    LifeLock.acquire(runtime.supervisor_lock).release()
    assert Standby(runtime, 0, 1000).wait() is None
    assert not os.path.exists(runtime.supervisor_lock)


def test_a_standby_without_a_cluster_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no cluster to stand by for: there is no .*/standbys"):
        Standby(RuntimePaths(str(tmp_path)), 0, 1000)

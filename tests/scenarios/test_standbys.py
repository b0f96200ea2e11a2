"""Supervisors that wait to take over: from one that was killed, from one that is stopped, and not from a closed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from shmlog.control import life
from shmlog.errors import ShmlogError
from shmlog.machines.silence import LOOKS
from shmlog.supervisor.sign_of_life import last_sign
from shmlog.testing import wait_until

if TYPE_CHECKING:
    from tests.scenarios.conftest import Daemon

Gone = Callable[[int], None]


@pytest.fixture
def watched(daemon: Daemon, gone: Gone) -> Iterator[Daemon]:
    """A supervisor with a standby, which waits already; whoever it is in the end is stopped after the test."""
    daemon.config = "[cluster]\nsupervisor.unresponsive.ms = 800\n"
    daemon.start("--standbys", "1")
    wait_until(lambda: standby(daemon))
    yield daemon
    daemon.resources.close()
    pid = wait_until(lambda: supervisor(daemon))
    os.kill(pid, signal.SIGTERM)
    gone(pid)
    assert daemon.process is not None
    daemon.process.wait()
    daemon.process = None
    assert not os.path.exists(daemon.runtime.directory)


def supervisor(daemon: Daemon) -> int:
    return life.holder(daemon.runtime.supervisor_lock) or 0


def standby(daemon: Daemon) -> int:
    return life.holder(daemon.runtime.standby(0)) or 0


def create(daemon: Daemon, topic: str) -> None:
    """As a client does that waits for the next supervisor."""

    def created() -> bool:
        with suppress(OSError, ShmlogError):
            daemon.peer().create(topic)
            return True
        return False

    wait_until(created)


def test_a_standby_takes_over_from_a_killed_supervisor_and_has_a_standby_then(watched: Daemon) -> None:
    first, second = watched.pid, standby(watched)
    status = [sys.executable, "-P", "-m", "shmlog.cli.main", "status", "--name", "t"]
    environment = {**os.environ, "SHMLOG_RUNTIME_DIR": str(watched.directory / "run")}
    said = subprocess.run(status, env=environment, check=True, capture_output=True, text=True).stdout
    assert f"supervisor pid {first}, standby pid {second}, up" in said
    watched.peer().create("calm.before")
    os.kill(first, signal.SIGKILL)
    create(watched, "calm.after")
    assert supervisor(watched) == second
    assert watched.running("calm.before")
    third = wait_until(lambda: standby(watched))
    os.kill(second, signal.SIGKILL)
    create(watched, "calm.again")
    assert supervisor(watched) == third
    assert watched.running("calm.before")


def test_a_supervisor_that_is_stopped_is_killed_before_the_standby_acts(watched: Daemon, gone: Gone) -> None:
    first, second = watched.pid, standby(watched)
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: supervisor(watched) == second)
    gone(first)
    create(watched, "calm")
    assert f"supervisor {first} has shown no sign of life for 0.8 s: killing it" in watched.log()


def test_a_supervisor_that_has_nothing_to_do_is_left_alone(watched: Daemon) -> None:
    second = standby(watched)
    os.kill(second, signal.SIGSTOP)  # a standby that was stopped itself has not seen silence, only missed signs
    os.kill(second, signal.SIGCONT)
    first = last_sign(watched.runtime.sign_of_life, watched.pid)
    wait_until(lambda: last_sign(watched.runtime.sign_of_life, watched.pid) > first + 3 * LOOKS)
    assert supervisor(watched) == watched.pid


def test_a_standby_that_dies_is_replaced(watched: Daemon, gone: Gone) -> None:
    second = standby(watched)
    os.kill(second, signal.SIGKILL)
    gone(second)
    wait_until(lambda: standby(watched) not in (0, second))
    assert supervisor(watched) == watched.pid


def test_a_cluster_that_is_closed_takes_its_standbys_along_also_one_that_is_stopped(
    watched: Daemon, gone: Gone
) -> None:
    second = standby(watched)
    os.kill(second, signal.SIGSTOP)
    assert watched.stop() == 0
    gone(second)
    assert not os.path.exists(watched.runtime.directory)
    watched.start()  # for the end of the test


def test_a_unit_for_systemd_has_no_standbys() -> None:
    command = [sys.executable, "-P", "-m", "shmlog.cli.main", "up", "--print-systemd-unit", "--standbys", "1"]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "systemd ends all of a service with its main process" in refused.stderr

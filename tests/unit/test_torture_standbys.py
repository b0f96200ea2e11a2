"""A torture with standbys: one of them takes over when the supervisor is killed, and is missed if it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.cli.torture import injection
from shmlog.cli.torture.course import Course
from shmlog.cli.torture.injection import Injector
from shmlog.cli.torture.plan import Fault
from shmlog.cli.torture.profile import Profile, profile_from
from shmlog.errors import InvalidConfigError

KILL = Fault(0.0, "kill_supervisor", 0, 0.0)


@pytest.fixture
def supervisor() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


class Scene:
    """A course whose stage is what a test says."""

    def __init__(self, supervisor: int, *, has_standby: bool) -> None:
        self.supervisor: int | None = supervisor
        self.ups = 0
        stage: Any = SimpleNamespace(
            supervisor_pid=lambda: self.supervisor,
            has_standby=lambda: has_standby,
            is_coming_up=lambda: False,
            begin_up=self.begin_up,
            last_words=lambda: "",
        )
        cast: Any = SimpleNamespace(tend=lambda: None)
        unused: Any = None
        self.course = Course(stage, cast, unused, unused)
        self.injector = Injector(stage, cast)

    def begin_up(self) -> None:
        self.ups += 1

    def tend(self) -> None:
        self.course._tend(self.injector)


def test_who_stands_by_for_a_supervisor_that_is_killed_takes_over_and_nobody_starts_the_cluster(
    supervisor: int,
) -> None:
    scene = Scene(supervisor, has_standby=True)
    scene.injector.inject(KILL)
    scene.tend()  # the kernel has not taken it away yet
    scene.supervisor = None
    scene.tend()
    assert scene.injector.heir_is_due
    scene.supervisor = 1
    scene.tend()
    assert (scene.ups, scene.course.complaints, scene.injector.up_at) == (0, [], None)


def test_a_standby_that_does_not_take_over_is_a_complaint(supervisor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injection, "HEIR_S", 0.0)
    scene = Scene(supervisor, has_standby=True)
    scene.injector.inject(KILL)
    scene.supervisor = None
    scene.tend()
    assert scene.ups == 1
    assert "no standby took over" in scene.course.complaints[0]


def test_without_a_standby_that_waits_the_cluster_is_started_again(supervisor: int) -> None:
    scene = Scene(supervisor, has_standby=False)
    scene.injector.inject(KILL)
    scene.supervisor = None
    scene.tend()
    assert (scene.ups, scene.course.complaints) == (1, [])


def test_a_profile_says_how_many_stand_by() -> None:
    assert Profile().standbys == 0
    assert profile_from({"standbys": 2}).standbys == 2
    with pytest.raises(InvalidConfigError, match="standbys must be a number from 0 to 4"):
        profile_from({"standbys": 5})

"""What the supervisor notices of regions that somebody removes or puts others in the place of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import OwnerReady
from shmlog.control.paths import RuntimePaths
from shmlog.memory import layout, names, region
from shmlog.memory.layout import OwnerState
from shmlog.supervisor.removal import RemovalWatch
from shmlog.testing.partition_rig import Rig, open_rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with open_rig(tmp_path / "flights-0") as made:
        made.lane().send_all(b"1", b"2", b"3")
        made.run()
        yield made


class Watched:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        identity: Any = SimpleNamespace(cid8=rig.tag, name="t", data_dir="/d", runtime=RuntimePaths("/r"))
        home: Any = SimpleNamespace(
            runtime_lock=SimpleNamespace(is_linked=True), restart_command=lambda name: f"shmlog up --name {name}"
        )
        listener: Any = SimpleNamespace(is_linked=True)
        running = [SimpleNamespace(partition_id=rig.spec.partition_id)]
        owners: Any = SimpleNamespace(watchers=[], all_running=lambda: running)
        self.watch = RemovalWatch(identity, home, owners, listener)
        self.ready()

    def ready(self) -> None:
        spec, publisher = self.rig.spec, self.rig.publisher
        self.watch.owner_opened(
            OwnerReady(spec.partition_id, spec.leader_epoch, 1, 4096, 64, 0, publisher.tail_offset, [], "", False)
        )

    def close(self) -> None:
        self.watch.owner_gone(self.rig.spec.partition_id, delete=False, clean=True)


@pytest.fixture
def watched(rig: Rig) -> Iterator[Watched]:
    made = Watched(rig)
    yield made
    made.close()


def control_name(rig: Rig) -> str:
    return names.control_page(rig.tag, rig.spec.partition_id)


def test_a_successor_over_the_same_memory_is_nothing_to_speak_of(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.rig.take_over(1)
    watched.ready()
    assert [watched.watch.look() for _ in range(3)] == [None] * 3
    assert caplog.text == ""


def test_a_successor_that_had_to_make_the_memory_anew_shows_the_removal_and_what_was_lost(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    rig = watched.rig
    rig.control.mapping.store(layout.CTL_TAIL_OFFSET, 8)  # published, and not written
    region.unlink(control_name(rig))
    rig.take_over(1)
    watched.ready()
    assert "has lost offsets 3 to 7" in caplog.text
    said = watched.watch.look()
    assert said is not None
    assert said.startswith(f"/dev/shm{control_name(rig)} of cluster 't' were removed")


def test_a_ring_that_was_given_up_is_no_removal(watched: Watched) -> None:
    rig = watched.rig
    rig.control.mapping.store(layout.CTL_STATE, OwnerState.CLOSED)
    rig.take_over(1)
    watched.ready()
    assert [watched.watch.look() for _ in range(3)] == [None] * 3


def test_another_region_of_the_same_name_is_as_good_as_none(watched: Watched) -> None:
    bell = names.bell(watched.rig.tag, watched.rig.spec.partition_id)
    region.unlink(bell)
    region.create(bell, layout.BELL_SIZE)
    assert watched.watch.look() is None
    said = watched.watch.look()
    assert said is not None
    assert said.startswith(f"/dev/shm{bell} of cluster")

"""A leader epoch is on the disk before anybody can write under it, so that no offset gets two records of one epoch.

Here is what the owner adds. That the supervisor starts nobody before the epoch is in the metadata log stands in
test_supervisor_room, test_machines_supervision and tests/crash/test_power_loss_metadata.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.control.messages import OwnerSpec
from shmlog.log.checkpoint import EpochStart, read_leader_epochs
from shmlog.log.storage import OsStorage
from shmlog.memory import layout
from shmlog.memory.control_page import ControlPage
from shmlog.memory.layout import OwnerState
from shmlog.partition import opening
from shmlog.partition.opened import OpenPartition
from shmlog.testing import partition_rig
from shmlog.testing.partition_rig import Rig, open_rig
from shmlog.testing.power_loss import PowerLossStorage

SEEDS = range(8)


def published(rig: Rig, *values: bytes) -> None:
    lane = rig.lane(producer_id=7 + rig.lanes_made)
    for value in values:
        lane.send_all(value)
        rig.run()


def left_by_a_power_loss(storage: PowerLossStorage, place: Path, seed: int) -> list[EpochStart]:
    """The leader epochs on the disk if the power goes now."""
    storage.crash(str(place / f"after-{seed}"), seed)
    return read_leader_epochs(OsStorage(), str(place / f"after-{seed}" / "log"))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PowerLossStorage:
    """What owners write with, all below `disk`."""
    (tmp_path / "disk" / "log").mkdir(parents=True)
    storage = PowerLossStorage(str(tmp_path / "disk"))
    monkeypatch.setattr(opening, "_storage", lambda _: storage)
    return storage


def test_a_cold_start_has_its_epoch_on_the_disk_before_it_has_a_control_page(
    tmp_path: Path, storage: PowerLossStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[EpochStart]] = []
    create = ControlPage.create

    def look_and_create(tag: str, partition_id: int, topic_uuid: bytes, *, mode: int, group: int | None) -> ControlPage:
        where = tmp_path / f"{len(found)}"
        where.mkdir()
        found.extend(left_by_a_power_loss(storage, where, seed) for seed in SEEDS)
        return create(tag, partition_id, topic_uuid, mode=mode, group=group)

    with open_rig(tmp_path / "disk" / "log", epoch=0) as rig:
        published(rig, b"a", b"b")
        rig.opened.log.sync(2)
        rig.let_go()
        rig.control.mapping.store(layout.CTL_STATE, OwnerState.CLOSED)
        monkeypatch.setattr(ControlPage, "create", look_and_create)
        rig.take_over(1)
        assert rig.opened.end is None, "a cold start"
    assert found == [[EpochStart(0, 0), EpochStart(1, 2)]] * len(SEEDS)


def test_a_successor_in_the_same_ring_has_its_epoch_on_the_disk_before_it_runs(
    tmp_path: Path, storage: PowerLossStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[EpochStart]] = []

    def open_and_look(spec: OwnerSpec) -> OpenPartition:
        opened = opening.open_partition(spec)  # an owner runs after this
        found.extend(left_by_a_power_loss(storage, tmp_path, seed) for seed in SEEDS)
        return opened

    with open_rig(tmp_path / "disk" / "log", epoch=0) as rig:
        published(rig, b"a", b"b")
        monkeypatch.setattr(partition_rig, "open_partition", open_and_look)
        rig.take_over(1)
        assert rig.opened.end is not None, "a warm start"
    assert found == [[EpochStart(0, 0), EpochStart(1, 2)]] * len(SEEDS)

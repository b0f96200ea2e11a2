"""What a start costs when there are many partitions: syncs together, and no look at what cannot be there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import OwnerReady
from shmlog.control.paths import RuntimePaths
from shmlog.errors import ShmBudgetExceededError
from shmlog.machines.metadata_records import LeaderEpochRaised, MetadataRecord
from shmlog.machines.supervision import OwnerPhase, Ready
from shmlog.memory import names, region
from shmlog.partition.opening import open_partition
from shmlog.settings import ClusterConfig
from shmlog.supervisor import heartbeats as heartbeats_module, owners as owners_module
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.heartbeats import Heartbeats
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.process import becomes_readable, raise_file_limit
from shmlog.supervisor.regions import Regions
from shmlog.testing.partition_rig import Rig, open_rig
from tests.no_followers import no_followers

CONFIG = ClusterConfig.from_mapping({})


def identity_at(directory: Path, tag: str = "0" * 8) -> ClusterIdentity:
    directories = LogDirectories([LogDirectory("", str(directory))])
    return ClusterIdentity("c", "id", tag, RuntimePaths(str(directory)), str(directory), CONFIG, None, 0, directories)


class Cluster:
    """Owners whose zygote notes whom it is to start and starts nobody."""

    def __init__(self, directory: Path, partitions: int) -> None:
        self.loop, self.catalog = Loop(), Catalog(str(directory), CONFIG)
        self.catalog.commit(self.catalog.machine.create_topic("t", topic_id="id", partitions=partitions).records)
        self.started: list[int] = []
        self.no_bell_for: set[int] = set()
        bell = SimpleNamespace(ring=lambda: None, close=lambda: None)

        def bell_of(partition_id: int) -> object:
            if partition_id in self.no_bell_for:
                raise ShmBudgetExceededError("no room for a bell")
            return bell

        def spawn(spec: Any, end: Any, *_: object) -> None:
            self.started.append(spec.partition_id)
            end.close()

        regions = SimpleNamespace(reserve_partition=lambda *_: None, bell=bell_of, may_have_leftovers=lambda _: False)
        zygote = SimpleNamespace(knows=lambda _: None, spawn=spawn, look=lambda _: None)
        parts: Any = (self.loop, identity_at(directory), self.catalog, regions, zygote)
        self.owners = Owners(*parts)

    def close(self) -> None:
        for owner in self.owners._owners.values():
            owner.channel.close()
        self.loop.close()
        self.catalog.close(clean=True)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 5)
    yield made
    made.close()


def test_the_epochs_of_many_owners_become_durable_with_one_sync_for_each_few(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners_module, "EPOCHS_AT_ONCE", 2)
    commit, committed = cluster.catalog.commit, list[int]()

    def counted(records: tuple[MetadataRecord, ...]) -> None:
        assert len(cluster.started) == sum(committed), "nobody is started before its epoch is durable"
        committed.append(sum(isinstance(record, LeaderEpochRaised) for record in records))
        commit(records)

    monkeypatch.setattr(cluster.catalog, "commit", counted)
    cluster.owners.want(cluster.catalog.machine.partitions())
    assert committed == [2, 2, 1]
    assert cluster.started == [partition.partition_id for partition in cluster.catalog.machine.partitions()]


def test_when_a_topic_is_given_up_over_one_owner_the_rest_of_them_is_not_started(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners_module, "EPOCHS_AT_ONCE", 2)
    machine = cluster.catalog.machine

    class GivesUp(OwnerWatcher):
        def owner_failed(self, partition_id: int, error: str, message: str) -> None:
            machine.condemn(machine.topic("t"))

    cluster.owners.watchers.append(GivesUp())
    partitions = machine.partitions()
    cluster.no_bell_for = {partitions[0].partition_id}
    cluster.owners.want(partitions)
    assert cluster.started == []
    assert {cluster.owners.machine.phase(one.partition_id) for one in partitions[2:]} == {OwnerPhase.STOPPED}
    assert machine.topics() == []


def test_only_the_first_owner_of_a_partition_that_has_nothing_in_shared_memory_need_not_look_for_rings(
    tmp_path: Path,
) -> None:
    tag = names.cluster_tag("many", str(tmp_path))
    region.create(names.ring(tag, 7, 1), 4096)
    try:
        regions = Regions(identity_at(tmp_path, tag))
        assert [regions.may_have_leftovers(number) for number in (7, 7, 8, 8)] == [True, True, False, True]
    finally:
        region.sweep(tag)


def test_an_owner_that_may_find_rings_of_an_earlier_one_removes_them_and_another_does_not_even_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_rig(tmp_path) as rig:
        left = names.ring(rig.tag, 1, 999)
        region.create(left, 4096)
        start_cold(rig, epoch=1, leftovers=True)
        assert not region.exists(left)
        monkeypatch.setattr(region, "list_names", pytest.fail)
        start_cold(rig, epoch=2, leftovers=False)


def start_cold(rig: Rig, *, epoch: int, leftovers: bool) -> None:
    """The next owner of a partition whose control page is gone."""
    if rig.lives:
        rig.let_go()
    region.unlink(names.control_page(rig.tag, 1))
    opened = open_partition(replace(rig.spec_for(epoch), leftovers=leftovers))
    opened.log.close(clean=False)
    opened.control.close()


def test_a_descriptor_beyond_those_that_select_takes_can_be_waited_for() -> None:
    """Regression: a supervisor that found the owners of a thousand partitions left behind could not start."""
    reading, writing = os.pipe()
    raise_file_limit()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD, 2000)
    try:
        assert not becomes_readable(high, 0.0)
        os.write(writing, b"!")
        assert becomes_readable(high, 0.0)
    finally:
        for fd in (reading, writing, high):
            os.close(fd)


def test_an_owners_heartbeat_is_mapped_once_and_let_go_with_the_owner(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[SimpleNamespace] = []

    def open_page(tag: str, partition_id: int) -> Any:
        opened.append(SimpleNamespace(heartbeat_ns=len(opened) + 1, close=opened.clear))
        return opened[-1]

    monkeypatch.setattr(heartbeats_module, "ControlPage", SimpleNamespace(open=open_page))
    cluster.owners.want(cluster.catalog.machine.partitions()[:1])
    ((partition_id, owner),) = cluster.owners._owners.items()
    owner.ready = OwnerReady(partition_id, 0, 1, 4096, 64, 0, 0, [], "", False)
    cluster.owners.observe(Ready(partition_id))
    lanes: Any = SimpleNamespace(unanswered=list)
    heartbeats = Heartbeats(cluster.loop, identity_at(Path("/nowhere")), cluster.owners, no_followers(), lanes)
    heartbeats.look()
    heartbeats.look()
    assert len(opened) == 1
    owner._exited()
    assert opened == []

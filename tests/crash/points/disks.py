"""Scenarios: a supervisor of a cluster with two disks is killed while it starts, and makes and deletes topics, also
without one of them."""

from __future__ import annotations

import shutil

from shmlog.supervisor.metadata import metadata_directory
from tests.crash.points.clusters import ClusterRole, ClusterWorld, cluster_scenario


class SpreadRole(ClusterRole):
    """A supervisor of a cluster with two disks."""

    disks = ("disk0", "disk1")


class SpreadWorld(ClusterWorld):
    """Its cluster has two disks."""

    role = SpreadRole

    def unplug(self) -> None:
        """Take the second one away, while no supervisor runs."""
        self.kill()
        (self.place / "disk1").rename(self.place / "unplugged")

    def plug_in(self) -> None:
        self.kill()
        (self.place / "unplugged").rename(self.place / "disk1")


@cluster_scenario("cluster: first start with two disks", SpreadWorld)
def first_start_with_disks(world: SpreadWorld) -> None:
    world.start(armed=True)


@cluster_scenario("cluster: the metadata log comes back from a copy", SpreadWorld)
def metadata_comes_back(world: SpreadWorld) -> None:
    world.start()
    world.create("stays", 2)
    world.kill()
    shutil.rmtree(metadata_directory(str(world.place / "data")))
    world.start(armed=True)


@cluster_scenario("cluster: topics on two disks", SpreadWorld)
def topics_on_disks(world: SpreadWorld) -> None:
    world.start()
    world.create("stays", 1)
    world.arm()
    world.create("goes", 2)
    world.delete("goes")


@cluster_scenario("cluster: a disk comes back with a topic that was deleted", SpreadWorld)
def disk_comes_back(world: SpreadWorld) -> None:
    world.start()
    world.create("stays", 2)
    world.create("goes", 2)
    world.unplug()
    world.start()
    world.delete("goes")
    world.plug_in()
    world.start(armed=True)


@cluster_scenario("cluster: a topic is deleted without one of its disks", SpreadWorld)
def deleted_without_a_disk(world: SpreadWorld) -> None:
    world.start()
    world.create("goes", 2)
    world.unplug()
    world.start()
    world.arm()
    world.delete("goes")

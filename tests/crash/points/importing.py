"""Scenarios: a supervisor is killed while it takes over the logs of a topic that a client has made."""

from __future__ import annotations

import os
from functools import partial

from shmlog.control.messages import ImportTopic, PlaceTopic, TopicCreated, TopicPlaced
from shmlog.log.archive import ArchivedPartition, Manifest
from shmlog.log.imported_topic import ImportedTopic
from shmlog.log.log_reader import open_log
from shmlog.machines.log_names import import_name
from shmlog.record.batch import NewRecord, encode_batch
from shmlog.settings import TopicConfig
from tests.crash.points.clusters import CLUSTER_CONFIG, ClusterRole, check_cluster, cluster_scenario
from tests.crash.points.disks import SpreadRole, SpreadWorld

NAME, EPOCH, OFFSETS, END = "imported", 6, (5, 6, 9), 12
CONFIG = {**CLUSTER_CONFIG, "retention.ms": "-1"}


class ImportingRole(SpreadRole):
    """A supervisor that is asked to import."""

    def place(self, name: str, partitions: int) -> TopicPlaced:
        wanted = PlaceTopic(1, name, partitions, 1, CONFIG)
        placed = self._ask(partial(self.topics.place, wanted), TopicPlaced)
        assert isinstance(placed, TopicPlaced)
        return placed

    def bring_in(self, wanted: ImportTopic) -> None:
        self._ask(partial(self.topics.bring_in, wanted), TopicCreated)


class ImportingWorld(SpreadWorld):
    """Its client survives."""

    role = ImportingRole

    def prepare(self, partitions: int) -> ImportTopic:
        """Make the logs; returns what is to be asked then."""
        assert self.supervisor is not None
        placed: TopicPlaced = self.supervisor.call("place", NAME, partitions)
        there = [ArchivedPartition(number, 5, END, [[EPOCH, 0]]) for number in range(partitions)]
        directories = [os.path.join(path, import_name(placed.topic_id, at)) for at, path in enumerate(placed.paths)]
        config = TopicConfig.from_mapping(CONFIG)
        made = ImportedTopic(Manifest(NAME, {}, there, 0, "0"), directories, config, topic_id=placed.topic_id)
        made.fill(
            (number, encode_batch([NewRecord(b"%d" % offset)], base_offset=offset, leader_epoch=EPOCH))
            for number in range(partitions)
            for offset in OFFSETS
        )
        return ImportTopic(1, placed.topic_id, NAME, 1, CONFIG, placed.directory_ids, made.leader_epochs)

    def bring_in(self, wanted: ImportTopic) -> None:
        assert self.supervisor is not None
        self.doubtful = (wanted.name, len(wanted.directory_ids))
        self.supervisor.call("bring_in", wanted)
        self.certain[wanted.name] = len(wanted.directory_ids)
        self.doubtful = None

    def check(self, role: ClusterRole) -> None:
        """A topic that is there has all of its logs, and owners above their epochs."""
        for partition in role.catalog.machine.partitions():
            if partition.topic.name == NAME and not partition.topic.deleting:
                log = open_log(role.identity.directories.log_directory(partition))
                assert [record.offset for record in log.records()] == list(OFFSETS)
                assert (log.end_offset, partition.leader_epoch > EPOCH) == (END, True)
        check_cluster(self, role)


@cluster_scenario("cluster: a topic is imported", ImportingWorld)
def imports(world: ImportingWorld) -> None:
    world.start()
    world.create("stays", 1)
    wanted = world.prepare(3)
    world.arm()
    world.bring_in(wanted)


@cluster_scenario("cluster: a start finds logs of an import that was not finished", ImportingWorld)
def finds_logs(world: ImportingWorld) -> None:
    world.start()
    world.prepare(2)
    world.start(armed=True)

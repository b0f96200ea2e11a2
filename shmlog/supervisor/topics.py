"""Topics: created when all their owners run, deleted when nothing of them is left."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from shmlog.control.messages import (
    AlterConfig,
    AlterTopic,
    CreateTopic,
    DeleteTopic,
    DescribeTopics,
    ImportTopic,
    OwnerReady,
    PlaceTopic,
    TopicCreated,
    TopicsDescribed,
)
from shmlog.errors import DiskFullError, LeaderNotAvailableError, ShmlogError, StorageError
from shmlog.limits import CONTROL_TIMEOUT_S
from shmlog.log.checkpoint import read_topic_id
from shmlog.log.storage import OsStorage
from shmlog.machines.metadata import CatalogStep, ConfigurePartition, ErasePartition, Partition, StartPartition, Topic
from shmlog.machines.metadata_records import LogAbandoned, TopicConfigReplaced
from shmlog.machines.supervision import OwnerPhase
from shmlog.machines.topic_settings import SettingsChange
from shmlog.record.compression import check_topic
from shmlog.settings import TopicConfig, effective
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.arrivals import Arrivals
from shmlog.supervisor.capacity import check_partitions
from shmlog.supervisor.describe import Descriptions, keys_move
from shmlog.supervisor.followers import Followers
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop, Timer
from shmlog.supervisor.meta_properties import random_uuid
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owner_watcher import OwnerWatcher
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.regions import Regions
from shmlog.supervisor.trash import Trash

log = logging.getLogger(__name__)

FULL_DISK_PAUSE_S = 1.0


START_TIMEOUT_S = 0.9 * CONTROL_TIMEOUT_S
"""So that who waits for the answer still gets it."""


@dataclass(slots=True)
class _Wait:
    """A request that is answered when all of `remaining` (partition ids) have got where they should."""

    remaining: set[int]
    done: Callable[[], None]
    failed: Callable[[str, str], None]
    timer: Timer


class Topics(OwnerWatcher):
    """Carries out what the catalog machine decides; watches owners."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        catalog: Catalog,
        regions: Regions,
        owners: Owners,
        followers: Followers,
        describe: Descriptions,
        trash: Trash,
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._catalog = catalog
        self._regions = regions
        self._owners = owners
        self._followers = followers
        self._describe = describe
        self._trash = trash
        self._arrivals = Arrivals(identity, catalog, trash)
        self._starting: list[_Wait] = []
        self._erasing: dict[str, set[int]] = {}  # topic id -> partitions that somebody writes still
        self._on_deleted: dict[str, list[Callable[[], None]]] = {}
        self._altered: set[int] = set()  # partitions whose owner was ordered, or not even that, when they were
        owners.watchers.append(self)
        followers.on_gone.append(self._followers_gone)

    # --- requests: each raises what is wrong with it, or sees to its answer -------------------------------------------

    def describe(self, wanted: DescribeTopics, answer: Answer) -> None:
        machine = self._catalog.machine
        names = None if wanted.topics is None else dict.fromkeys(wanted.topics)  # each once, however often it is named
        topics = machine.topics() if names is None else [machine.topic(name) for name in names]
        answer.give(TopicsDescribed(answer.request_id, [self._describe.topic(topic) for topic in topics]))

    def partition_ids(self, names: list[str] | None) -> list[int]:
        """Of these topics, or of all. Raises UnknownTopicOrPartitionError."""
        machine = self._catalog.machine
        topics = machine.topics() if names is None else [machine.topic(name) for name in dict.fromkeys(names)]
        return [partition_id for topic in topics for partition_id in topic.partition_ids]

    def create(self, wanted: CreateTopic, answer: Answer, *, internal: bool = False) -> None:
        """A new topic; if one of its owners cannot start, the topic is removed again and the reason is the answer."""
        step = self._step_of(wanted, wanted.partitions, internal=internal)
        self._catalog.commit(step.records)
        self._start(self._catalog.machine.topic(wanted.name), step, answer)

    def place(self, wanted: PlaceTopic, answer: Answer) -> None:
        """Where the logs of a topic that is to be imported are prepared, if it could be created now."""
        step = self._step_of(wanted, wanted.partitions)
        answer.give(self._arrivals.place(wanted, step))

    def bring_in(self, wanted: ImportTopic, answer: Answer) -> None:
        """A new topic whose logs were made already; it is there with all of them, or not at all."""
        self._arrivals.check(wanted)
        step = self._step_of(wanted, len(wanted.directory_ids), wanted.topic_id)
        self._catalog.commit(self._arrivals.records(wanted, step))
        topic = self._catalog.machine.topic(wanted.name)
        try:
            self._arrivals.put_in_place(topic)
        except (OSError, ShmlogError) as error:
            self._take_back(topic)
            raise StorageError(f"topic {topic.name!r} was not imported: {error}") from error
        self._start(topic, step, answer)

    def alter(self, wanted: AlterTopic, answer: Answer) -> None:
        topic = self._catalog.machine.topic(wanted.name)
        before = len(topic.partition_ids)
        step = self._catalog.machine.alter_topic(
            wanted.name,
            change=SettingsChange(wanted.set, wanted.unset, wanted.append, wanted.subtract),
            partitions=wanted.partitions,
            directories=None if wanted.partitions is None else self._identity.directories.for_new_replicas(),
        )
        added = {action.partition_id for action in step.actions if isinstance(action, StartPartition)}
        replaced = [record.config for record in step.records if isinstance(record, TopicConfigReplaced)]
        config = self._effective(replaced[0] if replaced else topic.config)
        check_partitions(len(added))
        self._regions.check_partitions(config, len(added))
        self._regions.check_growth(topic.partition_ids, config)
        self._catalog.commit(step.records)
        for partition_id in topic.partition_ids:
            self._regions.reserve_partition(partition_id, config)

        def altered() -> None:
            described = self._describe.topic(topic)
            if added:
                warning = "; ".join(filter(None, (keys_move(topic, before), described.warning)))
                described = replace(described, warning=warning)
            answer.give(TopicsDescribed(answer.request_id, [described]))

        def failed(error: str, message: str) -> None:
            answer.fail_as(error, f"topic {topic.name!r} was altered, but a new partition does not start: {message}")

        self._wait(added, altered, failed)
        self._act(step)

    def delete(self, wanted: DeleteTopic, answer: Answer) -> None:
        topic = self._catalog.machine.topic(wanted.name)
        self._on_deleted.setdefault(topic.topic_id, []).append(answer.done)
        self._delete(topic)

    # --- starting and stopping with the cluster -----------------------------------------------------------------------

    def resume(self, settled: Callable[[], None]) -> None:
        """At the start of the cluster: finish deletions, start an owner for every partition.

        `settled` is called when all owners run, or one has failed, or CONTROL_TIMEOUT_S has passed.
        """
        directories = self._identity.directories
        for directory_id in directories.present():
            self._arrivals.settle(directory_id)  # before anybody looks for his log
            self._when_there_is_room(partial(self.erase_abandoned, directory_id))
        for topic in self._catalog.machine.deletions():
            self._erasing[topic.topic_id] = set()
            self._when_there_is_room(partial(self._finish_deletion, topic.topic_id))
        partitions = [one for one in self._catalog.machine.partitions() if not one.topic.deleting]
        awaited = {one.partition_id for one in partitions if not directories.missing(one)}
        self._wait(awaited, settled, lambda error, message: settled())
        self._followers.want(partitions)  # first: an owner is told of its followers with its order to start
        self._owners.want(partitions)

    def close_all(self) -> None:
        """At the end of the cluster."""
        for partition in self._catalog.machine.partitions():
            self._owners.unwant(partition.partition_id, delete=False)

    # --- owners -------------------------------------------------------------------------------------------------------

    def owner_ready(self, ready: OwnerReady) -> None:
        partition = self._catalog.machine.partition_by_id(ready.partition_id)
        if ready.partition_id in self._altered and partition is not None:
            self._altered.discard(ready.partition_id)
            owner = self._owners.running(ready.partition_id)
            assert owner is not None, "who is ready takes orders"
            self._owners.send(owner, AlterConfig(self._catalog.machine.effective_config(partition.topic)))
        for wait in [wait for wait in self._starting if ready.partition_id in wait.remaining]:
            wait.remaining.discard(ready.partition_id)
            if not wait.remaining:
                self._end(wait)
                wait.done()

    def owner_failed(self, partition_id: int, error: str, message: str) -> None:
        for wait in [wait for wait in self._starting if partition_id in wait.remaining]:
            self._end(wait)
            wait.failed(error, message)

    def owner_gone(self, partition_id: int, delete: bool, clean: bool) -> None:
        if self._followers.are_gone(partition_id):
            self._gone(partition_id)

    def _followers_gone(self, partition_id: int) -> None:
        if self._owners.machine.phase(partition_id) is OwnerPhase.STOPPED:
            self._gone(partition_id)

    def _gone(self, partition_id: int) -> None:
        """Nobody writes to this partition's logs any more."""
        partition = self._catalog.machine.partition_by_id(partition_id)
        topic_id = partition.topic.topic_id if partition is not None else ""
        if topic_id in self._erasing:
            self._erasing[topic_id].discard(partition_id)
            if not self._erasing[topic_id]:
                self._when_there_is_room(lambda: self._finish_deletion(topic_id))

    def _is_run(self, partition_id: int) -> bool:
        """By an owner or by followers, of which somebody will hear that they are gone."""
        is_owned = self._owners.machine.phase(partition_id) is not OwnerPhase.STOPPED
        return is_owned or not self._followers.are_gone(partition_id)

    # --- new topics ---------------------------------------------------------------------------------------------------

    def _step_of(
        self,
        wanted: CreateTopic | PlaceTopic | ImportTopic,
        partitions: int | None,
        topic_id: str | None = None,
        *,
        internal: bool = False,
    ) -> CatalogStep:
        """What makes such a topic. Raises what is wrong with it, and when there are no resources for it."""
        step = self._catalog.machine.create_topic(
            wanted.name,
            topic_id=random_uuid() if topic_id is None else topic_id,
            partitions=partitions,
            replication_factor=wanted.replication_factor,
            config=wanted.config,
            internal=internal,
            directories=self._identity.directories.for_new_replicas(),
        )
        check_partitions(len(step.actions))
        self._regions.check_partitions(self._effective(wanted.config), len(step.actions))
        return step

    def _start(self, topic: Topic, step: CatalogStep, answer: Answer) -> None:
        """The owners of a topic that was just made; if one cannot start, the topic is removed again."""

        def created() -> None:
            answer.give(TopicCreated(answer.request_id, self._describe.topic(topic)))

        def failed(error: str, message: str) -> None:
            answer.fail_as(error, f"topic {topic.name!r} was not created: {message}")
            if not (topic.deleting or topic.internal):  # the cluster's own are tried again and again
                self._take_back(topic)

        self._wait(set(topic.partition_ids), created, failed)
        self._act(step)

    # --- details ------------------------------------------------------------------------------------------------------

    def _act(self, step: CatalogStep) -> None:
        wanted: list[Partition] = []
        for action in step.actions:
            if isinstance(action, ErasePartition):
                self._owners.unwant(action.partition_id, delete=True)
                self._followers.unwant(action.partition_id, delete=True)
                continue
            partition = self._catalog.machine.partition_by_id(action.partition_id)
            if partition is None or partition.topic.is_hidden:
                continue  # an action before it failed, and that deleted the topic
            match action:
                case StartPartition():
                    wanted.append(partition)
                case ConfigurePartition():
                    owner = self._owners.running(action.partition_id)
                    order = AlterConfig(self._catalog.machine.effective_config(partition.topic))
                    if owner is not None:
                        self._owners.send(owner, order)
                    else:
                        self._altered.add(action.partition_id)
                    self._followers.configure(action.partition_id, order)
        self._followers.want(wanted)
        self._owners.want(wanted)

    def _effective(self, config: dict[str, str]) -> TopicConfig:
        """Typed. Raises UnsupportedCompressionTypeError when owners could not do what it says."""
        typed = TopicConfig.from_mapping(effective(self._identity.config.topic_defaults, config))
        check_topic(typed)
        return typed

    def _when_there_is_room(self, step: Callable[[], None]) -> None:
        """Do a step that nobody waits for, and that may be repeated; on a full disk, later."""
        try:
            step()
        except DiskFullError as error:
            log.warning("%s", error)
            self._loop.call_in(FULL_DISK_PAUSE_S, lambda: self._when_there_is_room(step))

    def _take_back(self, topic: Topic) -> None:
        """Delete a topic that was not created. While there is no room for that, nobody can use it: its owners close."""
        self._catalog.machine.condemn(topic)
        self._when_there_is_room(partial(self._delete, topic))
        if not topic.deleting:
            self._fail_starts(topic)
            for partition_id in topic.partition_ids:
                self._owners.unwant(partition_id, delete=True)
                self._followers.unwant(partition_id, delete=True)

    def _delete(self, topic: Topic) -> None:
        step = self._catalog.machine.delete_topic(topic.name)
        self._catalog.commit(step.records)
        self._fail_starts(topic)
        run = {one for one in topic.partition_ids if self._is_run(one)}
        self._erasing[topic.topic_id] = run
        if not run:
            self._when_there_is_room(partial(self._finish_deletion, topic.topic_id))
        self._act(step)

    def _fail_starts(self, topic: Topic) -> None:
        for partition_id in topic.partition_ids:
            self.owner_failed(partition_id, "UnknownTopicOrPartitionError", "the topic was deleted meanwhile")

    def _finish_deletion(self, topic_id: str) -> None:
        self._erasing.pop(topic_id, None)
        directories, present = self._identity.directories, self._identity.directories.present()
        (topic,) = [topic for topic in self._catalog.machine.deletions() if topic.topic_id == topic_id]
        delay_ms = int(self._catalog.machine.effective_config(topic)["file.delete.delay.ms"])
        for partition_id in topic.partition_ids:
            partition = self._catalog.machine.partition_by_id(partition_id)
            assert partition is not None
            self._regions.drop_partition(partition_id)
            for replica_id, directory_id in partition.replicas.items():
                if directory_id in present:
                    self._trash.throw_away(directories.log_directory(partition, replica_id), topic_id, delay_ms)
        self._catalog.commit(self._catalog.machine.finish_deletion(topic_id, present).records)
        log.info("topic %r is deleted", topic.name)
        for told in self._on_deleted.pop(topic_id, []):
            told()

    def is_back(self, directory_id: str) -> None:
        """A log directory that was missing can be used again: do there what a start does."""
        self._arrivals.settle(directory_id)
        self.erase_abandoned(directory_id)

    def erase_abandoned(self, directory_id: str) -> None:
        """Logs of replicas that have moved, and of topics that were deleted while their directory was away. Another may
        have got the name since an interrupted attempt, so it counts whose they are."""
        gone: list[LogAbandoned] = []
        for one in self._catalog.machine.abandoned(directory_id):
            directory = os.path.join(self._identity.directories.path(directory_id), one.log_name)
            try:
                if read_topic_id(OsStorage(), directory) == one.topic_id:
                    self._trash.throw_away(directory, one.topic_id)
                gone.append(one)
            except (OSError, ShmlogError) as error:
                log.warning("%s, of a topic that was deleted, stays until the next start: %s", directory, error)
        self._catalog.commit(self._catalog.machine.erased(gone).records)

    def _wait(self, partition_ids: set[int], done: Callable[[], None], failed: Callable[[str, str], None]) -> None:
        if not partition_ids:
            done()
            return

        def too_late() -> None:
            self._end(wait)
            said = sorted({self._owners.machine.error(partition_id) for partition_id in wait.remaining} - {""})
            wait.failed(
                LeaderNotAvailableError.__name__,
                f"{len(wait.remaining)} of its partitions have no running owner after {START_TIMEOUT_S:g} s"
                + (f": {'; '.join(said)}" if said else ""),
            )

        wait = _Wait(set(partition_ids), done, failed, self._loop.call_in(START_TIMEOUT_S, too_late))
        self._starting.append(wait)

    def _end(self, wait: _Wait) -> None:
        wait.timer.cancel()
        if wait in self._starting:
            self._starting.remove(wait)

"""Topics whose creation or deletion is interrupted: by owners that cannot start, by a disk without room."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import CreateTopic, DeleteTopic, Done, Failed, ImportTopic, OwnerSpec, Reply
from shmlog.control.paths import RuntimePaths
from shmlog.errors import DiskFullError, StorageError, TopicAlreadyExistsError, UnknownTopicOrPartitionError
from shmlog.log.imported_log import ImportedLog
from shmlog.machines.log_names import import_name
from shmlog.machines.metadata_records import LeaderEpochRaised, MetadataRecord, TopicDeleted, TopicDeletionBegun
from shmlog.machines.supervision import Exited, OwnerPhase
from shmlog.settings import ClusterConfig, TopicConfig
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.arrivals import Arrivals
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop
from shmlog.supervisor.metadata import Catalog
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.topics import Topics
from tests.no_followers import no_followers


class Parts:
    """A catalog on a real disk, owners that nobody forks, and a disk and bells that refuse when the test says so."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        self.refused: tuple[type[MetadataRecord], ...] = ()
        """Records for which the disk has no room."""
        self.without_bell = set[int]()
        self.answers = list[Reply]()
        self.spawned = list[int]()
        """Partition ids."""
        self.loop = Loop(lambda: self.now_ns)
        self.directory = directory
        config = ClusterConfig.from_mapping({})
        self.catalog = Catalog(str(directory), config)
        self._commit = self.catalog.commit
        monkeypatch.setattr(self.catalog, "commit", self._commit_if_there_is_room)
        away = LogDirectory("away", "/away", "is on a disk that nobody has plugged in")
        directories = LogDirectories([LogDirectory("", str(directory)), away])
        identity = ClusterIdentity(
            "c", "id", "0" * 8, RuntimePaths(str(directory)), str(directory), config, None, 0, directories
        )
        regions = SimpleNamespace(
            check_partitions=lambda *_: None,
            reserve_partition=lambda *_: None,
            may_have_leftovers=lambda _: False,
            had_leftovers=lambda _: False,
            drop_partition=lambda _: None,
            bell=self._bell,
        )
        zygote = SimpleNamespace(knows=lambda _: None, spawn=self._spawn)
        self.thrown_away = list[str]()
        """Directories."""
        trash = SimpleNamespace(throw_away=lambda directory, *_: self.thrown_away.append(directory))
        owner_parts: Any = (self.loop, identity, self.catalog, regions, zygote)
        self.owners = Owners(*owner_parts)
        parts: Any = (self.loop, identity, self.catalog, regions, self.owners, no_followers(), None, trash)
        self.topics = Topics(*parts)

    def _commit_if_there_is_room(self, records: tuple[MetadataRecord, ...]) -> None:
        if any(isinstance(record, self.refused) for record in records):
            raise DiskFullError("no room")
        self._commit(records)

    def _spawn(self, spec: OwnerSpec, end: socket.socket, *_: object) -> None:
        self.spawned.append(spec.partition_id)
        end.close()

    def _bell(self, partition_id: int) -> Any:
        if partition_id in self.without_bell:
            raise OSError(28, "no room in shared memory")
        return SimpleNamespace(ring=lambda: None, close=lambda: None)

    def later(self, seconds: float = 2.0) -> None:
        self.now_ns += int(seconds * 1e9)
        self.loop.run_once(0.0)
        self.loop.run_once(0.0)

    def close(self) -> None:
        for owner in list(self.owners._owners.values()):
            owner.channel.close()
        self.catalog.close(clean=True)
        self.loop.close()


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    made = Parts(tmp_path, monkeypatch)
    yield made
    made.close()


def test_a_deletion_that_waits_for_room_starts_no_owner_of_what_it_deletes(parts: Parts) -> None:
    machine = parts.catalog.machine
    parts.catalog.commit(machine.create_topic("gone", topic_id="g", partitions=1).records)
    parts.catalog.commit(machine.create_topic("kept", topic_id="k", partitions=1).records)
    parts.catalog.commit(machine.delete_topic("gone").records)
    parts.refused = (TopicDeleted,)
    parts.topics.resume(lambda: None)
    assert [topic.name for topic in machine.deletions()] == ["gone"]
    assert [parts.owners.machine.phase(number) for number in (0, 1)] == [OwnerPhase.STOPPED, OwnerPhase.STARTING]
    parts.refused = ()
    parts.later()
    assert machine.deletions() == []


def test_a_topic_whose_first_partition_fails_at_once_starts_no_other_and_is_gone(parts: Parts) -> None:
    parts.without_bell = {0}
    parts.topics.create(CreateTopic(0, "t", 2, 1, {}), Answer(7, parts.answers.append))
    assert [type(answer) for answer in parts.answers] == [Failed]
    parts.later()
    assert parts.owners.machine.phase(1) is OwnerPhase.STOPPED
    assert parts.spawned == []
    assert (parts.catalog.machine.topics(), parts.catalog.machine.deletions()) == ([], [])


def test_a_topic_that_was_not_created_is_of_no_use_while_its_deletion_waits_for_room(parts: Parts) -> None:
    machine = parts.catalog.machine
    parts.refused = (LeaderEpochRaised, TopicDeletionBegun)
    parts.topics.create(CreateTopic(0, "t", 2, 1, {}), Answer(7, parts.answers.append))
    assert [type(answer) for answer in parts.answers] == [Failed]
    assert (machine.topics(), machine.deletions()) == ([], [])
    with pytest.raises(UnknownTopicOrPartitionError):
        machine.partition("t", 0)
    with pytest.raises(TopicAlreadyExistsError, match="is being deleted"):
        parts.topics.create(CreateTopic(0, "t", 2, 1, {}), Answer(8, parts.answers.append))
    parts.refused = (TopicDeletionBegun,)
    for _ in range(3):
        parts.later()
    assert parts.spawned == []
    parts.refused = ()
    parts.later()
    assert machine.partitions() == []
    parts.topics.create(CreateTopic(0, "t", 2, 1, {}), Answer(9, parts.answers.append))
    assert len(parts.spawned) == 2


def test_owners_that_run_are_closed_while_the_deletion_of_their_topic_waits_for_room(parts: Parts) -> None:
    parts.without_bell, parts.refused = {1}, (TopicDeletionBegun,)
    parts.topics.create(CreateTopic(0, "t", 2, 1, {}), Answer(7, parts.answers.append))
    assert parts.owners.machine.phase(0) is OwnerPhase.CLOSING
    parts.refused = ()
    parts.later()
    assert [topic.name for topic in parts.catalog.machine.deletions()] == ["t"], "one owner is still there"
    parts.owners.observe(Exited(0))
    assert parts.catalog.machine.partitions() == []


def test_a_start_does_not_wait_for_partitions_whose_directory_is_missing(parts: Parts) -> None:
    machine, settled = parts.catalog.machine, list[str]()
    parts.catalog.commit(machine.create_topic("t", topic_id="t", partitions=2, directories=["away"]).records)
    parts.topics.resume(lambda: settled.append("settled"))
    assert settled == ["settled"]
    assert (parts.owners.machine.phase(0), parts.spawned) == (OwnerPhase.OFFLINE, [])
    assert parts.owners.machine.error(1) == (
        "StorageError: its log is in /away (directory.id away), which is on a disk that nobody has plugged in"
    )
    assert machine.partition("t", 0).leader_epoch == -1, "no epoch is spent on an owner that cannot start"


def test_a_topic_is_deleted_without_the_directory_of_one_of_its_partitions(parts: Parts) -> None:
    machine = parts.catalog.machine
    parts.catalog.commit(machine.create_topic("t", topic_id="t", partitions=1, directories=["away"]).records)
    parts.topics.resume(lambda: None)
    parts.topics.delete(DeleteTopic(0, "t"), Answer(7, parts.answers.append))
    assert parts.answers == [Done(7)]
    assert [one.log_name for one in machine.abandoned("away")] == ["t-0"]
    assert parts.thrown_away == [], "it cannot be reached"


def test_an_imported_topic_whose_logs_do_not_get_their_names_is_gone_and_no_owner_was_started(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    topic_id = "i" * 22
    log = ImportedLog(
        str(parts.directory / import_name(topic_id, 0)),
        TopicConfig.from_mapping({}),
        topic_id=topic_id,
        start_offset=4,
        end_offset=4,
    )
    log.finish([])
    monkeypatch.setattr(Arrivals, "_put_in_place", refuse)
    answer = Answer(7, parts.answers.append)
    with pytest.raises(StorageError, match="topic 't' was not imported: .*Input/output error"):
        parts.topics.bring_in(ImportTopic(7, topic_id, "t", 1, {}, [""], [-1]), answer)
    assert parts.catalog.machine.partitions() == []
    assert parts.spawned == []
    parts.topics.resume(lambda: None)
    assert parts.thrown_away[-1] == log.directory

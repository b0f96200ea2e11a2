"""Logs that a client has made for a topic that is imported: what is asked of them, and when they get their names."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.control.messages import ImportTopic, PlaceTopic
from shmlog.errors import DiskFullError, InvalidRequestError, InvalidTopicError, ShmlogError, StorageError
from shmlog.log.archive import ArchivedPartition, Manifest
from shmlog.log.imported_topic import ImportedTopic
from shmlog.machines.log_names import import_name, log_name, parse_import_name
from shmlog.machines.metadata import CatalogStep
from shmlog.machines.metadata_records import InSyncChanged, LeaderEpochRaised
from shmlog.settings import ClusterConfig, TopicConfig
from shmlog.supervisor.arrivals import LEADER_EPOCH_MAX, Arrivals
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.metadata import Catalog
from shmlog.testing.known_log import batch_at

TOPIC_ID = "i" * 22
OTHER_ID = "o" * 22
CONFIG = TopicConfig.from_mapping({})


class Parts:
    """Arrivals over a catalog and three directories; what they throw away is noted and gone."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("data", "disk0", "disk1", "disk2"):
            (place / name).mkdir()
        config = ClusterConfig.from_mapping({"disk.reserve.bytes": 5})
        self.catalog = Catalog(str(place / "data"), config, directory_id="data")
        self.directories = LogDirectories([LogDirectory(f"id{n}", str(place / f"disk{n}")) for n in range(3)])
        self.thrown_away: list[str] = []
        identity: Any = SimpleNamespace(directories=self.directories, config=config)
        trash: Any = SimpleNamespace(throw_away=self._throw_away)
        self.arrivals = Arrivals(identity, self.catalog, trash)

    def _throw_away(self, directory: str, topic_id: str) -> None:
        self.thrown_away.append(os.path.relpath(directory, self.place))
        shutil.rmtree(directory)

    def step(self, name: str = "t", partitions: int = 2, replicas: int = 1, topic_id: str = TOPIC_ID) -> CatalogStep:
        return self.catalog.machine.create_topic(
            name,
            topic_id=topic_id,
            partitions=partitions,
            replication_factor=replicas,
            directories=self.directories.for_new_replicas(),
        )

    def prepare(self, *disks: int, topic_id: str = TOPIC_ID) -> ImportTopic:
        """Make the logs of a partition in each of these disks, and ask for them."""
        manifest = Manifest("t", {}, [ArchivedPartition(n, 4, 6, [[3, 0]]) for n in range(len(disks))], 0, "0")
        paths = [str(self.place / f"disk{disk}" / import_name(topic_id, n)) for n, disk in enumerate(disks)]
        made = ImportedTopic(manifest, paths, CONFIG, topic_id=topic_id)
        made.fill((number, batch_at(4)) for number in range(len(disks)))
        return ImportTopic(1, topic_id, "t", 1, {}, [f"id{disk}" for disk in disks], made.leader_epochs)

    def entries(self) -> list[str]:
        return sorted(str(path.relative_to(self.place)) for path in self.place.glob("disk*/*"))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.catalog.close(clean=True)


def test_the_places_of_logs_are_those_of_new_leaders_and_nothing_is_recorded(parts: Parts, tmp_path: Path) -> None:
    placed = parts.arrivals.place(PlaceTopic(1, "t", 2, 2, {}), parts.step(replicas=2))
    assert placed.directory_ids == ["id0", "id2"]
    assert placed.paths == [str(tmp_path / "disk0"), str(tmp_path / "disk2")]
    assert (placed.reserve_bytes, len(placed.topic_id)) == (5, 22)
    assert parts.catalog.machine.topics() == []


def test_replicas_lead_from_where_the_logs_are_above_their_epochs_and_nobody_else_is_in_sync(parts: Parts) -> None:
    wanted = replace(parts.prepare(1, 1), leader_epochs=[7, -1])
    parts.arrivals.check(wanted)
    step = parts.step(replicas=2)
    records = parts.arrivals.records(wanted, step)
    parts.catalog.commit(records)
    first, second = (parts.catalog.machine.partition("t", number) for number in range(2))
    assert (first.replicas[0], second.replicas[0]) == ("id1", "id1")
    assert len(set(first.replicas.values())) == len(set(second.replicas.values())) == 2, "and the others elsewhere"
    assert first.in_sync == second.in_sync == frozenset([0])
    assert (first.leader_epoch, second.leader_epoch) == (7, -1)
    assert [record for record in records if isinstance(record, LeaderEpochRaised)] == [LeaderEpochRaised(0, 7)]
    assert sum(isinstance(record, InSyncChanged) for record in records) == 2


def test_logs_get_their_names_once_their_topic_is_known_and_not_before(parts: Parts) -> None:
    wanted = parts.prepare(1, 1)
    assert parts.entries() == [f"disk1/{TOPIC_ID}-0.import", f"disk1/{TOPIC_ID}-1.import"]
    parts.catalog.commit(parts.arrivals.records(wanted, parts.step()))
    parts.arrivals.put_in_place(parts.catalog.machine.topic("t"))
    assert parts.entries() == ["disk1/t-0", "disk1/t-1"]


def test_a_start_goes_on_with_names_and_removes_logs_of_topics_that_never_came_to_be(
    parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = parts.prepare(0, 1)
    parts.prepare(1, topic_id=OTHER_ID)
    parts.catalog.commit(parts.arrivals.records(wanted, parts.step()))
    parts.arrivals.settle("id0")
    assert parts.entries()[0] == "disk0/t-0"
    parts.arrivals.settle("id1")
    assert parts.entries() == ["disk0/t-0", "disk1/t-1"]
    assert parts.thrown_away == [f"disk1/{OTHER_ID}-0.import"]
    assert "ERROR" not in caplog.text


def test_logs_of_a_topic_that_is_being_deleted_go(parts: Parts) -> None:
    parts.catalog.commit(parts.arrivals.records(parts.prepare(0), parts.step(partitions=1)))
    parts.catalog.commit(parts.catalog.machine.delete_topic("t").records)
    parts.arrivals.settle("id0")
    assert (parts.entries(), len(parts.thrown_away)) == ([], 1)


def test_a_log_whose_name_is_taken_stays_and_the_log_says_so(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    parts.catalog.commit(parts.arrivals.records(parts.prepare(0), parts.step(partitions=1)))
    (parts.place / "disk0" / "t-0").mkdir()
    with pytest.raises(StorageError, match="t-0 is there already"):
        parts.arrivals.put_in_place(parts.catalog.machine.topic("t"))
    parts.arrivals.settle("id0")
    assert parts.entries() == [f"disk0/{TOPIC_ID}-0.import", "disk0/t-0"]
    assert "t-0 is there already: move one of the two away" in caplog.text


def without(name: str) -> Any:
    def remove(parts: Parts) -> None:
        (parts.place / "disk0" / import_name(TOPIC_ID, 0) / name).unlink()

    return remove


def replaced(parts: Parts) -> None:
    log = parts.place / "disk0" / import_name(TOPIC_ID, 0)
    (log / "partition.metadata").write_text(f"version: 0\ntopic_id: {OTHER_ID}\n")


def linked(parts: Parts) -> None:
    log = parts.place / "disk0" / import_name(TOPIC_ID, 0)
    log.rename(parts.place / "elsewhere")
    log.symlink_to(parts.place / "elsewhere")


def removed(parts: Parts) -> None:
    shutil.rmtree(parts.place / "disk0" / import_name(TOPIC_ID, 0))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(removed, "import it again", id="none"),
        pytest.param(without("high-watermark"), "is not a whole log", id="half"),
        pytest.param(replaced, "is not a whole log of topic id", id="of another topic"),
        pytest.param(linked, "was not made by the user", id="a link"),
    ],
)
def test_what_is_not_a_whole_log_of_that_topic_is_refused(parts: Parts, spoil: Any, says: str) -> None:
    wanted = parts.prepare(0)
    parts.arrivals.check(wanted)
    spoil(parts)
    with pytest.raises(InvalidRequestError, match=says):
        parts.arrivals.check(wanted)


def test_logs_of_another_user_are_refused(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = parts.prepare(0)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(InvalidRequestError, match="was not made by the user that the cluster runs as"):
        parts.arrivals.check(wanted)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param({"leader_epochs": [3, 3]}, InvalidRequestError, id="more epochs"),
        pytest.param({"leader_epochs": [-2]}, InvalidRequestError, id="epoch below"),
        pytest.param({"leader_epochs": [LEADER_EPOCH_MAX + 1]}, InvalidRequestError, id="epoch beyond"),
        pytest.param({"topic_id": "../../../../../etc/pass"}, InvalidTopicError, id="no id"),
        pytest.param({"topic_id": "x" * 21 + "/"}, InvalidTopicError, id="no id of the right length"),
        pytest.param({"directory_ids": ["elsewhere"]}, StorageError, id="no directory"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    parts: Parts, change: dict[str, object], error: type[ShmlogError]
) -> None:
    wanted = replace(parts.prepare(0), **change)  # type: ignore[arg-type]  # as they are
    with pytest.raises(error):
        parts.arrivals.check(wanted)


def test_the_id_of_a_topic_that_is_there_is_refused(parts: Parts) -> None:
    wanted = parts.prepare(0)
    parts.catalog.commit(parts.step("other", 1).records)
    with pytest.raises(InvalidRequestError, match="is that of a topic"):
        parts.arrivals.check(wanted)


def test_names_of_logs_that_are_imported_are_no_partitions() -> None:
    for topic_id in (TOPIC_ID, "-_" * 11):
        assert parse_import_name(import_name(topic_id, 12)) == (topic_id, 12)
    for name in (log_name(TOPIC_ID, 0), f"{TOPIC_ID}-0.import.delete", "t-0", f"{TOPIC_ID}x-0.import", "-0.import"):
        assert parse_import_name(name) is None


def test_an_import_stops_in_front_of_the_reserve_and_leaves_nothing(tmp_path: Path) -> None:
    manifest = Manifest("t", {}, [ArchivedPartition(0, 0, 8)], 0, "0")
    made = ImportedTopic(manifest, [str(tmp_path / "log")], CONFIG, topic_id=TOPIC_ID, reserve_bytes=1 << 60)
    with pytest.raises(DiskFullError, match=r"disk\.reserve\.bytes keeps 1152921504606846976: nothing was imported"):
        made.fill([(0, batch_at(0))])
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_fills_the_disk_names_it_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    manifest = Manifest("t", {}, [ArchivedPartition(0, 0, 8)], 0, "0")
    made = ImportedTopic(manifest, [str(tmp_path / "log")], CONFIG, topic_id=TOPIC_ID)
    monkeypatch.setattr(made._logs[0], "append", is_full)
    with pytest.raises(DiskFullError, match=f"the disk of {tmp_path} is full: nothing was imported"):
        made.fill([(0, batch_at(0))])
    monkeypatch.setattr("shmlog.log.imported_topic.ImportedLog", is_full)
    with pytest.raises(DiskFullError, match=f"the disk of {tmp_path} is full: nothing was imported"):
        ImportedTopic(manifest, [str(tmp_path / "log")], CONFIG, topic_id=TOPIC_ID)
    assert list(tmp_path.iterdir()) == []


def test_an_import_whose_directory_is_removed_says_so(tmp_path: Path) -> None:
    manifest = Manifest("t", {}, [ArchivedPartition(0, 0, 8)], 0, "0")
    made = ImportedTopic(manifest, [str(tmp_path / "log")], CONFIG, topic_id=TOPIC_ID)

    def batches() -> Iterator[tuple[int, bytes]]:
        yield 0, batch_at(0)
        shutil.rmtree(tmp_path / "log")

    with pytest.raises(StorageError, match="log was removed while it was written"):
        made.fill(batches())
    assert list(tmp_path.iterdir()) == []

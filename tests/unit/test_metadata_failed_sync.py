"""The metadata log on a disk that fails a sync: nobody is told of a record that may not be on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmlog.errors import StorageError
from shmlog.settings import ClusterConfig
from shmlog.supervisor.metadata import Catalog, MetadataLostError
from shmlog.testing.storage import Failure, FaultyStorage

CONFIG = ClusterConfig.from_mapping({})


def create(catalog: Catalog, name: str) -> None:
    catalog.commit(catalog.machine.create_topic(name, topic_id=name, partitions=1).records)


def topics(catalog: Catalog) -> list[str]:
    return [topic.name for topic in catalog.machine.topics()]


def test_a_failed_sync_is_made_good_in_new_files_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = FaultyStorage()
    catalog = Catalog(str(tmp_path), CONFIG, storage)
    create(catalog, "before")
    storage.failures.append(Failure("fdatasync", ".log", times=1))
    create(catalog, "meanwhile")
    create(catalog, "after")
    assert "metadata log: offsets 2 to 3 may not be on the disk" in caplog.text
    catalog.close(clean=False)
    again = Catalog(str(tmp_path), CONFIG, storage)
    assert topics(again) == ["after", "before", "meanwhile"]
    assert (again.recovered, storage.believed) == ("", [])
    again.close(clean=True)
    storage.close_all()


def test_a_disk_that_refuses_new_files_as_well_stops_every_supervisor_until_it_is_well(tmp_path: Path) -> None:
    storage = FaultyStorage()
    catalog = Catalog(str(tmp_path), CONFIG, storage)
    create(catalog, "before")
    storage.failures.append(Failure("fdatasync", ".log", times=3))
    with pytest.raises(MetadataLostError, match="cannot be written: .*offsets from 2 on.*; the supervisor stops"):
        create(catalog, "meanwhile")
    assert topics(catalog) == ["before"]
    catalog.close(clean=False)
    with pytest.raises(StorageError, match="every opening tries it again"):
        Catalog(str(tmp_path), CONFIG, storage)
    again = Catalog(str(tmp_path), CONFIG, storage)
    assert topics(again) == ["before", "meanwhile"]
    assert "a sync failed" in again.recovered
    assert storage.believed == []
    again.close(clean=True)
    storage.close_all()


def test_what_a_killed_supervisor_had_only_written_is_synced_before_anybody_acts_on_it(tmp_path: Path) -> None:
    storage = FaultyStorage()
    catalog = Catalog(str(tmp_path), CONFIG, storage)
    create(catalog, "t")
    catalog.close(clean=False)
    storage.synced.clear()
    again = Catalog(str(tmp_path), CONFIG, storage)
    assert f"{0:020d}.log" in storage.synced
    assert "__cluster_metadata-0" in storage.synced
    again.close(clean=False)

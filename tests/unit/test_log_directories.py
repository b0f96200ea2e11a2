"""Log directories: who they belong to, what is refused, and what a start does without one of them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shmlog.errors import ForeignVersionError, InvalidConfigError, StartError, StorageError
from shmlog.supervisor.directories import LogDirectories
from shmlog.supervisor.directory_opening import check_listed
from shmlog.supervisor.meta_properties import identify_data_directory
from tests.unit.directory_starts import Starts, properties

Open = Callable[..., LogDirectories]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Starts]:
    made = Starts(tmp_path)
    yield made
    made.end()


# --- what they are ----------------------------------------------------------------------------------------------------


def test_without_log_dirs_logs_go_to_the_data_directory(cluster: Starts) -> None:
    cluster.start()
    cluster.create("t", 2)
    assert cluster.paths() == ["data/t-0", "data/t-1"]


def test_partitions_are_spread_over_log_dirs_and_none_goes_to_a_data_directory_that_they_do_not_name(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 3)
    assert cluster.paths() == ["disk0/t-0", "disk1/t-1", "disk0/t-2"]
    cluster.start("disk0", "disk1", "data")
    cluster.create("u", 1)
    assert cluster.paths()[-1] == "data/u-0"
    owner, first, second = (properties(tmp_path / name) for name in ("data", "disk0", "disk1"))
    assert owner["cluster.id"] == first["cluster.id"] == second["cluster.id"]
    assert len({one["directory.id"] for one in (owner, first, second)}) == 3


def test_partitions_of_before_there_were_log_dirs_stay_where_they_are(cluster: Starts) -> None:
    cluster.start()
    cluster.create("t", 2)
    cluster.start("disk0")
    cluster.create("u", 1)
    assert cluster.paths() == ["data/t-0", "data/t-1", "disk0/u-0"]
    assert cluster.offline() == {}


def test_a_data_directory_without_an_id_gets_one_that_lasts(tmp_path: Path) -> None:
    file = tmp_path / "meta.properties"
    file.write_text("version=1\ncluster.id=abc\nshmlog.version=0.0.9\n")
    first = identify_data_directory(str(tmp_path), None)
    assert first.cluster_id == "abc"
    assert identify_data_directory(str(tmp_path), None) == first
    assert file.read_text() == (f"version=1\ncluster.id=abc\nshmlog.version=0.0.9\ndirectory.id={first.directory_id}\n")


def test_the_id_of_a_directory_is_on_the_disk_before_anybody_builds_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "meta.properties").write_text("version=1\ncluster.id=abc\n")
    identify_data_directory(str(tmp_path), None)
    assert synced == [str(tmp_path / "meta.properties.tmp"), str(tmp_path)]


def test_a_disk_that_is_mounted_elsewhere_is_known_by_its_id(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    (tmp_path / "disk0").rename(tmp_path / "moved")
    cluster.start("moved", "disk1")
    assert (cluster.paths(), cluster.offline()) == (["moved/t-0", "disk1/t-1"], {})


def test_two_disks_that_have_changed_places_are_told_apart(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    (tmp_path / "disk0").rename(tmp_path / "other")
    (tmp_path / "disk1").rename(tmp_path / "disk0")
    (tmp_path / "other").rename(tmp_path / "disk1")
    cluster.start("disk0", "disk1")
    assert (cluster.paths(), cluster.offline()) == (["disk1/t-0", "disk0/t-1"], {})


def test_a_fresh_disk_where_another_was_is_used_if_that_one_is_there_elsewhere(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.create("t", 1)
    cluster.end()
    (tmp_path / "disk0").rename(tmp_path / "disk1")
    cluster.start("disk0", "disk1")
    cluster.create("u", 2)
    assert cluster.offline() == {}
    assert cluster.paths() == ["disk1/t-0", "disk0/u-0", "disk0/u-1"]


# --- what is missing --------------------------------------------------------------------------------------------------


def test_a_directory_that_is_gone_takes_along_only_its_own_partitions_until_it_is_back(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    (tmp_path / "disk1").rename(tmp_path / "unplugged")
    for _ in range(2):
        cluster.start("disk0", "disk1")
        ((name, why),) = cluster.offline().items()
        assert name == "t-1"
        assert (
            f"its log is in {tmp_path / 'disk1'} (directory.id {properties(tmp_path / 'unplugged')['directory.id']}"
            in why
        )
        assert "cannot be read (No such file or directory): mend or mount its disk: then it goes on by itself" in why
        assert not (tmp_path / "disk1").exists(), "its mount point was taken for a new directory"
        cluster.create("u" + str(len(cluster.machine.topics())), 2)
        assert {path.split("/")[0] for path in cluster.paths()[2:]} == {"disk0"}
    cluster.end()
    (tmp_path / "unplugged").rename(tmp_path / "disk1")
    cluster.start("disk0", "disk1")
    assert cluster.offline() == {}


def test_the_empty_mount_point_of_a_disk_that_is_not_mounted_is_not_made_a_log_directory(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    (tmp_path / "disk1").rename(tmp_path / "unmounted")
    (tmp_path / "disk1").mkdir()
    cluster.start("disk0", "disk1")
    assert "which has no meta.properties: mend or mount its disk" in cluster.offline()["t-1"]
    assert list((tmp_path / "disk1").iterdir()) == []


def test_a_directory_that_had_no_partitions_is_made_anew_where_it_was(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.end()
    shutil.rmtree(tmp_path / "disk0")
    cluster.start("disk0")
    cluster.create("t", 1)
    assert (cluster.paths(), cluster.offline()) == (["disk0/t-0"], {})


def test_another_directory_in_the_place_of_one_is_used_and_what_was_in_the_first_is_offline(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    shutil.rmtree(tmp_path / "disk0")
    (tmp_path / "disk1").rename(tmp_path / "disk0")
    cluster.start("disk0")
    assert list(cluster.offline()) == ["t-0"]
    now = properties(tmp_path / "disk0")["directory.id"]
    assert f"which is another one now (directory.id {now}): mount its disk" in cluster.offline()["t-0"]


def test_a_directory_that_log_dirs_does_not_name_any_more_is_offline_and_says_so(cluster: Starts) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.start("disk1")
    assert list(cluster.offline()) == ["t-0"]
    assert "is not in log.dirs any more: name it there and start the cluster again" in cluster.offline()["t-0"]


def test_a_disk_that_fails_does_not_keep_the_cluster_from_starting(
    cluster: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    open_file = os.open

    def broken(path: Any, *arguments: Any, **options: Any) -> int:
        if os.path.dirname(path) == str(tmp_path / "disk1"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", broken)
    cluster.start("disk0", "disk1")
    assert "which cannot be used (Input/output error): mend or mount its disk" in cluster.offline()["t-1"]


def test_without_any_directory_new_topics_are_refused_with_the_reason(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.create("t", 1)
    cluster.end()
    (tmp_path / "disk0").rename(tmp_path / "gone")
    with pytest.raises(StorageError, match=r"the log directory .*/disk0 cannot be read \(No such file"):
        cluster.start("disk0").for_new_replicas()


def test_logs_of_topics_that_were_deleted_without_their_directory_are_remembered_until_it_is_back(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    away = properties(tmp_path / "disk1")["directory.id"]
    (tmp_path / "disk1").rename(tmp_path / "gone")
    present = cluster.start("disk0", "disk1").present()
    cluster.commit(cluster.machine.delete_topic("t").records)
    cluster.commit(cluster.machine.finish_deletion("t", present).records)
    assert [(one.log_name, one.topic_id) for one in cluster.machine.abandoned(away)] == [("t-1", "t")]
    cluster.start("disk0")
    cluster.commit(cluster.machine.erased(cluster.machine.abandoned(away)).records)
    assert cluster.machine.abandoned(away) == []


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_directory_of_another_cluster_is_refused_naming_both(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.end()
    before = (tmp_path / "disk0" / "meta.properties").read_text()
    other = Starts(tmp_path / "other")
    with pytest.raises(StartError, match="belongs to another cluster .*: give each cluster log directories of its own"):
        other.start("../disk0")
    other.end()
    assert (tmp_path / "disk0" / "meta.properties").read_text() == before


def test_a_log_directory_cannot_be_the_data_directory_of_a_cluster(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.end()
    with pytest.raises(
        StartError, match="is a log directory of the cluster with id .*: start that cluster with its own"
    ):
        identify_data_directory(str(tmp_path / "disk0"), None)


def test_a_copy_of_a_log_directory_beside_it_is_refused(cluster: Starts, tmp_path: Path) -> None:
    cluster.start("disk0")
    cluster.end()
    shutil.copytree(tmp_path / "disk0", tmp_path / "copy")
    with pytest.raises(StartError, match="have the same directory.id .*take the copy out of log.dirs"):
        cluster.start("disk0", "copy")


def test_a_copy_of_the_data_directory_is_no_log_directory(cluster: Starts, tmp_path: Path) -> None:
    cluster.start()
    cluster.end()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(StartError, match="is the data directory of this cluster, or a copy of it"):
        cluster.start("copy")


def test_a_directory_with_somebody_elses_files_is_not_made_a_log_directory(cluster: Starts, tmp_path: Path) -> None:
    (tmp_path / "disk0").mkdir()
    (tmp_path / "disk0" / "thesis.txt").write_text("important")
    with pytest.raises(StartError, match="is not a log directory of shmlog: it has thesis.txt but no meta.properties"):
        cluster.start("disk0")


def test_a_log_directory_of_another_version_is_refused_naming_both(cluster: Starts, tmp_path: Path) -> None:
    (tmp_path / "disk0").mkdir()
    (tmp_path / "disk0" / "meta.properties").write_text("version=7\ncluster.id=x\nshmlog.version=9.9.9\n")
    with pytest.raises(ForeignVersionError, match=r"the log directory .* has version 7 \(written by shmlog 9\.9\.9\)"):
        cluster.start("disk0")


def test_a_new_directory_that_cannot_be_made_is_a_mistake(cluster: Starts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StartError, match="cannot create the log directory .*/file/disk0: .*; choose another log directory"
    ):
        cluster.start("file/disk0")
    with pytest.raises(StartError, match="the log directory .*/file is a file: choose another log directory"):
        cluster.start("file")


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (["/disk1", "/disk2", "/disk1"], "log.dirs names the directory /disk1 twice: name each once"),
        (["/disk1", "/disk2", "/disk2/shmlog"], "one is inside the other"),
        (["/data/logs"], "and the data directory /data one is inside the other"),
        (["/"], "one is inside the other"),
        ([f"/disk{number}" for number in range(65)], "log.dirs names 65 directories, the limit is 64"),
    ],
)
def test_directories_that_are_one_or_inside_another_are_refused(listed: list[str], expected: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        check_listed("/data", listed)
    assert expected in str(caught.value)


def test_a_directory_that_is_named_by_two_paths_is_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "disk0").mkdir()
    (tmp_path / "link").symlink_to("disk0")
    with pytest.raises(InvalidConfigError, match=r"names the directory .*/link twice \(as .*/disk0, too\)"):
        check_listed(str(tmp_path / "data"), [str(tmp_path / "disk0"), str(tmp_path / "link")])


def test_the_data_directory_may_be_a_log_directory(tmp_path: Path) -> None:
    check_listed(str(tmp_path / "data"), [str(tmp_path / "disk"), str(tmp_path / "data")])

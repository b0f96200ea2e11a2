"""What has become of a log directory since the start, and whose process ends for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shmlog.machines.replication import FollowerPhase, Spoiled
from shmlog.supervisor.directories import LogDirectories, LogDirectory
from shmlog.supervisor.directory_watch import DirectoryLook, DirectoryWatch
from shmlog.supervisor.meta_properties import identify_log_directory


@pytest.fixture
def directory(tmp_path: Path) -> LogDirectory:
    (tmp_path / "disk").mkdir()
    return LogDirectory(identify_log_directory(str(tmp_path / "disk"), "cluster", None), str(tmp_path / "disk"))


def test_a_directory_is_what_its_meta_properties_says(directory: LogDirectory, tmp_path: Path) -> None:
    look, disk, away = DirectoryLook(), tmp_path / "disk", tmp_path / "away"
    assert look(directory) == ""
    disk.rename(away)
    assert look(directory) == "has no meta.properties any more: mend or mount its disk: then it goes on by itself"
    disk.mkdir()
    other = identify_log_directory(str(disk), "cluster", None)
    assert look(directory).startswith(f"is another one now (directory.id {other})")
    os.remove(disk / "meta.properties")
    disk.rmdir()
    away.rename(disk)
    assert look(directory) == ""
    (disk / "new").write_text("version=99\ncluster.id=cluster\n")
    (disk / "new").rename(disk / "meta.properties")
    assert "has version 99" in look(directory)


class Cluster:
    """A running owner, and a follower, of a partition whose replicas are both in `directory`."""

    def __init__(self, directory: LogDirectory, *, is_hidden: bool = False) -> None:
        self.lost: list[str] = []
        self.spoiled: list[Spoiled] = []
        topic = SimpleNamespace(is_hidden=is_hidden)
        partition = SimpleNamespace(
            leader=0,
            topic=topic,
            replicas={0: directory.directory_id, 1: directory.directory_id},
            log_names={0: "t-0", 1: "t-0.r1"},
        )
        owner = SimpleNamespace(partition_id=7)
        self.phase = FollowerPhase.FOLLOWING
        catalog: Any = SimpleNamespace(machine=SimpleNamespace(partition_by_id=lambda partition_id: partition))
        owners: Any = SimpleNamespace(
            all_running=lambda: [owner],
            running=lambda partition_id: owner if partition_id == 7 else None,
            lose=lambda owner, reason: self.lost.append(reason),
        )
        followers: Any = SimpleNamespace(
            all_ready=lambda: [SimpleNamespace(key=(7, 1))],
            machine=SimpleNamespace(followers=lambda partition_id: {1: SimpleNamespace(phase=self.phase)}),
            observe=self.spoiled.append,
        )
        self.followers = followers
        self.paths = [Path(directory.path) / name for name in ("t-0", "t-0.r1")]
        for path in self.paths:
            path.mkdir()
        self.watch = DirectoryWatch(catalog, LogDirectories([directory], DirectoryLook()), owners, followers)


def test_who_writes_a_log_that_is_gone_ends_with_the_reason_and_nobody_else(directory: LogDirectory) -> None:
    cluster = Cluster(directory)
    cluster.watch.look()
    assert (cluster.lost, cluster.spoiled) == ([], [])
    cluster.paths[1].rmdir()
    cluster.watch.look()
    assert cluster.lost == []
    assert [(one.partition_id, one.replica_id) for one in cluster.spoiled] == [(7, 1)]
    assert cluster.spoiled[0].reason.startswith(f"{cluster.paths[1]} is gone: somebody has removed it")
    cluster.paths[0].rmdir()
    os.remove(Path(directory.path) / "meta.properties")
    cluster.watch.look()
    assert "has no meta.properties any more" in cluster.lost[0], "it says what is really wrong"


def test_a_follower_that_waits_has_its_leader_looked_at_at_once(directory: LogDirectory) -> None:
    """Regression: it left the in-sync set for a file that the leader had lost, and nobody could lead any more."""
    cluster = Cluster(directory)
    cluster.followers.on_waiting(7)
    cluster.followers.on_waiting(8)
    assert cluster.lost == []
    cluster.paths[0].rmdir()
    cluster.followers.on_waiting(7)
    assert len(cluster.lost) == 1


def test_who_ends_anyhow_is_left_alone(directory: LogDirectory) -> None:
    cluster = Cluster(directory)
    cluster.phase = FollowerPhase.CLOSING
    cluster.paths[1].rmdir()
    cluster.watch.look()
    assert cluster.spoiled == []


def test_a_log_that_goes_with_its_topic_is_nobodys_trouble(directory: LogDirectory) -> None:
    cluster = Cluster(directory, is_hidden=True)
    for path in cluster.paths:
        path.rmdir()
    cluster.watch.look()
    assert (cluster.lost, cluster.spoiled) == ([], [])

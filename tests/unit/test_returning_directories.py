"""Log directories that were missing when the cluster started, and come back while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.directory_starts import Starts, properties


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Starts]:
    made = Starts(tmp_path)
    yield made
    made.end()


def test_directories_that_were_missing_at_the_start_are_found_when_they_are_back_also_in_each_others_place(
    cluster: Starts, tmp_path: Path
) -> None:
    cluster.start("disk0", "disk1", "disk2")
    cluster.create("t", 3)
    cluster.end()
    for number in (0, 1):
        (tmp_path / f"disk{number}").rename(tmp_path / f"away{number}")
    cluster.start("disk0", "disk1", "disk2")
    assert (list(cluster.offline()), cluster.returns.look()) == (["t-0", "t-1"], [])
    (tmp_path / "disk0").mkdir()  # a mount point
    (tmp_path / "away0").rename(tmp_path / "disk1")
    assert [one.path for one in cluster.returns.look()] == [str(tmp_path / "disk1")]
    assert cluster.returns.look() == []
    assert (list(cluster.offline()), cluster.paths()[0]) == (["t-1"], "disk1/t-0")
    (tmp_path / "away1").rename(tmp_path / "disk0")
    assert len(cluster.returns.look()) == 1
    assert (cluster.offline(), cluster.paths()) == ({}, ["disk1/t-0", "disk0/t-1", "disk2/t-2"])
    assert cluster.copied == [str(tmp_path / "disk1"), str(tmp_path / "disk0")]
    assert cluster.back == [properties(tmp_path / disk)["directory.id"] for disk in ("disk1", "disk0")]
    assert "c" in (tmp_path / "disk0" / ".lock").read_text()


def test_a_directory_of_another_cluster_in_the_place_of_one_that_is_missing_is_not_taken(
    cluster: Starts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.start("disk0", "disk1")
    cluster.create("t", 2)
    cluster.end()
    away = (tmp_path / "disk1").rename(tmp_path / "away")
    cluster.start("disk0", "disk1")
    away.rename(tmp_path / "disk1")
    text = (tmp_path / "disk1" / "meta.properties").read_text()
    ours = properties(tmp_path / "disk1")["cluster.id"]
    (tmp_path / "disk1" / "meta.properties").write_text(text.replace(ours, "another"))
    assert cluster.returns.look() == cluster.returns.look() == []
    assert caplog.text.count("belongs to another cluster") == 1
    (tmp_path / "disk1" / "meta.properties").write_text(text)
    assert len(cluster.returns.look()) == 1

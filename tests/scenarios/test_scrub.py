"""`shmlog segment scrub` on a running cluster: owner and follower mend each other's damage, and readers see it gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import shmlog
from shmlog.client.results import ReplicaInfo
from shmlog.testing import wait_until
from shmlog.testing.whole_topic import read_all

pytestmark = pytest.mark.slow

TIMEOUT_S = 60.0
VALUE = bytes(10_000)


def replicas(cluster: shmlog.Cluster) -> list[ReplicaInfo]:
    """The leader's first."""
    return sorted(cluster.admin.describe_topic("flights").partitions[0].replicas, key=lambda one: not one.leads)


def sealed(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.log"))[:-1]


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def scrub(cluster: shmlog.Cluster, *options: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit code, flaws, and what went to standard error."""
    program = [sys.executable, "-P", "-m", "shmlog", "segment", "scrub", "-n", cluster.name, "-o", "json", *options]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, orjson.loads(ended.stdout)["flaws"] if ended.stdout else [], ended.stderr


def test_damage_on_either_disk_is_mended_by_who_owns_it_while_the_cluster_runs(tmp_path: Path) -> None:
    disks = [str(tmp_path / "a"), str(tmp_path / "b")]
    with shmlog.start(tmp_path / "data", config={"log.dirs": disks}) as cluster:
        cluster.admin.create_topic("flights", replication_factor=2, config={"segment.bytes": "1048576"})
        with cluster.producer() as producer:
            for _ in range(30):
                producer.send_many("flights", [VALUE] * 10, partition=0)
                producer.flush(TIMEOUT_S)
        leader, follower = (Path(one.log_dir) for one in replicas(cluster))
        wait_until(lambda: len(sealed(follower)) == len(sealed(leader)) >= 2, timeout_s=TIMEOUT_S)
        before = [path.read_bytes() for path in sealed(leader)]
        assert scrub(cluster) == (0, [], "")
        flip(sealed(leader)[0], 5000)
        flip(sealed(follower)[1], 300_000)
        code, flaws, _ = scrub(cluster, "flights")
        assert (code, [flaw["directory"] for flaw in flaws]) == (1, [str(leader), str(follower)])
        assert not any(flaw["repaired"] for flaw in flaws)
        code, flaws, said = scrub(cluster, "--repair")
        assert (code, [flaw["repaired"] for flaw in flaws]) == (0, [True, True]), (flaws, said)
        for directory in (leader, follower):
            assert [path.read_bytes() for path in sealed(directory)] == before
        assert sum(record.value == VALUE for record in read_all(cluster, "flights")) == 300
        for directory in (leader, follower):
            flip(sealed(directory)[0], 5000)
        code, flaws, _ = scrub(cluster, "--repair")
        assert (code, [flaw["repaired"] for flaw in flaws]) == (1, [False, False])
        assert all("has nothing sound at offset 0" in str(flaw["note"]) for flaw in flaws)
        assert all(one.in_sync for one in replicas(cluster))
        refused = subprocess.run(
            [sys.executable, "-P", "-m", "shmlog", "segment", "scrub", "--repair", "--data-dir", tmp_path / "data"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 1
        assert "is in use by process" in refused.stderr

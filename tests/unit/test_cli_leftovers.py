"""What `shmlog doctor` says about shared memory: whose it is, who lives, and never to remove what somebody may use."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import pytest

from shmlog.cli import leftovers
from shmlog.cli.cluster_paths import OutOfReachError, expect_cluster, find_cluster, user_name
from shmlog.cli.host_checks import Finding, check_runtime_directory
from shmlog.cli.seen_clusters import RegionSet, SeenCluster, Supervisor, look_for_clusters, look_for_regions
from shmlog.control import paths
from shmlog.memory import names, region
from shmlog.testing import wait_until
from shmlog.testing.processes import killed_afterwards

US, THEM = 1000, 4_000_001
TAG = "0123abcd"


def seen(*, uid: int = US, pid: int | None = None, owners: tuple[int, ...] = (), tag: str | None = TAG) -> SeenCluster:
    return SeenCluster("orders", uid, pid, owners, tag, f"/dev/shm/shmlog-{uid}/orders", "/data/orders")


def regions(*, uid: int = US, pids: tuple[int, ...] = ()) -> RegionSet:
    return RegionSet(TAG, uid, 3, 3 << 20, pids)


def judged(
    found: list[RegionSet], clusters: list[SeenCluster], closed: list[Supervisor] | None = None, uid: int = US
) -> Finding:
    """The only finding but that there are no leftovers."""
    (one,) = [f for f in leftovers.judge(found, clusters, closed or [], uid) if f != Finding("leftovers", "ok", "none")]
    return one


def test_a_cluster_of_another_user_is_named_with_its_user_and_no_remedy() -> None:
    finding = judged([regions(uid=THEM)], [seen(uid=THEM, pid=17)], uid=0)
    assert finding == Finding(
        "cluster 'orders'", "ok", f"belongs to user {THEM}, alive (pid 17), 3 regions, 3.0 MiB", ""
    )


def test_regions_whose_user_runs_a_cluster_behind_closed_doors_are_not_leftovers() -> None:
    supervisor = Supervisor("orders", THEM, 17, None)
    found = list(leftovers.judge([regions(uid=THEM)], [], [supervisor], US))
    assert [finding.verdict for finding in found] == ["ok", "ok", "ok"]
    assert all(f"belongs to user {THEM}" in finding.found for finding in found[:2])
    assert "alive (pid 17)" in found[0].found
    assert "'orders' (pid 17)" in found[1].found


def test_regions_of_another_user_are_never_ours_to_remove() -> None:
    finding = judged([regions(uid=THEM)], [])
    assert f"belongs to user {THEM}" in finding.found
    assert finding.remedy == f"ask {THEM} to run `shmlog doctor`, or run it as root"


@pytest.mark.parametrize("owners", [(21,), (21, 0)])
def test_a_cluster_whose_owners_live_is_to_be_taken_over_and_not_removed(owners: tuple[int, ...]) -> None:
    finding = judged([regions()], [seen(owners=owners)])
    assert (finding.subject, finding.verdict) == ("cluster 'orders'", "warn")
    assert "its supervisor is gone, but owners of partitions are alive (pid 21" in finding.found
    assert finding.remedy == "`shmlog up --name orders --data-dir /data/orders` takes it over"


def test_a_dead_cluster_is_named_with_what_it_left() -> None:
    finding = judged([regions()], [seen()])
    assert (finding.subject, finding.verdict) == ("leftovers", "warn")
    assert finding.found == (
        "cluster 'orders': not running, but it left /dev/shm/shmlog-1000/orders, 3 regions, 3.0 MiB"
    )
    assert finding.remedy == "`shmlog up --name orders --data-dir /data/orders` recovers it and tidies up"


def test_a_dead_cluster_is_started_again_with_the_directories_that_it_had() -> None:
    cluster = replace(seen(), log_dirs=("/disk1", "/my disk"))
    up = "shmlog up --name orders --data-dir /data/orders --log-dir /disk1 --log-dir '/my disk'"
    assert judged([regions()], [cluster]).remedy == f"`{up}` recovers it and tidies up"


def test_nameless_regions_that_a_process_has_mapped_are_in_use() -> None:
    finding = judged([regions(pids=(5, 6))], [])
    assert (finding.verdict, finding.remedy) == ("ok", "")
    assert finding.found.endswith("in use by pid 5, pid 6")


def test_nameless_regions_that_nobody_has_mapped_may_be_removed_by_their_user_and_by_root() -> None:
    for uid in (US, 0):
        finding = judged([regions()], [], uid=uid)
        assert finding.verdict == "warn"
        assert f"rm {region.SHM_DIRECTORY}{names.PREFIX}{TAG}.*" in finding.remedy


def test_a_region_is_in_use_as_long_as_a_process_has_it_mapped() -> None:
    tag = os.urandom(4).hex()
    name = names.client(tag, 1)
    region.create(name, 4096)
    script = "import sys; from shmlog.memory import region; m = region.open_region(sys.argv[1]); input()"
    try:
        with killed_afterwards(
            subprocess.Popen([sys.executable, "-P", "-c", script, name], stdin=subprocess.PIPE)
        ) as user:
            ours = wait_until(lambda: [found for found in look_for_regions() if found.tag == tag and found.pids])
            assert ours == [RegionSet(tag, os.getuid(), 1, 4096, (user.pid,))]
        wait_until(lambda: [found.pids for found in look_for_regions() if found.tag == tag] == [()])
    finally:
        region.unlink(name)


def test_a_runtime_directory_that_a_failed_start_left_is_seen_and_other_folders_are_not(tmp_path: Path) -> None:
    paths.make_runtime_directory(paths.RuntimePaths(str(tmp_path / "failed")))
    (tmp_path / "somebody-elses").mkdir()
    clusters, _ = look_for_clusters(str(tmp_path))
    assert [c for c in clusters if c.directory.startswith(str(tmp_path))] == [
        SeenCluster("failed", os.getuid(), None, (), None, str(tmp_path / "failed"), None)
    ]


def test_a_standby_is_not_shown_beside_its_cluster_as_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths.make_runtime_directory(paths.RuntimePaths(str(tmp_path / "orders")))
    holders = {str(tmp_path / "orders"): 17}
    monkeypatch.setattr("shmlog.control.life.holder", lambda lock: holders.get(os.path.dirname(lock)))
    sleeping = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", "shmlog.workers.supervisor"]
    with ExitStack() as processes:
        waiting, other = (
            processes.enter_context(
                subprocess.Popen([*sleeping, "--name", name, "--standby", "1"], stdin=PIPE, stdout=PIPE)
            )
            for name in ("orders", "closed")
        )
        for process in (waiting, other):
            assert process.stdout is not None
            process.stdout.readline()
        found = {supervisor.pid for supervisor in look_for_clusters(str(tmp_path))[1]}
        assert found & {waiting.pid, other.pid} == {other.pid}, "of what cannot be looked into all is shown"
        holders.clear()
        found = {supervisor.pid for supervisor in look_for_clusters(str(tmp_path))[1]}
        assert found >= {waiting.pid, other.pid}, "it takes over from a supervisor that is gone"


def test_a_runtime_directory_of_another_user_is_reported_with_that_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setenv("SHMLOG_RUNTIME_DIR", str(tmp_path))
    assert [finding.verdict for finding in check_runtime_directory(expect_cluster("orders"))] == ["ok"]
    monkeypatch.setattr("shmlog.control.life.holder", closed)
    with pytest.raises(OutOfReachError, match=f"belongs to user {user_name(os.getuid())} and is closed to you"):
        find_cluster("orders")
    (finding,) = check_runtime_directory(expect_cluster("orders"))
    assert finding.verdict == "fail"
    assert f"belongs to user {user_name(os.getuid())}" in finding.found
    assert "remove" not in finding.remedy

"""Names, directories, life locks and peers: how processes find each other and learn of each other's death."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from shmlog.control import data_directory, paths, peer
from shmlog.control.life import LifeLock, LockHeldError, holder
from shmlog.errors import InvalidConfigError, StartError
from shmlog.log.storage import OsStorage
from shmlog.testing import wait_until

HOLD = "import sys; from shmlog.control.life import LifeLock; l = LifeLock.acquire(sys.argv[1]); l.write('hello');"


def test_the_order_of_defaults_is_explicit_then_environment_then_default() -> None:
    assert paths.cluster_name("a", {"SHMLOG_CLUSTER": "b"}) == "a"
    assert paths.cluster_name(None, {"SHMLOG_CLUSTER": "b"}) == "b"
    assert paths.cluster_name(None, {}) == "default"
    assert paths.runtime_paths("n", "/x", {"SHMLOG_RUNTIME_DIR": "/y"}).directory == "/x/n"
    assert paths.runtime_paths("n", None, {"SHMLOG_RUNTIME_DIR": "/y"}).directory == "/y/n"
    assert paths.runtime_paths("n", None, {}).directory == f"/dev/shm/shmlog-{os.getuid()}/n"
    assert paths.data_directory("n", "/x", "/z", {"SHMLOG_DATA_DIR": "/y"}) == "/x"
    assert paths.data_directory("n", None, "/z", {"SHMLOG_DATA_DIR": "/y"}) == "/y"
    assert paths.data_directory("n", None, "/z", {}) == "/z"


def test_the_home_of_the_data_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = paths.data_directory("n", None, None, {})
    monkeypatch.setenv("HOME", "/somewhere/else")
    assert paths.data_directory("n", None, None, {}) == before


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 41, "-x", "ä"])
def test_a_name_that_cannot_be_a_directory_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfigError, match="cannot be the name of a cluster"):
        paths.cluster_name(name)


def test_a_socket_path_beyond_the_kernels_limit_is_refused_before_anything_is_made() -> None:
    with pytest.raises(InvalidConfigError, match="107 bytes"):
        paths.runtime_paths("n", "/" + "x" * 100)


def test_the_runtime_directory_is_private_whatever_the_umask(tmp_path: Path) -> None:
    made = paths.runtime_paths("n", str(tmp_path / "run"))
    before = os.umask(0o777)
    try:
        paths.make_runtime_directory(made)
    finally:
        os.umask(before)
    assert os.stat(made.directory).st_mode & 0o777 == 0o700
    assert os.path.isdir(made.lives)
    assert os.path.isdir(made.owners)


def test_a_directory_that_a_stranger_put_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = paths.runtime_paths("n", str(tmp_path))
    os.mkdir(made.directory, 0o700)
    us = os.stat(made.directory).st_uid
    if us == 0:
        os.chown(made.directory, 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: us + 1)
    with pytest.raises(StartError, match=f"belongs to user {us or 12345}"):
        paths.make_runtime_directory(made)


def test_a_life_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = str(tmp_path / "life")
    assert holder(path) is None
    with subprocess.Popen([sys.executable, "-P", "-c", HOLD + "input()", path], stdin=subprocess.PIPE) as process:
        assert wait_until(lambda: holder(path)) == process.pid
        wait_until(lambda: Path(path).read_text() == "hello")
        with pytest.raises(LockHeldError) as caught:
            LifeLock.acquire(path)
        assert (caught.value.pid, caught.value.content) == (process.pid, "hello")
        process.kill()
        wait_until(lambda: holder(path) is None)
    lock = LifeLock.acquire(path)
    lock.release()
    assert not os.path.exists(path)


def test_whoever_may_enter_the_directory_may_look_at_a_life_lock(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        lock = LifeLock.acquire(str(tmp_path / "life"))
    finally:
        os.umask(before)
    assert os.fstat(lock.fileno()).st_mode & 0o444 == 0o444
    lock.release()


def test_a_forked_child_does_not_keep_a_life_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "life")
    linger = HOLD + "import os, time; pid = os.fork(); print(pid, flush=True) if pid else input(); sys.exit(0)"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", linger, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait(60)
        assert holder(path) is None  # the child lives on, with the file open
        os.kill(child, signal.SIGKILL)


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "life")
    calls: list[int] = []

    def lockf(fd: int, flags: int) -> None:
        if not calls:
            os.unlink(path)  # its last holder removed it between our open and our lock
        calls.append(fd)
        fcntl.lockf(fd, flags)

    monkeypatch.setattr("shmlog.control.life.fcntl", SimpleNamespace(**{**vars(fcntl), "lockf": lockf}))
    lock = LifeLock.acquire(path)
    assert len(calls) == 2
    assert os.fstat(lock.fileno()).st_ino == os.stat(path).st_ino
    lock.release()


@pytest.mark.parametrize("kernel_names_peers", [True, False])
def test_a_peers_death_is_seen_even_if_its_socket_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_names_peers: bool
) -> None:
    if not kernel_names_peers:
        monkeypatch.setattr(peer, "_SO_PEERPIDFD", 32767)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        code = (
            "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "p = os.fork(); print(p, flush=True) if p else None; input()"
        )
        with subprocess.Popen(
            [sys.executable, "-P", "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            connected, _ = listener.accept()
            with connected:
                credentials = peer.peer_credentials(connected)
                assert (credentials.pid, credentials.uid) == (process.pid, os.getuid())
                fd = peer.peer_pidfd(connected)
                assert fd is not None
                assert not select.select([fd], [], [], 0)[0]
                process.kill()
                assert select.select([fd], [], [], 10)[0]
                assert not select.select([connected], [], [], 0)[0]
                os.close(fd)
                os.kill(child, signal.SIGKILL)


def test_a_peer_that_died_before_it_was_looked_at_has_no_pidfd_or_one_that_says_so() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        fd = peer.peer_pidfd(ours)  # the peer of a pair is this process, which lives
        if fd is not None:
            assert not select.select([fd], [], [], 0)[0]
            os.close(fd)


def test_log_directories_given_come_before_those_configured_and_all_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.log_directories(["a", "/b"], ["/c"]) == (str(tmp_path / "a"), "/b")
    assert paths.log_directories([], ["/c/../d"]) == ("/d",)
    assert paths.log_directories() == ()
    (in_home,) = paths.log_directories(["~/logs"])
    assert os.path.isabs(in_home)
    assert in_home.endswith("/logs")


def test_a_data_directory_lasts_with_everything_that_had_to_be_made_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(OsStorage, "fsync_dir", lambda self, path: synced.append(path))
    data_directory.make(str(tmp_path / "a" / "b" / "c"))
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    data_directory.make(str(tmp_path / "a" / "b" / "c"))
    assert len(synced) == 3

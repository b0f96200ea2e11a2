"""The two directories of a cluster, each locked by one supervisor: where it runs, and where its data is."""

from __future__ import annotations

import contextlib
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from shmlog.control import data_directory
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.paths import RuntimePaths, make_runtime_directory
from shmlog.errors import ClusterAlreadyRunningError, ForeignVersionError, StartError
from shmlog.version import VERSION

DATA_VERSION = "1"
META_PROPERTIES = "meta.properties"
_HARMLESS = frozenset({".lock", META_PROPERTIES + ".tmp", "supervisor.log", "supervisor.log.1", "lost+found"})
"""What a data directory may hold before it is one."""


def random_uuid() -> str:
    """A new id as Kafka writes them: 22 characters of base64url, never beginning with a dash."""
    while True:
        text = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


@dataclass(frozen=True, slots=True)
class Home:
    """Both directories, held until release()."""

    runtime: RuntimePaths
    data_dir: str
    cluster_id: str
    runtime_lock: LifeLock
    data_lock: LifeLock

    def release(self, *, empty: bool) -> None:
        """Let go. `empty`: the cluster is closed, so remove what is in the runtime directory; otherwise only what is
        not in use by workers and clients that live on."""
        self.data_lock.release(remove=False)
        if not self.runtime_lock.is_linked:  # removed under us, and what is there now is somebody else's
            self.runtime_lock.release(remove=False)
            return
        if empty:
            for directory in (self.runtime.lives, self.runtime.owners):
                with contextlib.suppress(FileNotFoundError):
                    for entry in os.listdir(directory):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(os.path.join(directory, entry))
        _leave(self.runtime, self.runtime_lock)


def enter(name: str, runtime: RuntimePaths, data_dir: str, *, directory_mode: int, group: int | None) -> Home:
    """Create and lock both directories.

    Raises ClusterAlreadyRunningError or DataDirectoryInUseError naming process and data directory, StartError for a
    directory that cannot be used, ForeignVersionError for one of another version.
    """
    data_directory.make(data_dir)  # first: it is the one that cannot be made, mostly
    try:
        make_runtime_directory(runtime, mode=directory_mode, group=group)
    except OSError as error:
        _remove_directories(runtime)
        raise StartError(f"cannot make the runtime directory {error.filename}: {error.strerror}") from error
    runtime_lock = _lock_runtime(name, runtime)
    try:
        make_runtime_directory(runtime, mode=directory_mode, group=group)  # a predecessor may just have cleaned up
        data_lock = data_directory.lock(data_dir)
        cluster_id = _cluster_id(data_dir, group)
    except BaseException:
        _leave(runtime, runtime_lock)
        raise
    runtime_lock.write(f"{os.getpid()}\n{data_dir}\n")
    data_lock.write(f"{os.getpid()}\n{name}\n")
    return Home(runtime, data_dir, cluster_id, runtime_lock, data_lock)


def _leave(runtime: RuntimePaths, runtime_lock: LifeLock) -> None:
    """Unlock, and remove every directory that nobody needs: not if another cluster, worker or client lives there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(runtime.control_socket)
    for directory in (runtime.lives, runtime.owners):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    runtime_lock.release()
    _remove_directories(runtime)


def _remove_directories(runtime: RuntimePaths) -> None:
    """Those that are empty."""
    for directory in (runtime.lives, runtime.owners, runtime.directory, os.path.dirname(runtime.directory)):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def _lock_runtime(name: str, runtime: RuntimePaths) -> LifeLock:
    try:
        return LifeLock.acquire(runtime.supervisor_lock)
    except FileNotFoundError:
        raise StartError(
            f"{runtime.directory} was removed while cluster {name!r} was starting: another one of that name was just"
            " ending; try again"
        ) from None
    except LockHeldError as held:
        _, _, data_dir = held.content.strip().partition("\n")
        raise ClusterAlreadyRunningError(
            f"cluster {name!r} is already running: process {held.pid}, data directory {data_dir or 'not yet known'};"
            f" stop it with `shmlog down --name {name}` or choose another --name"
        ) from None


def _cluster_id(data_dir: str, group: int | None) -> str:
    """The id in meta.properties, which is made with the data directory. Members of `group` may then look into it:
    they read files there when memory has moved on."""
    path = os.path.join(data_dir, META_PROPERTIES)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = dict(line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#"))
    except FileNotFoundError:
        if group is not None:
            os.chown(data_dir, -1, group)
            os.chmod(data_dir, 0o750)  # noqa: S103  (that is what shm.group asks for)
        return _make_properties(data_dir, path)
    if found.get("version") != DATA_VERSION or "cluster.id" not in found:
        raise ForeignVersionError(
            f"the data directory {data_dir} has version {found.get('version', 'none')} (written by shmlog"
            f" {found.get('shmlog.version', 'unknown')}); shmlog {VERSION} reads version {DATA_VERSION}"
        )
    return found["cluster.id"]


def _make_properties(data_dir: str, path: str) -> str:
    foreign = set(os.listdir(data_dir)) - _HARMLESS
    if foreign:
        raise StartError(
            f"{data_dir} is not a data directory of shmlog: it has {sorted(foreign)[0]} but no {META_PROPERTIES};"
            " choose an empty directory"
        )
    cluster_id = random_uuid()
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(f"version={DATA_VERSION}\ncluster.id={cluster_id}\nshmlog.version={VERSION}\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".tmp", path)
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return cluster_id

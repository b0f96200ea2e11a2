"""The two directories of a cluster, each locked by one supervisor: where it runs, and where its data is."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from shmlog.control import data_directory
from shmlog.control.last_start import LastStart, command_after, lock_text, parse_lock_text
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.control.paths import RuntimePaths, make_runtime_directory
from shmlog.errors import ClusterAlreadyRunningError, StartError
from shmlog.supervisor.meta_properties import identify_data_directory


@dataclass(frozen=True, slots=True)
class Home:
    """Both directories, held until release()."""

    runtime: RuntimePaths
    data_dir: str
    cluster_id: str
    directory_id: str
    runtime_lock: LifeLock
    data_lock: LifeLock
    log_dirs: tuple[str, ...] = ()

    def restart_command(self, name: str) -> str:
        """The command that starts the cluster with the same directories."""
        return command_after(name, LastStart(self.data_dir, self.log_dirs))

    def release(self, *, empty: bool) -> None:
        """Let go. `empty`: the cluster is closed, so remove what is in the runtime directory; otherwise only what is
        not in use by workers and clients that live on."""
        self.data_lock.release(remove=False)
        if not self.runtime_lock.is_linked:  # removed under us, and what is there now is somebody else's
            self.runtime_lock.release(remove=False)
            return
        if empty:
            for directory in (self.runtime.lives, self.runtime.owners, self.runtime.standbys):
                with contextlib.suppress(FileNotFoundError):
                    for entry in os.listdir(directory):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(os.path.join(directory, entry))
        _leave(self.runtime, self.runtime_lock)


def enter(
    name: str,
    runtime: RuntimePaths,
    data_dir: str,
    *,
    directory_mode: int,
    group: int | None,
    log_dirs: tuple[str, ...] = (),
    runtime_lock: LifeLock | None = None,
) -> Home:
    """Create and lock both directories. `runtime_lock`: that of the runtime directory, if a standby has it already;
    `log_dirs`: what it was given, to be told to people.

    Raises ClusterAlreadyRunningError or DataDirectoryInUseError naming process and data directory, StartError for a
    directory that cannot be used, ForeignVersionError for one of another version.
    """
    data_directory.make(data_dir)  # first: it is the one that cannot be made, mostly
    try:
        make_runtime_directory(runtime, mode=directory_mode, group=group)
    except OSError as error:
        _remove_directories(runtime)
        raise StartError(f"cannot make the runtime directory {error.filename}: {error.strerror}") from error
    runtime_lock = runtime_lock or _lock_runtime(name, runtime)
    try:
        make_runtime_directory(runtime, mode=directory_mode, group=group)  # a predecessor may just have cleaned up
        data_lock = data_directory.lock(data_dir)
        identity = identify_data_directory(data_dir, group)
    except BaseException:
        _leave(runtime, runtime_lock)
        raise
    runtime_lock.write(lock_text(os.getpid(), LastStart(data_dir, log_dirs)))
    data_lock.write(f"{os.getpid()}\n{name}\n")
    return Home(runtime, data_dir, identity.cluster_id, identity.directory_id, runtime_lock, data_lock, log_dirs)


def _leave(runtime: RuntimePaths, runtime_lock: LifeLock) -> None:
    """Unlock, and remove every directory that nobody needs: not if another cluster, worker or client lives there."""
    for file in (runtime.control_socket, runtime.workers_socket, runtime.sign_of_life):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file)
    for directory in (runtime.lives, runtime.owners, runtime.standbys):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    runtime_lock.release()
    _remove_directories(runtime)


def _remove_directories(runtime: RuntimePaths) -> None:
    """Those that are empty."""
    mine = (runtime.lives, runtime.owners, runtime.standbys, runtime.directory)
    for directory in (*mine, os.path.dirname(runtime.directory)):
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
        last = parse_lock_text(held.content)
        data_dir = "not yet known" if last is None else last.data_dir
        raise ClusterAlreadyRunningError(
            f"cluster {name!r} is already running: process {held.pid}, data directory {data_dir};"
            f" stop it with `shmlog down --name {name}` or choose another --name"
        ) from None

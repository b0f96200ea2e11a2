"""The data directory, and log directories, as processes agree on them: made if missing, locked by one supervisor."""

from __future__ import annotations

import os

from shmlog.control import life
from shmlog.control.life import LifeLock, LockHeldError
from shmlog.errors import DataDirectoryInUseError, StartError
from shmlog.log.storage import OsStorage

OTHER = "choose another data directory"


def make(directory: str, kind: str = "data directory") -> None:
    """Durably create it and what is missing above it, for its user and group alone. Raises StartError naming it.

    `kind` is what errors call it.
    """
    missing, path = [], os.path.abspath(directory)
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o750, exist_ok=True)
        for path in missing:
            OsStorage().fsync_dir(os.path.dirname(path))
    except FileExistsError:
        raise StartError(f"the {kind} {directory} is a file: choose another {kind}") from None
    except OSError as error:
        raise StartError(f"cannot create the {kind} {directory}: {error.strerror}; choose another {kind}") from error


def lock(directory: str, kind: str = "data directory") -> LifeLock:
    """Become the one who writes there. Raises DataDirectoryInUseError naming who does, StartError."""
    path = _lock_file(directory)
    try:
        return LifeLock.acquire(path)
    except LockHeldError as held:
        raise _in_use(directory, held.pid, held.content, kind) from None
    except OSError as error:
        raise StartError(f"cannot lock {path}: {error.strerror}; choose another {kind}") from error


def holder(directory: str) -> int | None:
    """Pid of the supervisor that writes there, as life.holder; never for this process's own."""
    return life.holder(_lock_file(directory))


def require_free(directory: str) -> None:
    """Raise DataDirectoryInUseError if a supervisor has it now. One that comes a moment later is refused by lock()."""
    pid = holder(directory)
    if pid is not None:
        with open(_lock_file(directory), encoding="utf-8", errors="replace") as file:
            raise _in_use(directory, pid, file.read(), "data directory")


def _lock_file(directory: str) -> str:
    return os.path.join(directory, ".lock")


def _in_use(directory: str, pid: int, content: str, kind: str) -> DataDirectoryInUseError:
    """`content`: pid and cluster name, one per line, as the supervisor wrote them."""
    _, _, name = content.strip().partition("\n")
    return DataDirectoryInUseError(
        f"the {kind} {directory} is in use by process {pid} (cluster {name!r}): stop that cluster or choose another"
        f" {kind}"
    )

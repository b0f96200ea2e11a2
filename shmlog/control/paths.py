"""Where a cluster lives: one documented order of defaults, the same under cron, sudo, systemd and in a shell.

    cluster name       explicit > $SHMLOG_CLUSTER > "default"
    runtime directory  (explicit > $SHMLOG_RUNTIME_DIR > /dev/shm/shmlog-<uid>) / <name>
    data directory     explicit > $SHMLOG_DATA_DIR > configuration file > /var/lib/shmlog/<name> for root,
                       <home>/.local/share/shmlog/<name> for others, home from the password database

The default runtime directory is in /dev/shm because that is the one mount that clients must share anyway: no tmp
cleaner touches it, and PrivateTmp= does not hide it.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shmlog.errors import InvalidConfigError, StartError
from shmlog.limits import CLUSTER_NAME_CHARACTERS_MAX

DEFAULT_CLUSTER = "default"
SOCKET_PATH_BYTES_MAX = 107
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    """The files of one cluster's runtime directory."""

    directory: str

    @property
    def control_socket(self) -> str:
        return os.path.join(self.directory, "control.sock")

    @property
    def supervisor_lock(self) -> str:
        """Locked by the supervisor; content: its pid and data directory, one per line."""
        return os.path.join(self.directory, "supervisor.lock")

    @property
    def workers_socket(self) -> str:
        """Where workers that have outlived their supervisor find the next one."""
        return os.path.join(self.directory, "workers.sock")

    def coordinator_socket(self, partition: int) -> str:
        """Where the coordinator of consumer groups listens that this partition of the offsets topic hosts."""
        return os.path.join(self.directory, f"groups.{partition}")

    @property
    def sign_of_life(self) -> str:
        """Where the supervisor shows its standbys that it is not stuck."""
        return os.path.join(self.directory, "supervisor.alive")

    @property
    def standbys(self) -> str:
        return os.path.join(self.directory, "standbys")

    def standby(self, number: int) -> str:
        """The life file of a supervisor that waits for its turn."""
        return os.path.join(self.standbys, str(number))

    @property
    def lives(self) -> str:
        return os.path.join(self.directory, "life")

    @property
    def owners(self) -> str:
        return os.path.join(self.directory, "owners")

    def life(self, client_id: int) -> str:
        """The life file of a client."""
        return os.path.join(self.lives, str(client_id))

    def owner(self, partition_id: int) -> str:
        """The life file of a partition's owner."""
        return os.path.join(self.owners, str(partition_id))

    def follower(self, partition_id: int, replica_id: int) -> str:
        """The life file of one of a partition's followers, beside its owner's."""
        return os.path.join(self.owners, f"{partition_id}.r{replica_id}")


def cluster_name(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The cluster that is meant; raises InvalidConfigError for a name that cannot be one."""
    name = explicit if explicit is not None else environ.get("SHMLOG_CLUSTER") or DEFAULT_CLUSTER
    if len(name) > CLUSTER_NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        raise InvalidConfigError(
            f"{name!r} cannot be the name of a cluster: 1 to {CLUSTER_NAME_CHARACTERS_MAX} of a-z A-Z 0-9 . _ -,"
            " beginning with a letter or digit"
        )
    return name


def runtime_paths(name: str, explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> RuntimePaths:
    """The runtime directory of cluster `name`; it need not exist. Raises InvalidConfigError if it is too long."""
    ours = f"/dev/shm/shmlog-{os.getuid()}"  # noqa: S108  (a stranger's directory is refused by require_trusted)
    base = explicit or environ.get("SHMLOG_RUNTIME_DIR") or ours
    paths = RuntimePaths(os.path.join(os.path.abspath(base), name))
    if len(os.fsencode(paths.control_socket)) > SOCKET_PATH_BYTES_MAX:
        raise InvalidConfigError(
            f"the path of the control socket {paths.control_socket} has more than {SOCKET_PATH_BYTES_MAX} bytes, which"
            " is the kernel's limit: choose a shorter $SHMLOG_RUNTIME_DIR or cluster name"
        )
    return paths


def data_directory(
    name: str, explicit: str | None = None, configured: str | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """The data directory of cluster `name`, absolute; `configured` is what the configuration file says."""
    chosen = explicit or environ.get("SHMLOG_DATA_DIR") or configured
    if chosen:
        return _absolute(chosen)
    if os.getuid() == 0:
        return os.path.join("/var/lib/shmlog", name)
    return os.path.join(_home(), ".local/share/shmlog", name)


def log_directories(explicit: Sequence[str] = (), configured: Sequence[str] = ()) -> tuple[str, ...]:
    """The log directories that a cluster is to have besides its data directory, absolute; `configured` is what the
    configuration file says. Empty: logs go to the data directory."""
    return tuple(_absolute(chosen) for chosen in explicit or configured)


def _absolute(chosen: str) -> str:
    return os.path.abspath(os.path.join(_home(), chosen[2:]) if chosen.startswith("~/") else chosen)


def _home() -> str:
    """Not $HOME: sudo, cron and systemd disagree about that."""
    return pwd.getpwuid(os.getuid()).pw_dir


def make_runtime_directory(paths: RuntimePaths, *, mode: int = 0o700, group: int | None = None) -> None:
    """Create what is missing of the runtime directory. `mode` 0o750 and `group` let a group's clients in."""
    parent = os.path.dirname(paths.directory)
    for directory in (parent, paths.directory, paths.lives, paths.owners, paths.standbys):
        try:
            os.mkdir(directory, mode)
        except FileExistsError:
            continue
        except FileNotFoundError:
            os.makedirs(directory, mode)
        os.chmod(directory, mode)  # the umask took bits away
        if group is not None:
            os.chown(directory, -1, group)
    require_trusted(paths)


def require_trusted(paths: RuntimePaths) -> None:
    """Raise StartError if somebody else could have put the runtime directory there: /dev/shm is open to everybody."""
    try:
        status = os.stat(paths.directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) or (status.st_uid not in (0, os.getuid()) and not _is_ours_by_group(status)):
        raise StartError(
            f"the runtime directory {paths.directory} belongs to user {status.st_uid}, not to you:"
            " choose another with $SHMLOG_RUNTIME_DIR, or unset it"
        )


def _is_ours_by_group(status: os.stat_result) -> bool:
    """A cluster shared with a group: its members may enter, strangers may not."""
    return status.st_gid in (os.getgid(), *os.getgroups()) and bool(status.st_mode & stat.S_IXGRP)

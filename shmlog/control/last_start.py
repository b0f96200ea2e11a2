"""With which directories a cluster was last started, so that people can be told how to start it so again.

A supervisor writes it into its lock file, which stays when it is killed:

    <pid>
    <data directory>
    <log directory>         a line for each that it was given; none if logs go to the data directory
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from shmlog.control.paths import data_directory


@dataclass(frozen=True, slots=True)
class LastStart:
    """Absolute paths. `log_dirs` are those that it was given."""

    data_dir: str
    log_dirs: tuple[str, ...] = ()


def lock_text(pid: int, last: LastStart) -> str:
    """What the lock file holds."""
    return "".join(f"{line}\n" for line in (pid, last.data_dir, *last.log_dirs))


def parse_lock_text(text: str) -> LastStart | None:
    """None if it does not say, or not yet."""
    _, *directories = text.splitlines() or [""]
    return LastStart(directories[0], tuple(directories[1:])) if directories and directories[0] else None


def read_last_start(lock_file: str) -> LastStart | None:
    """None if there is no such file, or it may not be read, or does not say."""
    try:
        with open(lock_file, encoding="utf-8", errors="replace") as file:
            return parse_lock_text(file.read())
    except OSError:
        return None


def up_command(name: str, data_dir: str | None = None, log_dirs: Sequence[str] = ()) -> str:
    """The command that starts the cluster with these directories, quoted for a shell."""
    command = ["shmlog", "up", "--name", name]
    command += ["--data-dir", data_dir] if data_dir is not None else []
    for log_dir in log_dirs:
        command += ["--log-dir", log_dir]
    return shlex.join(command)


def command_after(name: str, last: LastStart | None) -> str:
    """The command that starts a cluster as it was last started. It names the directories, unless the defaults and the
    environment of this process lead to them."""
    if last is None or (not last.log_dirs and last.data_dir == data_directory(name)):
        return up_command(name)
    return up_command(name, last.data_dir, last.log_dirs)


def restart_command(name: str, lock_file: str) -> str:
    """The same, by what the lock file of the supervisor says."""
    return command_after(name, read_last_start(lock_file))

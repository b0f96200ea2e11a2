"""The supervisor process of an embedded cluster, which lives as long as the process that started it.

What ties them together is a pipe: we hold the writing end, and the supervisor drains and closes everything when it
reads the end of file. The kernel closes our end however we die, SIGKILL included. Children that we fork must not keep
it open, so they close it first of all (abandon). Those that a C library forks do keep it: so the supervisor has a pidfd
of ours, too, and closes everything when that says that we are gone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import orjson

from shmlog import setting_tables, settings
from shmlog.client.handle import Handle
from shmlog.client.readiness import ReadinessSocket
from shmlog.control import data_directory, life, paths
from shmlog.errors import (
    ClusterAlreadyRunningError,
    DataDirectoryInUseError,
    PollTimeoutError,
    ShmlogError,
    StartError,
)

READY_TIMEOUT_S: Final = 60.0
END_TIMEOUT_S: Final = 60.0
WORDS_BYTES_MAX: Final = 64 * 1024

Config = str | os.PathLike[str] | Mapping[str, object] | None


class EmbeddedSupervisor(Handle):
    """Started and ready after construction. If it did not come up: ClusterAlreadyRunningError, DataDirectoryInUseError
    or StartError, with the supervisor's own words.

    Without `data_dir`, `temporary` says whether the records live in a directory that end() removes, or where the
    cluster's name, the environment and the configuration put them.
    """

    def __init__(self, name: str, data_dir: str | None, config: Config, *, temporary: bool) -> None:
        super().__init__("embedded cluster")
        self._own_directory = tempfile.mkdtemp(prefix="shmlog-") if temporary else None
        self._lifetime = -1
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end()
        self._child: subprocess.Popen[bytes] | None = None
        try:
            with tempfile.TemporaryDirectory(prefix="shmlog-config-") as scratch:
                self._start(name, data_dir or self._own_directory, _config_file(config, scratch))
        except BaseException:
            self.end()
            raise

    def _start(self, name: str, data_dir: str | None, config_file: str | None) -> None:
        theirs, self._lifetime = os.pipe()
        ourselves = os.pidfd_open(os.getpid())
        command = [sys.executable, "-P", "-m", "shmlog.workers.supervisor", "--name", name]
        command += ["--embedded", str(theirs), "--host", str(ourselves)]
        command += ["--data-dir", os.path.abspath(data_dir)] if data_dir is not None else []
        command += ["--config", config_file] if config_file is not None else []
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WATCHDOG_")}
        ready = ReadinessSocket()
        try:
            try:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                    env=environment | ready.environment,
                    pass_fds=(theirs, ourselves),
                    start_new_session=True,  # Ctrl-C in our terminal is ours alone
                )
            finally:
                os.close(theirs)
                os.close(ourselves)
            came_up = ready.wait(self._child, READY_TIMEOUT_S)
        except TimeoutError as error:
            raise StartError(f"{error}; it said: {self._last_words() or 'nothing'}") from error
        finally:
            ready.close()
        if not came_up:
            words = self._last_words() or "the supervisor of the embedded cluster ended without a word"
            raise _why(name, data_dir)(words)

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - WORDS_BYTES_MAX))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else ""

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self._child is not None
        return self._child.pid

    def end(self) -> None:
        """Let the supervisor drain and close everything, and wait for it. A second call does nothing.

        Raises PollTimeoutError if it is still there after END_TIMEOUT_S: it goes on closing.
        """
        if self._closed or self.inherited:
            return
        self._closed = True
        self._close_pipe()
        try:
            if self._child is not None:
                self._child.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise PollTimeoutError(
                f"the embedded cluster's supervisor (pid {self.pid}) is still closing after {END_TIMEOUT_S:g} s"
            ) from None
        finally:
            self._said.close()
        if self._own_directory is not None:
            shutil.rmtree(self._own_directory, ignore_errors=True)

    async def aend(self) -> None:
        """end(), for a task: other tasks run while the supervisor drains. Who is cancelled over it waits as end() does,
        so that nothing is left."""
        from shmlog.client.loop_bell import readable

        if self._closed or self.inherited:
            return
        death = os.pidfd_open(self.pid)
        try:
            self._close_pipe()
            await readable(death, END_TIMEOUT_S)
        finally:
            os.close(death)
            self.end()

    def abandon(self) -> None:
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._lifetime >= 0:
            with suppress(OSError):
                os.close(self._lifetime)
            self._lifetime = -1


def _why(name: str, data_dir: str | None) -> type[ShmlogError]:
    """What kind of error it is that a supervisor did not start: its words say the rest."""
    if life.holder(paths.runtime_paths(name).supervisor_lock) is not None:
        return ClusterAlreadyRunningError
    with suppress(PermissionError):  # another user's, which its words say
        if data_directory.holder(paths.data_directory(name, data_dir)) is not None:
            return DataDirectoryInUseError
    return StartError


def _config_file(config: Config, scratch: str) -> str | None:
    """`config` as the path of a configuration file; a mapping of settings becomes one in the directory `scratch`."""
    if config is None:
        return None
    if not isinstance(config, Mapping):
        return os.path.abspath(config)
    lines: dict[str, list[str]] = {"cluster": [], "topic-defaults": []}
    for given, value in config.items():
        name = given.replace("_", ".")
        if name not in setting_tables.CLUSTER and name not in setting_tables.TOPIC:
            raise settings.refusal(given, "cluster", "topic")
        table = "cluster" if name in setting_tables.CLUSTER else "topic-defaults"
        setting = settings.find("cluster" if table == "cluster" else "topic", name)
        parsed = setting.parse(value)  # a wrong value is an error here, not in the supervisor's log
        plain = list(parsed) if setting.kind == "paths" else value
        text = plain if isinstance(plain, (bool, int, str, list)) else str(plain)
        lines[table].append(
            f"{orjson.dumps(setting.name).decode()} = {orjson.dumps(text).decode()}"
        )  # both are TOML too
    path = os.path.join(scratch, "shmlog.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"[{table}]\n" + "\n".join(entries) + "\n" for table, entries in lines.items())
    return path

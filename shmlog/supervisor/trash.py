"""Directories of deleted partitions: out of the way at once, removed file by file so that the loop never stalls."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from shmlog.limits import LOG_NAME_BYTES_MAX
from shmlog.log.storage import OsStorage, Storage
from shmlog.supervisor.loop import Loop

log = logging.getLogger(__name__)

SUFFIX = "-delete"


class Trash:
    """Empties itself whenever something is in it; what a crash left there goes at the next start."""

    def __init__(self, loop: Loop, log_dirs: Iterable[str], storage: Storage | None = None) -> None:
        self._loop = loop
        self._storage = storage if storage is not None else OsStorage()
        self._directories: list[str] = []
        for log_dir in log_dirs:
            for entry in os.listdir(log_dir):
                if entry.endswith(SUFFIX) and entry.count(".") and os.path.isdir(os.path.join(log_dir, entry)):
                    self._add(os.path.join(log_dir, entry))

    def throw_away(self, directory: str, topic_id: str) -> None:
        """Durably rename a partition's directory as Kafka does, and begin to remove it. One that is not there is fine.

        Readers that have its files open read on. Raises OSError.
        """
        ending = f".{topic_id}{SUFFIX}"
        log_dir, name = os.path.split(directory)
        target = os.path.join(log_dir, name[: LOG_NAME_BYTES_MAX - len(ending)] + ending)
        try:
            self._storage.rename(directory, target)
        except FileNotFoundError:
            return
        except OSError:  # an earlier deletion that did not get far left one of the same name
            from shutil import rmtree  # its import takes longer than a supervisor's start should

            rmtree(target, ignore_errors=True)
            self._storage.rename(directory, target)
        self._storage.fsync_dir(log_dir)  # else it comes back, and the next topic of that name finds it there
        self._add(target)

    def _add(self, directory: str) -> None:
        self._directories.append(directory)
        if len(self._directories) == 1:
            self._loop.call_in(0.0, self._remove_some)

    def _remove_some(self) -> None:
        directory = self._directories[0]
        try:
            entries = os.listdir(directory)
            if entries:
                os.unlink(os.path.join(directory, entries[0]))
            if len(entries) <= 1:
                os.rmdir(directory)
                self._directories.pop(0)
        except OSError as error:
            log.warning("cannot remove %s: %s; it stays until the next start", directory, error.strerror)
            self._directories.pop(0)
        if self._directories:
            self._loop.call_in(0.0, self._remove_some)

"""Directories of deleted partitions: out of the way at once, removed after file.delete.delay.ms, file by file so that
the loop never stalls. A disk with little room is not made to wait for that."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from shmlog.limits import LOG_NAME_BYTES_MAX, TRASH_LOOK_S, TRASH_ROOM_BYTES
from shmlog.log.storage import OsStorage, Storage
from shmlog.supervisor.loop import Loop

log = logging.getLogger(__name__)

SUFFIX = "-delete"


class Trash:
    """Empties itself when it is time; what a crash or a clean end left there goes at the next start.

    `reserve_bytes`: disk.reserve.bytes.
    """

    def __init__(
        self, loop: Loop, log_dirs: Iterable[str], storage: Storage | None = None, *, reserve_bytes: int = 0
    ) -> None:
        self._loop = loop
        self._storage = storage if storage is not None else OsStorage()
        self._room_bytes = max(reserve_bytes, TRASH_ROOM_BYTES)
        self._directories: list[str] = []
        self._waiting: dict[str, int] = {}  # until when, on the loop's clock
        for log_dir in log_dirs:
            for entry in os.listdir(log_dir):
                if entry.endswith(SUFFIX) and entry.count(".") and os.path.isdir(os.path.join(log_dir, entry)):
                    self._remove(os.path.join(log_dir, entry))

    def throw_away(self, directory: str, topic_id: str, delay_ms: int = 0) -> None:
        """Durably rename a partition's directory as Kafka does, and remove it later. One that is not there is fine.

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
        if delay_ms <= 0 or not self._has_room(target):
            self._remove(target)
            return
        if not self._waiting:
            self._loop.call_in(min(TRASH_LOOK_S, delay_ms / 1000), self._look)
        self._waiting[target] = self._loop.now_ns() + delay_ms * 1_000_000

    def _look(self) -> None:
        """Begin to remove what has waited long enough, or lies on a disk that has little room."""
        now_ns = self._loop.now_ns()
        for directory, until_ns in list(self._waiting.items()):
            if now_ns >= until_ns or not self._has_room(directory):
                del self._waiting[directory]
                self._remove(directory)
        if self._waiting:
            self._loop.call_in(min(TRASH_LOOK_S, (min(self._waiting.values()) - now_ns) / 1e9), self._look)

    def _has_room(self, directory: str) -> bool:
        try:
            status = os.statvfs(directory)
        except OSError:  # it is gone, or its disk: removing says so
            return False
        return status.f_bavail * status.f_frsize >= self._room_bytes

    def _remove(self, directory: str) -> None:
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

"""Files of segments that are out of the log, kept for a while for readers that may still be reading them."""

from __future__ import annotations

import contextlib
from collections import deque

from shmlog.log.segment import DELETED_SUFFIX, SUFFIXES, for_each_file, segment_path
from shmlog.log.storage import Storage


class DroppedFiles:
    """Dropped oldest first, removed in the same order, each when its time has come."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: deque[tuple[int, list[str]]] = deque()

    def drop(self, directory: str, base_offset: int, deadline_ms: int) -> None:
        """Take a segment's files out of the log by their names, and keep them until `deadline_ms`. Raises OSError."""
        for_each_file(directory, base_offset, lambda path: self._storage.rename(path, path + DELETED_SUFFIX))
        paths = [segment_path(directory, base_offset, suffix + DELETED_SUFFIX) for suffix in SUFFIXES]
        self._waiting.append((deadline_ms, paths))

    def remove(self, now_ms: int) -> int | None:
        """Remove those whose time has come; returns when to come back, None when none are left. Raises OSError."""
        while self._waiting and self._waiting[0][0] <= now_ms:
            for path in self._waiting[0][1]:
                with contextlib.suppress(FileNotFoundError):
                    self._storage.unlink(path)
            self._waiting.popleft()
        return self._waiting[0][0] if self._waiting else None

"""Files of segments that are out of the log, kept for a while for readers that may still be reading them."""

from __future__ import annotations

import contextlib
from collections import deque

from shmlog.log.segment import DELETED_SUFFIX, SUFFIXES, for_each_file, segment_path
from shmlog.log.storage import Storage


class DroppedFiles:
    """Each is removed when its time has come; those of one delay in the order in which they were dropped."""

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
        for dropped in [one for one in self._waiting if one[0] <= now_ms]:
            for path in dropped[1]:
                with contextlib.suppress(FileNotFoundError):
                    self._storage.unlink(path)
            self._waiting.remove(dropped)
        return min((deadline_ms for deadline_ms, _ in self._waiting), default=None)

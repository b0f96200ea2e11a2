"""A storage that fails when told to, and counts: the real files underneath, no real syncs."""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import dataclass, field

from shmlog.log.storage import OsStorage


@dataclass
class Failure:
    """Which call fails: the operation's name, part of the path or "" for any, and the errno it fails with."""

    operation: str
    path_part: str = ""
    code: int = errno.EIO


@dataclass
class FaultyStorage(OsStorage):
    """OsStorage whose syncs only count, and whose `failures` make the calls they match raise OSError, every time.

    `calls` counts by operation; `synced` lists the names of files and directories in the order they were synced.
    """

    failures: list[Failure] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    synced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def fdatasync(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        self._call("fdatasync", path)
        self.synced.append(os.path.basename(path))

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)
        self.synced.append(os.path.basename(path))

    def open(self, path: str, flags: int) -> int:
        self._call("create" if flags & os.O_CREAT and not os.path.exists(path) else "open", path)
        return super().open(path, flags)

    def rename(self, old: str, new: str) -> None:
        self._call("rename", old)
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        super().unlink(path)

    def _call(self, operation: str, path: str) -> None:
        self.calls[operation] += 1
        for failure in self.failures:
            if failure.operation == operation and failure.path_part in os.path.basename(path):
                raise OSError(failure.code, os.strerror(failure.code), path)

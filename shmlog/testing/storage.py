"""A storage that fails when told to, and counts: the real files underneath, no real syncs."""

from __future__ import annotations

import errno
import math
import os
from collections import Counter
from dataclasses import dataclass, field

from shmlog.log.storage import OsStorage


class Killed(BaseException):
    """The process that used the storage is gone: not an Exception, so that nobody handles it."""


@dataclass
class Failure:
    """Which call fails: the operation's name, part of the path or "" for any, the errno it fails with, how often."""

    operation: str
    path_part: str = ""
    code: int = errno.EIO
    times: float = math.inf


@dataclass
class FaultyStorage(OsStorage):
    """OsStorage whose syncs only count, and whose `failures` make the calls they match raise OSError.

    `calls` counts by operation; `synced` lists the names of files and directories in the order they were synced;
    `read_bytes` is how much was read, which never fails. Like a kernel it answers a sync that follows a failed one of
    the same file with success, and then puts the file's name into `believed`: what is in there was lost.
    """

    failures: list[Failure] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    synced: list[str] = field(default_factory=list)
    read_bytes: int = 0
    calls_left: int | None = None
    """After so many calls every further one raises Killed before it does anything; None: never."""
    opened: set[int] = field(default_factory=set)
    believed: list[str] = field(default_factory=list)
    _spoiled: list[int] = field(default_factory=list)  # descriptors of our own, so that no inode number is used again

    def __post_init__(self) -> None:
        super().__init__()

    def fdatasync(self, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        try:
            self._call("fdatasync", path)
        except OSError:
            self._spoiled.append(os.dup(fd))
            raise
        if any(os.path.sameopenfile(fd, spoiled) for spoiled in self._spoiled):
            self.believed.append(os.path.basename(path))
        self.synced.append(os.path.basename(path))

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)
        self.synced.append(os.path.basename(path))

    def open(self, path: str, flags: int) -> int:
        self._call("create" if flags & os.O_CREAT and not os.path.exists(path) else "open", path)
        fd = super().open(path, flags)
        self.opened.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self.opened.discard(fd)
        super().close(fd)

    def close_all(self) -> None:
        """What the kernel does for a killed process."""
        for fd in list(self.opened):
            self.close(fd)
        while self._spoiled:
            os.close(self._spoiled.pop())

    def pread(self, fd: int, size_bytes: int, position: int) -> bytes:
        data = super().pread(fd, size_bytes, position)
        self.read_bytes += len(data)
        return data

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        size_bytes = super().pread_into(fd, buffer, position)
        self.read_bytes += size_bytes
        return size_bytes

    def pwrite(self, fd: int, data: bytes, position: int) -> None:
        self._call("pwrite", os.readlink(f"/proc/self/fd/{fd}"))
        super().pwrite(fd, data, position)

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._call("truncate", os.readlink(f"/proc/self/fd/{fd}"))
        super().truncate(fd, size_bytes)

    def rename(self, old: str, new: str) -> None:
        self._call("rename", old)
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        super().unlink(path)

    def mkdir(self, path: str) -> bool:
        self._call("mkdir", path)
        return super().mkdir(path)

    def _call(self, operation: str, path: str) -> None:
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise Killed(f"at {operation} of {path}")
            self.calls_left -= 1
        self.calls[operation] += 1
        for failure in self.failures:
            if failure.operation == operation and failure.path_part in os.path.basename(path) and failure.times > 0:
                failure.times -= 1
                raise OSError(failure.code, os.strerror(failure.code), path)

"""The file operations that the log uses, as a seam: tests put a storage there that fails or forgets.

Batches themselves are written by native.segment straight through a file descriptor; everything around them goes
through here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable
from typing import Protocol

from shmlog.log.progress import Progress

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a call fails with that succeeds once there is room."""
_FALLOC_FL_KEEP_SIZE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Storage(Protocol):
    """Files and directories. Descriptors are plain ints and belong to who opened them; every method raises OSError."""

    def open(self, path: str, flags: int) -> int:
        """Like os.open; files that it creates get the storage's mode and group whatever the umask says."""

    def close(self, fd: int) -> None: ...

    def pread(self, fd: int, size_bytes: int, position: int) -> bytes:
        """`size_bytes` bytes from `position`; fewer only at the end of the file."""

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        """Fill `buffer` from `position`; returns how many bytes there were, fewer only at the end of the file.

        Into memory that was used before this is several times faster than into fresh bytes.
        """

    def pwrite(self, fd: int, data: bytes, position: int) -> None:
        """Write all of `data` at `position`."""

    def fdatasync(self, fd: int) -> None: ...

    def fsync_dir(self, path: str) -> None:
        """Make creations, renames and removals in the directory durable."""

    def truncate(self, fd: int, size_bytes: int) -> None: ...

    def reserve(self, fd: int, size_bytes: int) -> None:
        """Take the disk space that the file needs to grow to `size_bytes`, without changing its size."""

    def size_bytes(self, fd: int) -> int: ...

    def modified_ms(self, fd: int) -> int: ...

    def is_replaced(self, fd: int, path: str) -> bool:
        """Whether another file has the name by which `fd` was opened. False when none has it any more."""

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def listdir(self, path: str) -> list[str]: ...

    def mkdir(self, path: str) -> bool:
        """Create the directory; False when it is there already."""


class OsStorage:
    """The real file system. `file_mode` and `group` apply to what it creates."""

    def __init__(self, file_mode: int = 0o600, group: int | None = None) -> None:
        self._file_mode = file_mode
        self._group = group
        self.progress: Progress | None = None
        """Told of every step while nothing else shows that this process lives: a start may take minutes."""

    def open(self, path: str, flags: int) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags)
        fd = os.open(path, flags, self._file_mode)
        try:
            if stat.S_IMODE(os.fstat(fd).st_mode) != self._file_mode:
                os.fchmod(fd, self._file_mode)
            if self._group is not None:
                os.fchown(fd, -1, self._group)
        except OSError:
            os.close(fd)
            raise
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, size_bytes: int, position: int) -> bytes:
        self._step()
        data = os.pread(fd, size_bytes, position)
        if len(data) == size_bytes or not data:
            return data
        parts = [data]
        done = len(data)
        while done < size_bytes:
            more = os.pread(fd, size_bytes - done, position + done)
            if not more:
                break
            parts.append(more)
            done += len(more)
        return b"".join(parts)

    def pread_into(self, fd: int, buffer: memoryview, position: int) -> int:
        self._step()
        done = 0
        while done < len(buffer):
            more = os.preadv(fd, [buffer[done:]], position + done)
            if not more:
                break
            done += more
        return done

    def pwrite(self, fd: int, data: bytes, position: int) -> None:
        self._step()
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, position)
            view = view[done:]
            position += done

    def fdatasync(self, fd: int) -> None:
        self._wait_for(lambda: os.fdatasync(fd))

    def fsync_dir(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._wait_for(lambda: os.fsync(fd))
        finally:
            os.close(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def reserve(self, fd: int, size_bytes: int) -> None:
        if _libc.fallocate(fd, _FALLOC_FL_KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(size_bytes)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def size_bytes(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def modified_ms(self, fd: int) -> int:
        return os.fstat(fd).st_mtime_ns // 1_000_000

    def is_replaced(self, fd: int, path: str) -> bool:
        try:
            now = os.stat(path)
        except FileNotFoundError:
            return False
        return not os.path.samestat(now, os.fstat(fd))

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        return os.listdir(path)

    def mkdir(self, path: str) -> bool:
        try:
            os.mkdir(path)
        except FileExistsError:
            return False
        mode = self._file_mode | (self._file_mode & 0o444) >> 2  # who may read files may search the directory
        os.chmod(path, mode)
        if self._group is not None:
            os.chown(path, -1, self._group)
        return True

    def _step(self) -> None:
        if self.progress is not None:
            self.progress.step()

    def _wait_for(self, call: Callable[[], None]) -> None:
        if self.progress is None:
            call()
        else:
            self.progress.wait_for(call)


def read_file(storage: Storage, path: str) -> bytes:
    """All bytes of a small file."""
    fd = storage.open(path, os.O_RDONLY)
    try:
        return storage.pread(fd, storage.size_bytes(fd), 0)
    finally:
        storage.close(fd)


def replace_file(storage: Storage, path: str, data: bytes) -> None:
    """Put `data` into the file at `path` so that after a crash it holds the old or the new bytes, never a mixture.

    Durable when it returns: temporary file, fdatasync, rename, fsync of the directory.
    """
    temporary = path + ".tmp"
    fd = storage.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        storage.pwrite(fd, data, 0)
        storage.fdatasync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            storage.unlink(temporary)  # a sync that failed is never tried again on the same file
        raise
    finally:
        storage.close(fd)
    storage.rename(temporary, path)
    storage.fsync_dir(os.path.dirname(path))


def rewrite_file(storage: Storage, path: str, data: bytes) -> None:
    """As replace_file, but not durable: a kill leaves the old or the new bytes, a power loss anything."""
    temporary = path + ".tmp"
    fd = storage.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        storage.pwrite(fd, data, 0)
    finally:
        storage.close(fd)
    storage.rename(temporary, path)

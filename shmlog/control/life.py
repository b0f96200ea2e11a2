"""Life locks: a process holds a POSIX record lock on its own file for as long as it lives.

The kernel releases it at the very end of the process, whatever ended it; fork() does not inherit it; it works across
pid namespaces and for a supervisor that starts later. The trap of POSIX locks is part of the contract: a process that
opens its own life file a second time and closes it loses the lock. So holder() is only for other processes' files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

# struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid
_FLOCK = struct.Struct("@hhqqi4x")


class LockHeldError(Exception):
    """Somebody else holds the lock. `pid` is 0 if the holder is not visible in our pid namespace."""

    def __init__(self, path: str, pid: int, content: str) -> None:
        super().__init__(f"{path} is locked by process {pid}")
        self.pid = pid
        self.content = content


class LifeLock:
    """A held lock; the file stays open until release() or the end of the process."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: str) -> LifeLock:
        """Create the file if needed and lock it; raises LockHeldError at once if another process has it.

        Whoever may enter the directory may look at the lock, whatever the umask: that is what it is for.
        """
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                pid = _holder_of(fd)
                content = os.pread(fd, 4096, 0).decode(errors="replace")
                os.close(fd)
                if pid is None:
                    continue  # let go between the two calls
                raise LockHeldError(path, pid, content) from error
            if _is_linked(fd, path):
                with contextlib.suppress(PermissionError):  # somebody else made it, so he chose
                    os.fchmod(fd, 0o644)
                return cls(path, fd)
            os.close(fd)  # its last holder removed the file between open and lock

    @property
    def is_linked(self) -> bool:
        """Whether the path still names the file that is locked; else nobody finds the lock any more."""
        return _is_linked(self._fd, self.path)

    def write(self, content: str) -> None:
        """Replace the file's content: what others want to know about the holder."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, content.encode(), 0)

    def fileno(self) -> int:
        """The locked descriptor. A forked child may close it: that does not release the parent's lock."""
        return self._fd

    def release(self, *, remove: bool = True) -> None:
        """Give the lock up, by default with its file (removed before it is unlocked); not with a namesake's."""
        if remove and self.is_linked:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1


def holder(path: str) -> int | None:
    """Pid of the process that holds the lock on `path`; 0 if it is in another pid namespace; None if nobody does.

    Never for a file that this very process has locked.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _holder_of(fd)
    finally:
        os.close(fd)


def _holder_of(fd: int) -> int | None:
    request = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, request))
    return None if kind == fcntl.F_UNLCK else max(pid, 0)


def _is_linked(fd: int, path: str) -> bool:
    ours = os.fstat(fd)
    try:
        there = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

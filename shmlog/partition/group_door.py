"""Where members of groups knock: the coordinator's socket, and everything whose news must wake its owner.

An owner sleeps on a word of memory, and descriptors ring nobody. So a thread waits for them, for all of them at once,
and rings the owner's bell; the owner looks which they are. The thread does nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading

from shmlog.errors import StartError
from shmlog.native.doorbell import Doorbell

BACKLOG = 512
EVENTS_MAX = 256


class GroupDoor:
    """A listening socket and a set of watched descriptors. Owner's thread only."""

    def __init__(self, path: str, bell: Doorbell, *, mode: int, group: int | None) -> None:
        self.path = path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a predecessor, who is dead: there is one owner
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(path)
            os.chmod(path, mode)
            if group is not None:
                os.chown(path, -1, group)
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise StartError(f"the coordinator of consumer groups cannot listen at {path}: {error.strerror}") from error
        self._made = os.stat(path)
        self._watched = select.epoll()
        self._watched.register(self._socket, select.EPOLLIN)
        self._bell = bell
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._ring_for_news, name="shmlog-group-door", daemon=True)
        self._thread.start()

    def _ring_for_news(self) -> None:
        """Each news rings once: edges, of the readiness of the whole set."""
        with select.epoll() as news:
            news.register(self._watched, select.EPOLLIN | select.EPOLLET)
            news.register(self._end, select.EPOLLIN)
            while not any(fd == self._end for fd, _ in news.poll()):
                self._bell.ring()

    def watch(self, fd: int) -> None:
        """ready() names it while it is readable, or at its end."""
        self._watched.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            self._watched.unregister(fd)

    def ready(self) -> list[int]:
        """Descriptors with news; the listening socket's stands for those who want to come in: accept()."""
        return [fd for fd, _ in self._watched.poll(0, EVENTS_MAX)]

    @property
    def has_news(self) -> bool:
        return bool(self._watched.poll(0, 1))

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """The next who wants to come in; None: nobody. Raises OSError when there are no descriptors left."""
        try:
            connected, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        return connected

    def close(self) -> None:
        """Nobody is let in any more. The path goes if it is still this socket's."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._made, os.stat(self.path)):
                os.unlink(self.path)
        self._socket.close()
        self._watched.close()
        os.close(self._end)

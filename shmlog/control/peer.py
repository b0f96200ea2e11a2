"""Who is at the other end of a unix socket, as the kernel says, and a pidfd that tells when that process dies."""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

_UCRED = struct.Struct("=iII")
_SO_PEERPIDFD = 77  # Linux 6.5; the socket module has no name for it


class PeerCredentials(NamedTuple):
    """The process that called connect(), at that moment. `pid` is 0 if it is not visible in our pid namespace."""

    pid: int
    uid: int
    gid: int


def peer_credentials(connected: socket.socket) -> PeerCredentials:
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return PeerCredentials(*_UCRED.unpack(raw))


def start_time(pid: int) -> int:
    """When a process began, in clock ticks since boot: with its number it is no other process; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *rest = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state in "ZX" else int(rest[18])


def peer_pidfd(connected: socket.socket) -> int | None:
    """A pidfd of the peer, the caller's to close; None if the kernel cannot name it (another pid namespace, or dead).

    It becomes readable when the process has died, even while somebody who inherited the socket keeps it open.
    """
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4)
    except OSError:  # an older kernel: ENOPROTOOPT; a peer that was reaped: ESRCH
        return _pidfd_by_number(connected)
    fd: int = struct.unpack("=i", raw)[0]
    os.set_inheritable(fd, False)
    return fd


def _pidfd_by_number(connected: socket.socket) -> int | None:
    """pidfd_open() of the peer's number; if the socket is still open afterwards, nobody else can have the number."""
    pid = peer_credentials(connected).pid
    if pid <= 0:
        return None
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if _is_open(connected):
        return fd
    os.close(fd)
    return None


def _is_open(connected: socket.socket) -> bool:
    try:
        return bool(connected.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False

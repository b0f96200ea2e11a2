"""Waiting for a supervisor that we started to say that it is ready, as systemd would: $NOTIFY_SOCKET and READY=1."""

from __future__ import annotations

import os
import secrets
import select
import socket
import subprocess
import time

MESSAGE_BYTES_MAX = 4096


class ReadinessSocket:
    """A datagram socket in the abstract namespace, for one child process."""

    def __init__(self) -> None:
        self._address = f"shmlog-ready-{os.getpid()}-{secrets.token_hex(4)}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.bind("\0" + self._address)
        self.status = ""
        """What the child says of itself, once it is ready."""

    @property
    def environment(self) -> dict[str, str]:
        """What the child must have in its environment."""
        return {"NOTIFY_SOCKET": "@" + self._address}

    def wait(self, child: subprocess.Popen[bytes], timeout_s: float) -> bool:
        """True when the child is ready, False when it has ended instead. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        death = os.pidfd_open(child.pid)
        try:
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            poller.register(death, select.POLLIN)
            while (left_s := deadline - time.monotonic()) > 0:
                readable = [fd for fd, _ in poller.poll(left_s * 1000)]
                if self._socket.fileno() in readable:
                    said = self._socket.recv(MESSAGE_BYTES_MAX).decode(errors="replace").splitlines()
                    if "READY=1" in said:
                        self.status = next((line[7:] for line in said if line.startswith("STATUS=")), "")
                        return True
                elif death in readable:
                    return False
        finally:
            os.close(death)
        raise TimeoutError(f"the supervisor (pid {child.pid}) is not ready after {timeout_s:g} s")

    def close(self) -> None:
        self._socket.close()

"""A stream of messages between two processes over a unix socket, with file descriptors where a message carries them.

    4 bytes length, big-endian | JSON of one message | 4 bytes length | ...

The socket never blocks: the supervisor drives many channels from one selector loop, an owner looks at its channel when
its doorbell rings, a client waits in receive(timeout_s). The peer is not trusted: lengths are bounded before anything
is stored, a peer that does not read is cut off, and descriptors that no message announces are never accepted.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence

from shmlog.control.codec import FDS_CARRIED, decode, encode, request_id_of
from shmlog.control.messages import Message
from shmlog.errors import BrokerNotAvailableError, InvalidRequestError, ShmlogError
from shmlog.limits import CONTROL_MESSAGE_BYTES_MAX

LENGTH_BYTES = 4
RECEIVE_BYTES = 64 * 1024
UNSENT_BYTES_MAX = 4 * CONTROL_MESSAGE_BYTES_MAX
"""A peer that leaves more than this unread is cut off."""
FDS_PER_RECEIVE_MAX = 16
_RIGHTS_BYTES = socket.CMSG_SPACE(4 * FDS_PER_RECEIVE_MAX)


class ChannelClosedError(BrokerNotAvailableError):
    """The other process closed its end, or died."""


class Channel:
    """One end of a connection; owns its socket.

    Not for use by several threads at once. `passes_fds`: the peer may send descriptors (supervisor and zygote only);
    without it the kernel drops whatever descriptors a peer attaches.
    """

    __slots__ = ("_fds", "_inbox", "_passes_fds", "_socket", "_unsent", "_unsent_bytes", "accepts_bytes_max",
                 "refused_request_id")  # fmt: skip

    def __init__(
        self, connected: socket.socket, *, passes_fds: bool = False, accepts_bytes_max: int = CONTROL_MESSAGE_BYTES_MAX
    ) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._passes_fds = passes_fds
        self._inbox = bytearray()
        self._fds: deque[int] = deque()
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._unsent_bytes = 0
        self.accepts_bytes_max = accepts_bytes_max
        """A message that claims to be longer is refused before it is stored."""
        self.refused_request_id = 0
        """request_id of the message that receive() refused last; 0 if it had none."""

    @classmethod
    def connect(cls, path: str) -> Channel:
        """Connect to a listening socket, without waiting. Raises what connect(2) raises: FileNotFoundError,
        ConnectionRefusedError; BlockingIOError while so many others wait to be accepted that the kernel takes no more.
        """
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        endpoint.setblocking(False)
        try:
            endpoint.connect(path)
        except OSError:
            endpoint.close()
            raise
        return cls(endpoint)

    @classmethod
    def pair(cls, *, passes_fds: bool = False) -> tuple[Channel, socket.socket]:
        """A channel and the bare other end, to be handed to another process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours, passes_fds=passes_fds), theirs

    def fileno(self) -> int:
        """For select; -1 once closed."""
        return self._socket.fileno()

    @property
    def endpoint(self) -> socket.socket:
        """The socket itself, for peer credentials; it stays the channel's."""
        return self._socket

    @property
    def is_hung_up(self) -> bool:
        """Whether the other side has gone; what it sent before can still be received."""
        return self._ready(select.POLLHUP, 0.0)

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue `message` and send what the socket takes now; flush() later sends the rest.

        `fds` are duplicated for the receiver; they must stay open until has_unsent is False. Raises ChannelClosedError.
        """
        assert len(fds) == FDS_CARRIED.get(type(message), 0), "descriptors that this message does not carry"
        payload = encode(message)
        if self._unsent_bytes + len(payload) > UNSENT_BYTES_MAX:
            raise ChannelClosedError(f"the other side does not read: {self._unsent_bytes} bytes wait for it")
        frame = len(payload).to_bytes(LENGTH_BYTES, "big") + payload
        self._unsent.append((memoryview(frame), tuple(fds)))
        self._unsent_bytes += len(frame)
        self.flush()

    @property
    def has_unsent(self) -> bool:
        """Something waits until the socket takes more: select for writing and call flush()."""
        return bool(self._unsent)

    def flush(self, timeout_s: float = 0.0) -> bool:
        """Send what waits, for at most `timeout_s`; True if nothing waits any more. Raises ChannelClosedError."""
        deadline = time.monotonic() + timeout_s
        while self._unsent:
            frame, fds = self._unsent[0]
            try:
                sent = self._send_some(frame, fds)
            except BlockingIOError:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._ready(select.POLLOUT, left_s):
                    return False
                continue
            except OSError as error:
                raise ChannelClosedError(f"the other side of the control channel is gone: {error.strerror}") from error
            self._unsent_bytes -= sent
            if sent == len(frame):
                self._unsent.popleft()
            else:
                self._unsent[0] = (frame[sent:], ())  # the descriptors went with the first byte
        return True

    def _send_some(self, frame: memoryview, fds: tuple[int, ...]) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        return self._socket.sendmsg([frame], rights, socket.MSG_NOSIGNAL)

    # --- receiving ----------------------------------------------------------------------------------------------------

    def receive(self, timeout_s: float = 0.0) -> Message | None:
        """The next message, waiting at most `timeout_s` for it; None if there is none.

        Raises ChannelClosedError when the other side is gone and everything was read; InvalidRequestError or
        ForeignVersionError for a message that cannot be accepted (refused_request_id then names its request). After a
        refusal the channel can be used further unless the framing itself was wrong: then it raises again and again.
        """
        received = self.receive_with_fds(timeout_s)
        if received is None:
            return None
        message, fds = received
        for fd in fds:
            os.close(fd)
        return message

    def receive_with_fds(self, timeout_s: float = 0.0) -> tuple[Message, list[int]] | None:
        """As receive(), with the descriptors that the message carries; they are the caller's to close."""
        deadline = time.monotonic() + timeout_s
        while (payload := self._take_payload()) is None:
            try:
                self._receive_some()
            except BlockingIOError:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._ready(select.POLLIN, left_s):
                    return None
        self.refused_request_id = 0
        try:
            message = decode(payload)
        except ShmlogError:
            self.refused_request_id = request_id_of(payload)
            raise
        count = FDS_CARRIED.get(type(message), 0)
        if count > len(self._fds):
            raise InvalidRequestError(f"{type(message).__name__} came without its file descriptor")
        return message, [self._fds.popleft() for _ in range(count)]

    def _take_payload(self) -> bytes | None:
        """One whole payload out of the inbox, or None if there is no whole one yet."""
        if len(self._inbox) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._inbox[:LENGTH_BYTES], "big")
        if not 0 < length <= self.accepts_bytes_max:
            raise InvalidRequestError(
                f"a control message of {length} bytes; it must have 1 to {self.accepts_bytes_max}: this is not a"
                " shmlog client"
            )
        if len(self._inbox) < LENGTH_BYTES + length:
            return None
        payload = bytes(self._inbox[LENGTH_BYTES : LENGTH_BYTES + length])
        del self._inbox[: LENGTH_BYTES + length]
        return payload

    def _receive_some(self) -> None:
        try:
            if self._passes_fds:
                chunk, ancillary, _, _ = self._socket.recvmsg(RECEIVE_BYTES, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
                for level, kind, data in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        self._fds.extend(array.array("i", data[: len(data) - len(data) % 4]))
            else:
                chunk = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ChannelClosedError(f"the control channel broke: {error.strerror}") from error
        if not chunk:
            raise ChannelClosedError("the other side closed the control channel")
        self._inbox += chunk

    def _ready(self, event: int, timeout_s: float) -> bool:
        waiter = select.poll()
        waiter.register(self._socket, event)
        return bool(waiter.poll(timeout_s * 1000.0))

    def close(self) -> None:
        """Close the socket and every descriptor that arrived and was not taken. A second call does nothing."""
        while self._fds:
            os.close(self._fds.popleft())
        with contextlib.suppress(OSError):
            self._socket.close()

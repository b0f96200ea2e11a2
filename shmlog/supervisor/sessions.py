"""Control sockets of clients: accept, greet, hand requests on, and notice the end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import Hello, Message, Reply, Request, Welcome
from shmlog.control.peer import PeerCredentials, peer_credentials, peer_pidfd
from shmlog.errors import BrokerNotAvailableError, InvalidRequestError, ShmlogError, StartError
from shmlog.limits import CONTROL_REQUEST_BYTES_MAX, HELLO_BYTES_MAX, STRANGERS_MAX
from shmlog.supervisor.answer import Answer
from shmlog.supervisor.capacity import check_client
from shmlog.supervisor.clients import Client, Clients
from shmlog.supervisor.identity import ClusterIdentity
from shmlog.supervisor.loop import Loop, Timer, Watch
from shmlog.supervisor.requests import Requests
from shmlog.version import VERSION

log = logging.getLogger(__name__)

BACKLOG = 128
NO_DESCRIPTORS_PAUSE_S = 0.2
MESSAGES_PER_TURN = 32
"""Of one client, before the others get their turn."""


class Listener:
    """The control socket."""

    def __init__(self, loop: Loop, identity: ClusterIdentity, clients: Clients, requests: Requests) -> None:
        self._loop = loop
        self._identity = identity
        self._clients = clients
        self._requests = requests
        self._sessions: dict[Session, None] = {}  # in the order in which they came
        self._pauses = 0  # in a row
        path = identity.runtime.control_socket
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # we hold the lock of this directory, so whoever made it is gone
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(path)
            os.chmod(path, identity.config.shm_mode)
            if identity.shm_group is not None:
                os.chown(path, -1, identity.shm_group)
            self._socket.listen(BACKLOG)
            self._made = os.stat(path)
        except OSError as error:
            self._socket.close()
            raise StartError(f"cannot listen at {path}: {error.strerror}") from error
        self._watch: Watch | None = loop.watch(self._socket.fileno(), self._accept)

    @property
    def is_linked(self) -> bool:
        """Whether the path still names this socket."""
        try:
            return os.path.samestat(self._made, os.stat(self._identity.runtime.control_socket))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._watch is not None:
            self._loop.forget(self._watch)
        if self.is_linked:
            os.unlink(self._identity.runtime.control_socket)
        self._socket.close()
        for session in list(self._sessions):
            session.close()

    def _accept(self) -> None:
        try:
            connected, _ = self._socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            if not self._pauses:
                log.error("cannot accept clients: %s; raise LimitNOFILE", error.strerror)
            self._pause()
            return
        self._pauses = 0
        channel = Channel(connected, accepts_bytes_max=HELLO_BYTES_MAX)
        Session(self._loop, self._identity, self._clients, self._requests, channel, self._sessions)
        strangers = [session for session in self._sessions if session.is_stranger]
        for session in strangers[:-STRANGERS_MAX]:
            session.close()

    def _pause(self) -> None:
        assert self._watch is not None
        self._pauses += 1
        self._loop.forget(self._watch)
        self._watch = None
        self._loop.call_in(NO_DESCRIPTORS_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._watch = self._loop.watch(self._socket.fileno(), self._accept)


class Session:
    """One connection. Its first message is Hello; its end is the end of the client."""

    def __init__(
        self,
        loop: Loop,
        identity: ClusterIdentity,
        clients: Clients,
        requests: Requests,
        channel: Channel,
        sessions: dict[Session, None],
    ) -> None:
        self._loop = loop
        self._identity = identity
        self._clients = clients
        self._requests = requests
        self._channel = channel
        self._sessions = sessions
        self._peer: PeerCredentials = peer_credentials(channel.endpoint)
        self._client: Client | None = None
        self._closed = False
        self._more: Timer | None = None
        sessions[self] = None
        self._watch = loop.watch(channel.fileno(), self._on_readable)

    @property
    def is_stranger(self) -> bool:
        """It has not said Hello yet."""
        return self._client is None

    def close(self) -> None:
        """Hang up. The client counts as gone."""
        if self._closed:
            return
        self._closed = True
        self._sessions.pop(self, None)
        self._loop.forget(self._watch)
        self._channel.close()
        if self._client is not None:
            self._clients.gone(self._client)

    def _on_readable(self) -> None:
        if self._more is not None:  # one turn at a time, however much there is to read
            self._more.cancel()
            self._more = None
        for _ in range(MESSAGES_PER_TURN):
            if self._closed:
                return
            try:
                message = self._channel.receive()
            except ChannelClosedError:
                self.close()
                return
            except ShmlogError as error:
                self._refuse(error)
                return
            if message is None:
                return
            self._take(message)
        if not self._closed:
            self._more = self._loop.call_in(0.0, self._on_readable)

    def _take(self, message: Message) -> None:
        request_id = getattr(message, "request_id", 0)
        answer = Answer(request_id, self._deliver)
        try:
            if isinstance(message, Hello):
                self._greet(message, answer)
            elif self._client is None:
                raise InvalidRequestError("the first message must be Hello")
            elif isinstance(message, Request):
                self._requests.take(self._client, message, answer)
            else:
                raise InvalidRequestError(f"{type(message).__name__} is not a request")
        except ShmlogError as error:
            answer.fail(error)
        except OSError as error:
            log.exception("a %s request failed", type(message).__name__)
            answer.fail_as("StorageError", f"{type(message).__name__}: {error}")

    def _refuse(self, error: ShmlogError) -> None:
        """A message that cannot be read: say so, then hang up, because more of the kind would follow."""
        Answer(self._channel.refused_request_id, self._deliver).fail(error)
        self.close()

    def _greet(self, hello: Hello, answer: Answer) -> None:
        if self._client is not None:
            raise InvalidRequestError("this connection has said Hello before")
        if self._requests.is_closing:
            raise BrokerNotAvailableError("the cluster is shutting down")
        check_client(self._channel.fileno())
        if self._identity.shm_group is None and self._peer.uid not in (0, os.getuid()):
            raise InvalidRequestError(
                f"this cluster belongs to user {os.getuid()}: user {self._peer.uid} may not use it; shm.group and"
                " shm.mode share it with a group"
            )
        pid = self._peer.pid or hello.pid
        pidfd = peer_pidfd(self._channel.endpoint)
        if hello.client_id is None:
            self._client = self._clients.register(pid, pidfd)
        else:
            self._client = self._clients.reattach(hello.client_id, self._peer.pid, pidfd)
        self._channel.accepts_bytes_max = CONTROL_REQUEST_BYTES_MAX
        identity = self._identity
        answer.give(
            Welcome(
                request_id=answer.request_id,
                cluster_id=identity.cluster_id,
                cluster_name=identity.name,
                cid8=identity.cid8,
                version=VERSION,
                client_id=self._client.client_id,
                client_region=self._client.region,
                runtime_dir=identity.runtime.directory,
                data_dir=identity.data_dir,
            )
        )

    def _deliver(self, reply: Reply) -> None:
        if self._closed:
            return
        try:
            self._channel.send(reply)
        except ChannelClosedError:
            self._loop.call_in(0.0, self.close)  # not now: whoever answers is in the middle of something
            return
        if self._channel.has_unsent:
            self._loop.when_writable(self._watch, self._flush)

    def _flush(self) -> None:
        try:
            if self._channel.flush():
                self._loop.when_writable(self._watch, None)
        except ChannelClosedError:
            self.close()

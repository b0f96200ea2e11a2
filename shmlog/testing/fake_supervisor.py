"""A supervisor in a thread: answers clients over a real control socket, grants real client regions, owns no partition.

For tests of what clients do when a supervisor refuses, is silent, dies in the middle of a request, or comes back
knowing or not knowing them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import socket
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import (
    CoordinatorFound,
    DescribeTopics,
    Done,
    Failed,
    FindCoordinator,
    Hello,
    Message,
    PartitionDescription,
    Reply,
    Request,
    Subscribe,
    TopicDescription,
    TopicsDescribed,
    Unsubscribe,
    Welcome,
)
from shmlog.control.paths import RuntimePaths, make_runtime_directory
from shmlog.memory import names, region
from shmlog.memory.client_region import create_client_region
from shmlog.model import TopicPartition
from shmlog.settings import did_you_mean
from shmlog.version import VERSION

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class FakeSupervisor:
    """Serves from construction to stop().

    `silent_on` are request types that get no answer; each entry of `dies_on` closes the connection over one request.
    `topics` maps names to partition counts, `leaders` partitions to leader epoch and log directory, where a test cares.
    `subscribed`, `received` and `hellos` say what clients asked for. Region
    names are made unique by `paths` alone, so a second FakeSupervisor at the same paths is a restarted one.
    """

    def __init__(self, paths: RuntimePaths, *, first_client_id: int = 1) -> None:
        self.paths = paths
        self.tag = names.cluster_tag(CLUSTER_ID, paths.directory)
        self.topics: dict[str, int] = {}
        self.leaders: dict[TopicPartition, tuple[int, str]] = {}
        self.topic_ids: dict[str, str] = {}
        self.coordinator = ""
        """Path of the socket of a coordinator of groups, which FindCoordinator is answered with."""
        self.silent_on: tuple[type[Request], ...] = ()
        self.dies_on: list[type[Request]] = []
        self.knows_old_clients = True
        self.subscribed: set[int] = set()
        self.received: list[Request] = []
        self._next_client_id = first_client_id
        self._channels: list[Channel] = []
        make_runtime_directory(paths)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.control_socket)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(paths.control_socket)
        self._listener.listen()
        self._hang_up = False
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def hellos(self) -> list[int | None]:
        """The client ids with which clients introduced themselves."""
        return [message.client_id for message in self.received if isinstance(message, Hello)]

    def hang_up(self) -> None:
        """Close all connections; whoever connects again is heard."""
        self._hang_up = True
        os.write(self._wake_write, b".")

    def topic_id(self, name: str) -> str:
        """The id of a topic: 16 bytes of base64url, those of `topic_ids` if it is there."""
        if name in self.topic_ids:
            return self.topic_ids[name]
        return urlsafe_b64encode(hashlib.blake2b(name.encode(), digest_size=16).digest()).decode().rstrip("=")

    def topic_id_hex(self, name: str) -> str:
        """As groups have it."""
        return urlsafe_b64decode(self.topic_id(name) + "==").hex()

    def stop(self, *, forget: bool = False) -> None:
        """Die: every connection closes. With `forget` the regions go too, as after the end of the whole cluster."""
        os.close(self._wake_write)
        self._thread.join()
        os.close(self._wake_read)
        self._listener.close()
        for channel in self._channels:
            channel.close()
        os.unlink(self.paths.control_socket)
        if forget:
            region.sweep(self.tag)

    def lives(self, client_id: int) -> bool:
        """Whether that client holds its life lock, as the kernel says it."""
        try:
            inode = os.stat(self.paths.life(client_id)).st_ino
        except FileNotFoundError:
            return False
        with open("/proc/locks", encoding="ascii") as locks:
            return any(f":{inode} " in line and "POSIX" in line for line in locks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(forget=True)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, None)
            selector.register(self._wake_read, selectors.EVENT_READ, None)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wake_read:
                        if not self._hang_up:
                            return
                        self._hang_up_on(selector)
                        break
                    if key.data is None:
                        channel = Channel(self._listener.accept()[0])
                        self._channels.append(channel)
                        selector.register(channel, selectors.EVENT_READ, channel)
                    elif not self._talk(key.data):
                        selector.unregister(key.data)
                        key.data.close()

    def _hang_up_on(self, selector: selectors.BaseSelector) -> None:
        os.read(self._wake_read, 1)
        self._hang_up = False
        for channel in [key.data for key in selector.get_map().values() if key.data is not None]:
            selector.unregister(channel)
            channel.close()

    def _talk(self, channel: Channel) -> bool:
        try:
            while (message := channel.receive()) is not None:
                assert isinstance(message, Request)
                self.received.append(message)
                if type(message) in self.dies_on:
                    self.dies_on.remove(type(message))
                    return False
                if not isinstance(message, self.silent_on):
                    channel.send(self._answer(message))
        except ChannelClosedError:
            return False
        return True

    def _answer(self, message: Message) -> Reply:
        assert isinstance(message, Request)
        rid = message.request_id
        match message:
            case Hello(client_id=client_id):
                return self._welcome(rid, client_id)
            case DescribeTopics(topics=wanted):
                return self._described(rid, wanted)
            case Subscribe(partition_ids=ids):
                self.subscribed.update(ids)
                return Done(rid)
            case FindCoordinator() if self.coordinator:
                return CoordinatorFound(rid, self.coordinator, 0)
            case Unsubscribe(partition_ids=ids):
                self.subscribed.difference_update(ids)
                return Done(rid)
            case _:
                return Failed(rid, "InvalidRequestError", f"the fake supervisor does not do {type(message).__name__}")

    def _welcome(self, rid: int, client_id: int | None) -> Reply:
        if client_id is not None and not self.knows_old_clients:
            return Failed(rid, "InvalidRequestError", f"no client {client_id}")
        if client_id is None:
            client_id = self._next_client_id
            self._next_client_id += 1
            create_client_region(names.client(self.tag, client_id), client_id=client_id, mode=0o600)
        return Welcome(
            request_id=rid,
            cluster_id=CLUSTER_ID,
            cluster_name=os.path.basename(self.paths.directory),
            cid8=self.tag,
            version=VERSION,
            client_id=client_id,
            client_region=names.client(self.tag, client_id),
            runtime_dir=self.paths.directory,
            data_dir="/nowhere",
        )

    def _described(self, rid: int, wanted: Iterable[str] | None) -> Reply:
        found: list[TopicDescription] = []
        for name in self.topics if wanted is None else wanted:
            if name not in self.topics:
                suggestion = did_you_mean(name, self.topics)
                return Failed(rid, "UnknownTopicOrPartitionError", f"no topic {name!r}{suggestion}")
            found.append(self._topic(name))
        return TopicsDescribed(rid, found)

    def _topic(self, name: str) -> TopicDescription:
        first_id = 1000 * (1 + sorted(self.topics).index(name))
        known = [TopicPartition(name, number) for number in range(self.topics[name])]
        partitions = [
            PartitionDescription(number, first_id + number, leader_epoch, "running", 1, "", "", log_dir)
            for number, (leader_epoch, log_dir) in enumerate(self.leaders.get(one, (0, "/nowhere")) for one in known)
        ]
        return TopicDescription(name, self.topic_id(name), False, {}, {}, partitions)

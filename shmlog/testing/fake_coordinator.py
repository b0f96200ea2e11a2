"""A coordinator of consumer groups in a thread: listens on a real socket, and says what a test has it say.

For tests of what members do when they are assigned partitions, fenced, refused, kept waiting, or when their coordinator
dies and another one comes. It decides nothing; who joins gets `first`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.group_messages import (
    AssignmentIs,
    AssignorMember,
    AssignorTopic,
    CommitOffsets,
    CommittedOffset,
    ComputeAssignment,
    DescribeGroups,
    FetchOffsets,
    GroupJoined,
    GroupOffset,
    GroupPartition,
    GroupsDescribed,
    JoinGroup,
    LeaveGroup,
    MemberFenced,
    OffsetsFetched,
    OwnPartitions,
)
from shmlog.control.messages import Done, Failed, Message
from shmlog.memory import names
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.client_slot import CommittedCell, member_token
from shmlog.model import TopicPartition
from shmlog.testing.fake_supervisor import FakeSupervisor
from shmlog.testing.waiting import wait_until


@dataclass(slots=True)
class FakeMember:
    """One that has joined. `owned`: what it said last; None: nothing yet."""

    member_id: str
    join: JoinGroup
    channel: Channel
    region: ClientRegion
    serial: int = 0
    owned: set[TopicPartition] | None = None
    left: bool = False


class FakeCoordinator:
    """Serves from construction to stop(), at the path that `supervisor` tells clients.

    `first`: what a member gets when it joins; None: it has to wait for assign(). `committed` is what the group has.
    `refusals`: by request type, the error class and text of the answer; `silent_on`: types without an answer;
    `dies_on`: the connection ends over one request of each entry. `received`: everything, in order. `missing`: topics
    that members hear do not exist.
    """

    def __init__(self, supervisor: FakeSupervisor, path: str | None = None) -> None:
        self.path = path or os.path.join(supervisor.paths.directory, "groups.0")
        self.first: list[TopicPartition] | None = None
        self.committed: dict[TopicPartition, GroupOffset] = {}
        self.missing: list[str] = []
        self.refusals: dict[type[Message], tuple[str, str]] = {}
        self.silent_on: tuple[type[Message], ...] = ()
        self.dies_on: list[type[Message]] = []
        self.received: list[Message] = []
        self.members: dict[str, FakeMember] = {}
        self.on_message: Callable[[Message], None] | None = None
        """Called in the thread before each message is answered."""
        self._supervisor = supervisor
        self._lock = threading.RLock()
        self._channels: dict[int, Channel] = {}
        supervisor.coordinator = self.path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Die: every connection closes, nobody listens any more."""
        os.close(self._wake_write)
        self._thread.join()
        os.close(self._wake_read)
        self._listener.close()
        for channel in self._channels.values():
            channel.close()
        for member in self.members.values():
            member.region.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what a test has it say ---------------------------------------------------------------------------------------

    def of(self, kind: type[Message]) -> list[Message]:
        """What was received of that kind."""
        return [message for message in list(self.received) if isinstance(message, kind)]

    def owns(self, serial: int) -> OwnPartitions:
        """What the member said that was given the assignment `serial`, once it has said it."""
        found: list[OwnPartitions] = []

        def was_said() -> bool:
            found[:] = [
                one for one in self.of(OwnPartitions) if isinstance(one, OwnPartitions) and one.serial == serial
            ]
            return bool(found)

        wait_until(was_said)
        return found[-1]

    def assign(self, member_id: str, *partitions: TopicPartition) -> int:
        """All that this member may have from now on, with what is committed. Returns the serial."""
        with self._lock:
            member = self.members[member_id]
            member.serial += 1
            self._tell(member, AssignmentIs(0, member.serial, member.serial, [*map(self._partition, partitions)]))
            return member.serial

    def fence(self, member_id: str, error: str, message: str = "others have its partitions now") -> None:
        """This member is none any more."""
        with self._lock:
            self._tell(self.members[member_id], MemberFenced(0, error, message))

    def ask_to_compute(
        self, member_id: str, members: Iterable[AssignorMember], topics: Iterable[AssignorTopic]
    ) -> None:
        """Ask for what the member's own assignor makes of it."""
        with self._lock:
            self._tell(self.members[member_id], ComputeAssignment(0, 7, list(members), list(topics)))

    def hang_up(self) -> None:
        """End all connections, as a coordinator that dies does, and let in who comes again."""
        with self._lock:
            for channel in self._channels.values():
                with contextlib.suppress(OSError):
                    channel.endpoint.shutdown(socket.SHUT_RDWR)

    def cells(self, member_id: str) -> dict[int, CommittedCell]:
        """What this member has stored, by partition id."""
        member = self.members[member_id]
        return member.region.cells(member_token(member.join.group, member_id))

    def last_poll_ns(self, member_id: str) -> int | None:
        """When it polled last."""
        member = self.members[member_id]
        return member.region.last_poll(member_token(member.join.group, member_id))

    def _partition(self, partition: TopicPartition) -> GroupPartition:
        known = self.committed.get(partition)
        offset, epoch = (None, -1) if known is None else (known.offset, known.leader_epoch)
        return GroupPartition(
            *partition[:1], self._supervisor.topic_id_hex(partition.topic), partition[1], offset, epoch
        )

    def _tell(self, member: FakeMember, message: Message) -> None:
        with contextlib.suppress(ChannelClosedError):
            member.channel.send(message)
            assert member.region.doorbell is not None
            member.region.doorbell.ring()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, None)
            selector.register(self._wake_read, selectors.EVENT_READ, None)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._wake_read:
                        return
                    with self._lock:
                        if key.data is None:
                            channel = Channel(self._listener.accept()[0])
                            self._channels[channel.fileno()] = channel
                            selector.register(channel, selectors.EVENT_READ, channel)
                        elif not self._talk(key.data):
                            selector.unregister(key.data)
                            key.data.close()

    def _talk(self, channel: Channel) -> bool:
        try:
            while (message := channel.receive()) is not None:
                self.received.append(message)
                if self.on_message is not None:
                    self.on_message(message)
                if type(message) in self.dies_on:
                    self.dies_on.remove(type(message))
                    return False
                if not isinstance(message, self.silent_on):
                    self._hear(channel, message)
                    self._ring(channel)
        except ChannelClosedError:
            return False
        return True

    def _hear(self, channel: Channel, message: Message) -> None:
        rid = getattr(message, "request_id", 0)
        refusal = self.refusals.get(type(message))
        if refusal is not None:
            channel.send(Failed(rid, *refusal))
            return
        match message:
            case JoinGroup():
                self._join(channel, message)
            case OwnPartitions():
                member = self._member_on(channel)
                member.owned = {TopicPartition(one.topic, one.partition) for one in message.partitions}
                self._commit(message.final)
            case CommitOffsets(offsets=offsets):
                self._commit(offsets)
                channel.send(Done(rid))
            case LeaveGroup(final=final):
                self._commit(final)
                self._member_on(channel).left = True
                channel.send(Done(rid))
            case FetchOffsets():
                found = [
                    CommittedOffset(one.topic, one.partition, one.offset, one.leader_epoch, one.metadata, 0)
                    for _, one in sorted(self.committed.items())
                ]
                channel.send(OffsetsFetched(rid, found))
            case DescribeGroups():
                channel.send(GroupsDescribed(rid, []))

    def _join(self, channel: Channel, message: JoinGroup) -> None:
        known = self.members.get(message.member_id)
        region = ClientRegion.open(names.client(self._supervisor.tag, message.client_id))
        self.members[message.member_id] = FakeMember(
            message.member_id, message, channel, region, serial=0 if known is None else known.serial
        )
        channel.send(GroupJoined(message.request_id, 1, self.missing))
        if self.first is not None:
            self.assign(message.member_id, *self.first)

    def _ring(self, channel: Channel) -> None:
        for member in self.members.values():
            if member.channel is channel and member.region.doorbell is not None:
                member.region.doorbell.ring()

    def _member_on(self, channel: Channel) -> FakeMember:
        return next(member for member in self.members.values() if member.channel is channel)

    def _commit(self, offsets: Iterable[GroupOffset]) -> None:
        self.committed.update({TopicPartition(one.topic, one.partition): one for one in offsets})

"""A member of a consumer group with nothing but the coordinator's protocol, and slots in a client region."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, Self, TypeVar

import pytest

import shmlog
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.group_messages import (
    AssignmentIs,
    CoordinatorFound,
    DescribeGroups,
    FetchOffsets,
    FindCoordinator,
    GroupDescription,
    GroupJoined,
    GroupOffset,
    GroupPartition,
    GroupsDescribed,
    JoinGroup,
    OffsetsFetched,
    OwnPartitions,
)
from shmlog.control.messages import Failed, Message
from shmlog.memory import names
from shmlog.memory.client_region import ClientRegion
from shmlog.memory.client_slot import MemberSlot, Slot, member_token
from shmlog.model import OFFSETS_TOPIC
from shmlog.testing import wait_until
from tests.scenarios.conftest import TIMEOUT_S, Peer

ReplyType = TypeVar("ReplyType")


def coordinator_socket(peer: Peer, group: str) -> str:
    return peer.ask(FindCoordinator(0, group), CoordinatorFound).socket


class Talk:
    """A connection to a coordinator."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.channel = connected(path)
        self.news: list[Message] = []
        self._numbers = itertools.count(1)

    def answer(self, request: Any) -> Message:
        """Whatever it says to it; what comes unasked meanwhile is in `news`."""
        number = next(self._numbers)
        self.channel.send(dataclasses.replace(request, request_id=number))
        while True:
            message = self.channel.receive(TIMEOUT_S)
            assert message is not None, f"no answer to {type(request).__name__}"
            if getattr(message, "request_id", 0) == number:
                return message
            self.news.append(message)

    def ask(self, request: Any, expected: type[ReplyType]) -> ReplyType:
        found = self.answer(request)
        assert isinstance(found, expected), found
        return found

    def refused(self, request: Any) -> Failed:
        return self.ask(request, Failed)

    def next(self, expected: type[ReplyType]) -> ReplyType:
        """The next thing that comes unasked."""
        if self.channel.has_unsent:  # the socket had no room for what was said
            self.channel.flush()
        found = self.news.pop(0) if self.news else self.channel.receive(TIMEOUT_S)
        assert isinstance(found, expected), found
        return found

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        offsets = self.ask(FetchOffsets(0, group), OffsetsFetched).offsets
        return {(one.topic, one.partition): one.offset for one in offsets}

    def close(self) -> None:
        self.channel.close()


class BareMember(Talk):
    """Follows every assignment only when it is told to."""

    def __init__(
        self,
        peer: Peer,
        group: str,
        member_id: str,
        topics: list[str],
        *,
        assignor: str = "range",
        instance_id: str | None = None,
        pattern: str | None = None,
        poll_interval_ms: int = 300_000,
    ) -> None:
        super().__init__(coordinator_socket(peer, group))
        self.group, self.member_id = group, member_id
        self.epoch = 0
        self.owned: list[GroupPartition] = []
        self.starts: dict[int, int | None] = {}
        """Where the partitions of the last assignment begin."""
        self.slots: dict[int, Slot] = {}
        self._wanted = JoinGroup(
            0, group, member_id, 0, instance_id, peer.welcome.client_id, "bare", topics, pattern, assignor,
            poll_interval_ms, 45_000, [],
        )  # fmt: skip
        self.region = ClientRegion.open(names.client(peer.welcome.cid8, peer.welcome.client_id))
        self.polls: MemberSlot | None = None

    def join(self) -> GroupJoined:
        if self.polls is None:
            self.polls = self.region.claim_member_slot(member_token(self.group, self.member_id))
        joined = self.ask(self.request(), GroupJoined)
        self.epoch = joined.member_epoch
        return joined

    def request(self) -> JoinGroup:
        return dataclasses.replace(self._wanted, member_epoch=self.epoch, owned=self.owned)

    def follow(self, final: dict[int, int] | None = None) -> list[int]:
        """Take the next assignment as it is; returns the numbers of the partitions that it has now."""
        given = self.next(AssignmentIs)
        if self.polls is not None:
            self.polls.note_poll(time.monotonic_ns())
        self.starts = {one.partition: one.offset for one in given.partitions}
        self.epoch = given.member_epoch
        self.owned = [GroupPartition(one.topic, one.topic_id, one.partition) for one in given.partitions]
        ends = [GroupOffset(self._wanted.topics[0], number, offset) for number, offset in (final or {}).items()]
        self.channel.send(OwnPartitions(0, given.serial, self.owned, ends))
        return [one.partition for one in given.partitions]

    def store(self, partition_id: int, offset: int) -> None:
        """Into the commit cell of a partition."""
        if partition_id not in self.slots:
            self.slots[partition_id] = self.region.claim_slot(partition_id, member_token(self.group, self.member_id))
        self.slots[partition_id].commit(offset, 0)

    def reconnect(self) -> None:
        """To the successor of a coordinator that is gone."""
        self.channel.close()
        self.news.clear()
        self.channel = connected(self.path)

    def close(self) -> None:
        super().close()
        self.region.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connected(path: str) -> Channel:
    """There may be nobody for a moment."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return Channel.connect(path)
        except OSError:
            assert time.monotonic() < deadline, f"nobody listens at {path}"


def has_hung_up(talk: Talk) -> bool:
    try:
        talk.channel.receive()
    except ChannelClosedError:
        return True
    return False


@contextlib.contextmanager
def member(peer: Peer, group: str, member_id: str, topics: list[str], **wanted: Any) -> Iterator[BareMember]:
    """One that has joined."""
    one = BareMember(peer, group, member_id, topics, **wanted)
    try:
        one.join()
        yield one
    finally:
        one.close()


def described(talk: Talk, group: str) -> GroupDescription:
    (found,) = talk.ask(DescribeGroups(0, [group]), GroupsDescribed).groups
    return found


def kill_coordinator(peer: Peer) -> None:
    os.kill(wait_until(lambda: peer.partition(OFFSETS_TOPIC).pid), signal.SIGKILL)  # 0 would be all of us


def produce(peer: Peer, topic: str, partition: int, count: int) -> None:
    """So many records into a partition."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHMLOG_RUNTIME_DIR", os.path.dirname(peer.welcome.runtime_dir))
        with shmlog.connect("t") as cluster, cluster.producer() as one:
            for number in range(count):
                one.send(topic, b"%d" % number, partition=partition)

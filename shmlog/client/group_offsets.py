"""A group's committed offsets, for one consumer: a member of the group, or one that assigns partitions itself.

A member speaks on its own connection, where the coordinator knows it; anybody else may commit while the group has no
members. Calls are made in steps, so that a thread and a task can wait in their own ways.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import TypeVar

from shmlog.client.commits import Commits
from shmlog.client.coordinator_link import CoordinatorLink, unanswered
from shmlog.client.group_channel import GroupChannel
from shmlog.client.group_options import GroupOptions
from shmlog.client.group_reading import GroupReading
from shmlog.control.group_messages import (
    CommitOffsets,
    FetchOffsets,
    GroupOffset,
    GroupReply,
    GroupRequest,
    LeaveGroup,
    OffsetsFetched,
)
from shmlog.control.messages import Done
from shmlog.errors import ShmlogError, UnknownMemberError
from shmlog.limits import CLIENT_SLEEP_S
from shmlog.model import OffsetAndMetadata, TopicPartition

T = TypeVar("T")
ReplyType = TypeVar("ReplyType", bound=GroupReply | Done)
Steps = Generator[float, None, T]
"""A call that yields whenever it has to wait, for how long at most."""

_log = logging.getLogger("shmlog.consumer")


class GroupOffsets:
    """`reading` is the consumer's part in the group; None: it is no member."""

    def __init__(self, options: GroupOptions, link: CoordinatorLink, commits: Commits) -> None:
        self.reading: GroupReading | None = None
        self.synced = 0
        """Counts commits that the coordinator has answered."""
        self._options = options
        self._link = link
        self._commits = commits
        self._next_commit_s = 0.0

    def commit(self, offsets: list[GroupOffset], deadline: float) -> Steps[None]:
        """Until the coordinator has them in its log."""
        if not offsets:
            problem = None if self.reading is None else self.reading.why_fenced()
            if problem is not None:
                raise problem
            return
        yield from self._ask(CommitOffsets(0, self._options.group, offsets), Done, deadline)
        self._commits.note(offsets)
        self.synced += 1

    def committed(self, deadline: float) -> Steps[dict[TopicPartition, OffsetAndMetadata]]:
        """All that the group has committed, what members have stored in their memory included."""
        found = yield from self._ask(FetchOffsets(0, self._options.group), OffsetsFetched, deadline)
        return {
            TopicPartition(one.topic, one.partition): OffsetAndMetadata(one.offset, one.metadata, one.leader_epoch)
            for one in found.offsets
        }

    def leave(self, final: list[GroupOffset], deadline: float) -> Steps[None]:
        """Goodbye of a member; what it was fenced for before does not matter any more."""
        assert self.reading is not None
        try:
            yield from self._ask(LeaveGroup(0, self.reading.membership.last_words(final)), Done, deadline)
        except UnknownMemberError:
            return

    def commit_now_and_then(self) -> None:
        """enable.auto.commit of who is no member: every auto.commit.interval.ms, and what goes wrong is logged."""
        now = time.monotonic()
        if self.reading is not None or now < self._next_commit_s:
            return
        is_first = not self._next_commit_s
        self._next_commit_s = now + self._options.auto_commit_interval_s
        if not is_first:
            self.commit_finished()

    def commit_finished(self) -> None:
        """What a consumer that is no member has settled."""
        offsets = self._commits.unsynced()
        try:
            if offsets:
                self._link.request(CommitOffsets(0, self._options.group, offsets), Done)
                self._commits.note(offsets)
        except ShmlogError as error:
            _log.warning("offsets of group %r were not committed: %s", self._options.group, error)

    def close(self) -> None:
        """Hang up, if this was no member; in a forked child only the child's copy."""
        self._link.close()

    def _ask(self, message: GroupRequest, expected: type[ReplyType], deadline: float) -> Steps[ReplyType]:
        if self.reading is None:
            return self._link.request(message, expected, deadline - time.monotonic())
        member = self.reading.membership
        sent: tuple[GroupChannel, int] | None = None
        while True:
            member.listen()
            if sent is not None:
                channel, request_id = sent
                try:
                    reply = channel.reply(request_id, expected)
                except UnknownMemberError as error:
                    member.fence(error)
                    reply = None
                if reply is not None:
                    return reply
                if not member.speaks_on(channel):
                    sent = None
            problem = self.reading.why_fenced()
            if problem is not None:
                raise problem
            if sent is None:
                sent = member.send(message)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                if sent is not None:
                    sent[0].forget(sent[1])
                raise unanswered(self._options.group, message)
            yield min(left_s, member.pause_s(), CLIENT_SLEEP_S)

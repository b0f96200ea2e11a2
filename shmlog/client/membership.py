"""One membership in a group: what is said to the coordinator, and what was heard of it.

Nothing here knows of records. Whoever reads looks at every poll: look() connects, joins and listens, without waiting.
While the coordinator is away, being replaced, the member goes on with what it has; then it joins again under the same
id, with all that it may still have. A fenced member is done with: another one, under a new id, may begin.
"""

from __future__ import annotations

import logging
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Collection
from typing import TypeVar

from shmlog.client.connection import Connection
from shmlog.client.coordinator_link import NOT_REACHED, find_coordinator, not_available, unanswered
from shmlog.client.group_channel import GroupChannel
from shmlog.client.group_options import GroupOptions, Topics
from shmlog.client.pauses import Pauses
from shmlog.client.question import Question
from shmlog.control.channel import ChannelClosedError
from shmlog.control.group_messages import (
    AssignmentIs,
    CommitOffsets,
    ComputeAssignment,
    CoordinatorFound,
    FindCoordinator,
    GroupJoined,
    GroupOffset,
    GroupPartition,
    GroupReply,
    GroupRequest,
    JoinGroup,
    MemberFenced,
    OwnPartitions,
)
from shmlog.control.messages import Done
from shmlog.errors import (
    CoordinatorNotAvailableError,
    FencedInstanceIdError,
    ShmlogError,
    UnknownMemberError,
    by_class_name,
)
from shmlog.limits import COORDINATOR_PAUSE_FIRST_S, COORDINATOR_PAUSE_S, MEMBER_LOOK_S
from shmlog.memory.client_slot import MemberSlot, member_token

ReplyType = TypeVar("ReplyType", bound=GroupReply | Done)

_log = logging.getLogger("shmlog.consumer")


class Membership:
    """Of one consumer; for the thread that polls. Begins with join()."""

    def __init__(self, connection: Connection, options: GroupOptions, topics: Topics) -> None:
        self.options = options
        self.topics = topics
        self.fenced: ShmlogError | None = None
        """Why this member is none any more."""
        self.assignment: AssignmentIs | None = None
        """What is to be followed, with own(); None: nothing new."""
        self.orders: list[ComputeAssignment] = []
        """What the member's own assignor is asked for; for who calls it to take."""
        self.rejoins = 0
        self._connection = connection
        self._registrations = connection.registrations
        self._socket = ""
        self._channel: GroupChannel | None = None
        self._joining: int | None = None  # request id
        self._has_joined = False  # on this channel
        self._owned: list[GroupPartition] = []
        self._unconfirmed: dict[tuple[str, int], tuple[GroupPartition, GroupOffset]] = {}  # given up, maybe unheard
        self._confirming: int | None = None  # request id
        self._pauses = Pauses(COORDINATOR_PAUSE_FIRST_S, COORDINATOR_PAUSE_S)
        self._next_attempt_s = 0.0
        self._next_look_s = 0.0
        self._question: Question | None = None
        self._slot: MemberSlot | None = None
        self.polled_s = time.monotonic()
        """When the application asked for records last."""
        self.begin()

    # --- who this is --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Be a new member, under an id that was never used."""
        self._hang_up()
        self.member_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.token = member_token(self.options.group, self.member_id)
        self.epoch = 0
        self.fenced = None
        self._owned = []
        self._unconfirmed.clear()
        self._release_slot()
        self._next_attempt_s = 0.0

    def __str__(self) -> str:
        return f"member {self.member_id} of group {self.options.group!r}"

    @property
    def is_here(self) -> bool:
        """Whether the coordinator knows this member, as far as we know."""
        return self._has_joined

    def note_poll(self) -> None:
        """The application asks for records, or waits for them."""
        self.polled_s = time.monotonic()
        if self._registrations != self._connection.registrations:
            self._registrations = self._connection.registrations
            self._slot = None  # it lies in a region that is gone
            self._join_again()  # from there
        if self._slot is None:
            self._slot = self._connection.region.claim_member_slot(self.token)
        self._slot.note_poll(int(self.polled_s * 1e9))

    def _release_slot(self) -> None:
        if self._slot is not None and self._registrations == self._connection.registrations:
            self._slot.release()
        self._slot = None

    # --- looking ------------------------------------------------------------------------------------------------------

    def join(self, deadline: float) -> None:
        """Become a member, waiting until the coordinator says so. Raises what it refuses with, and
        CoordinatorNotAvailableError if there is none all the time."""
        self._socket = find_coordinator(self._connection, self.options.group)
        self.note_poll()
        while True:
            self._look()
            if self._has_joined:
                return
            if self.fenced is not None:
                raise self.fenced
            left_s = deadline - time.monotonic()
            if left_s <= 0 and self._joining is not None:
                raise unanswered(self.options.group, self._request())
            if left_s <= 0:
                raise not_available(self.options.group, self._socket)
            self.wait(min(left_s, self.pause_s()))

    def look(self) -> None:
        """Connect, join, listen: whatever can be done now. Cheap to be called with every poll.

        Raises what the coordinator refuses a member with that has not done anything wrong before.
        """
        now = self.polled_s
        if now >= self._next_look_s:
            self._next_look_s = now + MEMBER_LOOK_S
            self._look()

    def listen(self) -> None:
        """look(), for who waits for an answer and does not ask for records."""
        self._look()

    def look_again(self) -> None:
        """The next look() looks: something may have come."""
        self._next_look_s = 0.0

    def _look(self) -> None:
        if self.fenced is not None:
            return
        try:
            if self._joining is None and not self._has_joined:
                self._begin_to_join()
            if self._channel is not None:
                self._listen(self._channel)
        except NOT_REACHED:
            self._hang_up()
            self._pause()
            self._ask_where()

    def _pause(self) -> None:
        self._next_attempt_s = time.monotonic() + self._pauses.next_s()

    def _ask_where(self) -> None:
        """Without waiting: after the end of a whole cluster, its next supervisor makes the place anew."""
        if self._question is not None:
            try:
                found = self._question.answer(CoordinatorFound)
            except ShmlogError:
                self._question = None
                return
            if found is None:
                return
            self._question, self._socket = None, found.socket
        self._question = self._connection.ask(FindCoordinator(0, self.options.group))

    def _begin_to_join(self) -> None:
        if time.monotonic() < self._next_attempt_s:
            return
        if self._channel is None:
            self._channel = GroupChannel.connect(self._socket)
        self._connection.look_now()  # the whole cluster may have been replaced, and our registration with it
        self.note_poll()
        self._joining = self._channel.send(self._request())

    def _request(self) -> JoinGroup:
        options = self.options
        given_up = [partition for partition, _ in self._unconfirmed.values()]
        return JoinGroup(
            request_id=0,
            group=options.group,
            member_id=self.member_id,
            member_epoch=self.epoch,
            instance_id=options.instance_id,
            client_id=self._connection.client_id,
            client_name=options.client_name,
            topics=list(self.topics.names),
            pattern=self.topics.pattern,
            assignor=options.assignor,
            rebalance_timeout_ms=options.max_poll_interval_ms,
            session_timeout_ms=options.session_timeout_ms,
            owned=self._owned + given_up,
        )

    def _listen(self, channel: GroupChannel) -> None:
        gone: ChannelClosedError | None = None
        try:
            channel.look()
        except ChannelClosedError as error:
            gone = error  # what it said before counts
        self._hear_join(channel)
        while channel.news:
            news = channel.news.popleft()
            match news:
                case AssignmentIs():
                    self.assignment, self.epoch = news, news.member_epoch
                case ComputeAssignment():
                    self.orders.append(news)
                case MemberFenced():
                    self.fence(by_class_name(news.error)(news.message))
                    return
        if self._confirming is not None and channel.reply(self._confirming, Done) is not None:
            self._confirming = None
            self._unconfirmed.clear()
        if gone is not None:
            raise gone

    def _hear_join(self, channel: GroupChannel) -> None:
        if self._joining is None:
            return
        try:
            joined = channel.reply(self._joining, GroupJoined)
        except CoordinatorNotAvailableError:  # it has just started, or sees no cells under our registration
            self._joining = None
            self._pause()
            return
        except (UnknownMemberError, FencedInstanceIdError) as error:
            self._joining = None
            self.fence(error)
            return
        except ShmlogError:
            self._joining = None
            self._pause()
            raise
        if joined is None:
            return
        self._joining, self._has_joined, self.epoch = None, True, joined.member_epoch
        self._pauses.begin()
        self.rejoins += 1
        if joined.missing:
            missing = ", ".join(map(repr, joined.missing))
            _log.warning("%s is subscribed to topics that do not exist: %s; it gets them when they do", self, missing)

    def fence(self, error: ShmlogError) -> None:
        """The coordinator has said that this is no member any more."""
        self._hang_up()
        self.fenced = error

    def _hang_up(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._joining = self._confirming = None
        self._has_joined = False
        self.assignment = None
        self.orders.clear()

    # --- waiting ------------------------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """The second look before a sleep."""
        if self._channel is None:
            return False
        return self.assignment is not None or bool(self.orders) or self._channel.readable

    def pause_s(self) -> float:
        """How long nobody needs to look unless the doorbell rings."""
        if self.fenced is not None:
            return 0.0
        if self._joining is not None or self._has_joined:
            return float("inf")
        return max(0.0, self._next_attempt_s - time.monotonic())

    def wait(self, timeout_s: float) -> None:
        """Until the coordinator has said something, at most `timeout_s`."""
        if self._channel is not None:
            self._channel.wait(timeout_s)
        else:
            time.sleep(timeout_s)

    # --- speaking -----------------------------------------------------------------------------------------------------

    def resubscribe(self, topics: Topics) -> None:
        """Be subscribed to something else from now on."""
        self.topics = topics
        self._join_again()

    def _join_again(self) -> None:
        """Say once more, under the same id, what it is and wants, whatever was said and not answered yet."""
        if self._channel is not None and self._joining is not None:
            self._channel.forget(self._joining)
        self._has_joined, self._joining, self._next_attempt_s = False, None, 0.0

    def own(self, serial: int, partitions: Collection[GroupPartition], final: Collection[GroupOffset]) -> None:
        """All that is read from now on, having followed the assignment `serial`. `final`: where others go on with what
        was given up; it is kept until the coordinator is known to have it."""
        owned = {(partition.topic, partition.partition): partition for partition in partitions}
        before = {(partition.topic, partition.partition): partition for partition in self._owned}
        for offset in final:
            key = (offset.topic, offset.partition)
            if key in before:
                self._unconfirmed[key] = before[key], offset
        for key in owned.keys() & self._unconfirmed.keys():
            del self._unconfirmed[key]
        self._owned = [GroupPartition(one.topic, one.topic_id, one.partition) for one in partitions]
        offsets = [offset for _, offset in self._unconfirmed.values()]
        self.assignment = None
        if self._channel is None:
            return
        try:
            self._channel.send(OwnPartitions(0, serial, self._owned, offsets))
            if offsets:
                if self._confirming is not None:
                    self._channel.forget(self._confirming)
                self._confirming = self._channel.send(CommitOffsets(0, self.options.group, []))
        except ChannelClosedError:
            self._hang_up()

    def send(self, message: GroupRequest) -> tuple[GroupChannel, int] | None:
        """Send a request on the member's own connection; None while there is none, or the member has not joined."""
        if self._channel is None or not self._has_joined:
            return None
        try:
            return self._channel, self._channel.send(message)
        except ChannelClosedError:
            self._hang_up()
            return None

    def speaks_on(self, channel: GroupChannel) -> bool:
        """Whether an answer may still come there."""
        return channel is self._channel

    def last_words(self, final: list[GroupOffset]) -> list[GroupOffset]:
        """`final`, and what was said to be so before and may not have been heard."""
        return final + [offset for _, offset in self._unconfirmed.values()]

    def close(self) -> None:
        """Be no member any more. Who has not left is dead to the group."""
        self._hang_up()
        self._release_slot()

    def abandon(self) -> None:
        """In a forked child: close our copy of the socket, so that the parent's death is seen."""
        if self._channel is not None:
            self._channel.close()

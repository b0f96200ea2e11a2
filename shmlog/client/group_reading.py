"""A consumer's part in its group: it follows what the coordinator assigns, and tells the application.

    assignment   what is beyond it is let go (on_revoke), up to where it was committed; that is said, so that others may
                 have it; what is new begins where the group has read up to (on_assign)
    fenced       everything is let go (on_lost); nothing can be committed any more. A new member joins

All of it happens in the thread that polls, between records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from shmlog.client.assigned import Assigned
from shmlog.client.commits import Commits
from shmlog.client.cursor import Reset
from shmlog.client.fetcher import Fetcher
from shmlog.client.group_assignor import computed
from shmlog.client.group_options import Callbacks, RebalanceCallback, Topics
from shmlog.client.group_topics import GroupTopics
from shmlog.client.membership import Membership
from shmlog.control.group_messages import AssignmentIs, GroupOffset, GroupPartition
from shmlog.errors import FencedInstanceIdError, ShmlogError
from shmlog.memory.client_slot import Slot
from shmlog.model import OffsetAndMetadata, TopicPartition
from shmlog.native.records import Record

_log = logging.getLogger("shmlog.consumer")

WAITING_PAUSE_S: Final = 0.1
"""A partition that nobody could say where it is is asked for this often."""

SHOWN_MAX: Final = 10
"""So many partitions are named in a line of the log."""

Calls = Callable[[RebalanceCallback, Sequence[TopicPartition]], None]
"""Calls a callback with its consumer."""


class GroupReading:
    """For one consumer. tend() at each of its polls, and whenever it wakes up in one."""

    def __init__(
        self,
        membership: Membership,
        topics: GroupTopics,
        assigned: Assigned,
        fetcher: Fetcher,
        commits: Commits,
        reset: Reset,
    ) -> None:
        self.membership = membership
        self.callbacks = Callbacks()
        self.rebalances = 0
        """How often partitions came or went."""
        self.given: tuple[Record, Record, int] | None = None
        """The first and the last record of the last poll that gave any, and how many they were."""
        self._topics = topics
        self._assigned = assigned
        self._fetcher = fetcher
        self._commits = commits
        self._reset: Reset = reset
        self._read: dict[TopicPartition, GroupPartition] = {}  # all that this member may read
        self._waiting: dict[TopicPartition, GroupPartition] = {}  # those that nobody could say where they are
        self._next_attempt_s = 0.0
        self._is_tending = False
        self._told: list[TopicPartition] = []  # those that a callback hears of just now
        self._call: Calls | None = None
        self.is_over = False
        """Whether the consumer has left, in a callback perhaps: nothing is followed any more."""

    # --- for Fetcher, while the consumer sleeps -----------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        has_news = self.membership.has_news
        if has_news:
            self.membership.look_again()
        return has_news

    def pause_s(self) -> float:
        return WAITING_PAUSE_S if self._waiting else self.membership.pause_s()

    # --- polling ------------------------------------------------------------------------------------------------------

    def tend(self, call: Calls) -> None:
        """Hear the coordinator, and do what it says. Raises what callbacks raise, when everything is done."""
        if self._is_tending or self.is_over:  # a callback polls; another task leaves
            return
        self._is_tending = True
        self._call = call
        try:
            busy_s = time.monotonic() - self.membership.polled_s
            self.membership.note_poll()
            self.membership.look()
            self._obey(busy_s)
        finally:
            self._is_tending = False

    def _obey(self, busy_s: float) -> None:
        member = self.membership
        if member.fenced is not None:
            self._lose(self._explained(member.fenced, busy_s))
        while member.orders and not self.is_over:
            member.send(computed(member.options, member.orders.pop(0)))
        if member.assignment is not None:
            self._follow(member.assignment)
        elif self._waiting and time.monotonic() >= self._next_attempt_s:
            self._take_up_waiting()
        if self._topics.refresh():
            self._assigned.reattach()

    def _follow(self, news: AssignmentIs) -> None:
        wanted = {TopicPartition(one.topic, one.partition): one for one in news.partitions}
        gone = [key for key, one in self._read.items() if key not in wanted or wanted[key].topic_id != one.topic_id]
        fresh = {key: one for key, one in wanted.items() if key not in self._read or key in gone}
        problem = self._give_up(gone, self.callbacks.on_revoke)
        if self._has_ended(problem):
            return
        cursors = [self._fetcher.cursors[key] for key in gone if key in self._fetcher.cursors]
        self.membership.own(news.serial, wanted.values(), self.of_what_is_read(self._commits.final(cursors)))
        self._forget(gone)
        self._read = wanted
        self._waiting |= fresh
        if fresh:
            _log.info("%s reads %s, too", self.membership, _several(fresh))
            self.rebalances += 1
            self._take_up_waiting()
        if problem is not None:
            raise problem

    def _take_up_waiting(self) -> None:
        """Begin to read what can be found. What cannot is tried again."""
        begun, cursors = [], []
        for key, one in list(self._waiting.items()):
            found = self._topics.find(one)
            if found is None:
                continue
            start: Reset = "earliest" if self._reset == "latest" and self._topics.is_new(one) else self._reset
            cursor = self._assigned.take_up_for(self.membership.token, key, found, start=start)
            cursor.outlives_topic = True
            if one.offset is not None:
                cursor.begin_at(OffsetAndMetadata(one.offset, "", one.leader_epoch))
            elif cursor.has_position:
                cursor.resolve()
            del self._waiting[key]
            begun.append(key)
            cursors.append(cursor)
        self._next_attempt_s = time.monotonic() + WAITING_PAUSE_S
        if begun:
            if self._commits.automatic:
                self._commits.store(cursors)
            problem = self._called(self.callbacks.on_assign, begun)
            if problem is not None:
                raise problem

    def _give_up(self, partitions: Collection[TopicPartition], callback: RebalanceCallback | None) -> Exception | None:
        """Tell the application, which may still commit. Returns what it raised."""
        if not partitions:
            return None
        self.rebalances += 1
        _log.info("%s gives up %s", self.membership, _several(partitions))
        told = [key for key in partitions if key in self._fetcher.cursors and key not in self._told]
        return self._called(callback, told)

    def _has_ended(self, problem: Exception | None) -> bool:
        """After a callback: whether it has made the consumer leave. What it raised then is raised."""
        if self.is_over and problem is not None:
            raise problem
        return self.is_over

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for key in partitions:
            self._read.pop(key, None)
            self._waiting.pop(key, None)
        self._assigned.let_go([key for key in partitions if key in self._fetcher.cursors])

    def _lose(self, error: ShmlogError) -> None:
        """This member is none any more: nothing that it has is its own. Another one takes its place."""
        lost = list(self._read)
        if lost or not isinstance(error, FencedInstanceIdError):
            _log.warning("%s", error)
        problem = self._called(self.callbacks.on_lost or self.callbacks.on_revoke, [*self._fetcher.cursors])
        if self._has_ended(problem):
            return
        self._forget(lost)
        if isinstance(error, FencedInstanceIdError):  # to come back would throw the other one out
            raise error from problem
        self.rebalances += bool(lost)
        self.membership.begin()
        if problem is not None:
            raise problem
        self.membership.note_poll()
        self.membership.look_again()
        self.membership.look()

    def of_what_is_read(self, offsets: Iterable[GroupOffset]) -> list[GroupOffset]:
        """The same with the ids of their topics, of which another one may have the name by now."""
        found = []
        for one in offsets:
            read = self._read.get(TopicPartition(one.topic, one.partition))
            found.append(one if read is None else replace(one, topic_id=read.topic_id))
        return found

    def why_fenced(self) -> ShmlogError | None:
        """What is wrong with who commits now, and is no member any more; the next poll will find out."""
        fenced = self.membership.fenced
        return None if fenced is None else self._explained(fenced, time.monotonic() - self.membership.polled_s)

    def _explained(self, error: ShmlogError, busy_s: float) -> ShmlogError:
        """With which call was slow."""
        given = self._last_given()
        return type(error)(f"{error}; this consumer polled last {busy_s:.1f} s ago{given and ', and got '}{given}")

    def _last_given(self) -> str:
        current = self._fetcher.read_ahead.current
        if self._commits.gives_whole_polls and self.given is not None:
            first, last, count = self.given
            if count > 1:
                return f"{count} records, from {_at(first)} to {_at(last)}"
            return f"the record {_at(first)}"
        return "" if current is None else f"the record {_at(current)}"

    def _called(self, callback: RebalanceCallback | None, partitions: Sequence[TopicPartition]) -> Exception | None:
        if callback is None or not partitions:
            return None
        assert self._call is not None
        before, self._told = self._told, [*self._told, *partitions]
        try:
            self._call(callback, sorted(partitions))
        except Exception as error:  # noqa: BLE001  # it is raised when what has begun is done
            return error
        finally:
            self._told = before
        return None

    # --- the end ------------------------------------------------------------------------------------------------------

    def resubscribe(self, topics: Topics) -> None:
        """Be subscribed to something else from now on."""
        self._topics.look(topics)
        self.membership.resubscribe(topics)

    def give_up_all(self, call: Calls) -> Exception | None:
        """Before leaving: on_revoke for everything, but what it is told of already. Returns what it raised."""
        self._call = call
        is_lost = self.membership.fenced is not None
        return self._give_up(list(self._read), (is_lost and self.callbacks.on_lost) or self.callbacks.on_revoke)

    def log_unheard(self, error: ShmlogError) -> None:
        """Nobody took leave of this member."""
        _log.warning("%s could not say that it leaves: %s", self.membership, error)

    def end(self) -> list[Slot]:
        """Read nothing any more. Returns the slots, whose commits count until the coordinator has heard the last."""
        self.is_over = True
        slots = self._assigned.take_out(list(self._fetcher.cursors))
        self._read.clear()
        self._waiting.clear()
        return slots


def _at(record: Record) -> str:
    return f"{record.topic}-{record.partition}@{record.offset}"


def _several(partitions: Collection[TopicPartition]) -> str:
    shown = ", ".join(map(str, sorted(partitions)[:SHOWN_MAX]))
    return shown if len(partitions) <= SHOWN_MAX else f"{shown} and {len(partitions) - SHOWN_MAX} more"

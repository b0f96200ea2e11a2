"""What a consumer does about its group: subscribe, commit, ask what is committed, leave."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final, TypeVar

from shmlog import arguments
from shmlog.client.assigned import Assigned
from shmlog.client.commits import Commits
from shmlog.client.connection import Connection
from shmlog.client.coordinator_link import CoordinatorLink
from shmlog.client.cursor import Cursor, Reset
from shmlog.client.fetcher import Fetcher
from shmlog.client.group_offsets import GroupOffsets, Steps
from shmlog.client.group_options import Callbacks, GroupOptions, RebalanceCallback, Topics, checked_callbacks
from shmlog.client.group_reading import GroupReading
from shmlog.client.group_topics import GroupTopics
from shmlog.client.membership import Membership
from shmlog.control.group_messages import GroupOffset
from shmlog.errors import HandleClosedError, InvalidRequestError, ShmlogError
from shmlog.limits import CONTROL_TIMEOUT_S, LEAVE_S
from shmlog.model import OffsetAndMetadata, TopicPartition
from shmlog.native.records import Record

T = TypeVar("T")

COMMIT_TIMEOUT_S: Final = 60.0
"""As long as Kafka's default.api.timeout.ms."""

INT32_MAX: Final = 2**31 - 1

Committable = Record | Mapping[TopicPartition, int | OffsetAndMetadata] | None


class GroupCalls(ABC):
    """The part of NativeConsumer that is about its group. `_options` is None for a consumer that is in none."""

    _connection: Connection
    _options: GroupOptions | None
    _fetcher: Fetcher
    _assigned: Assigned
    _commits: Commits
    _reset: Reset
    _group: GroupReading | None
    _offsets: GroupOffsets | None

    @abstractmethod
    def check_usable(self) -> None: ...

    @abstractmethod
    def _cursor(self, partition: TopicPartition) -> Cursor: ...

    @abstractmethod
    def _call_back(self, callback: RebalanceCallback, partitions: Sequence[TopicPartition]) -> None: ...

    @abstractmethod
    def _read_topics(self, names: Sequence[str]) -> None:
        """Read all partitions of these topics, in no group."""

    # --- membership ---------------------------------------------------------------------------------------------------

    def subscribe(
        self,
        topics: str | Sequence[str],
        on_assign: RebalanceCallback | None = None,
        on_revoke: RebalanceCallback | None = None,
        on_lost: RebalanceCallback | None = None,
    ) -> None:
        self.check_usable()
        wanted = Topics.parse([topics] if isinstance(topics, str) else arguments.sequence(topics, "topics"))
        callbacks = checked_callbacks(on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)
        if not wanted:
            self.unsubscribe()
        elif self._options is None:
            refuse_without_group(wanted, callbacks)
            self._read_topics(wanted.names)
        elif self._group is None:
            self._join(self._options, wanted, callbacks)
        else:
            self._group.callbacks = callbacks
            self._group.resubscribe(wanted)

    def _join(self, options: GroupOptions, topics: Topics, callbacks: Callbacks) -> None:
        assert self._offsets is not None
        self._commits.settle(of_poll=False)
        self._offsets.commit_finished()
        self._commits.forget_unsynced()
        self._assigned.let_go(list(self._fetcher.cursors))
        known = GroupTopics(self._connection)
        known.look(topics)
        member = Membership(self._connection, options, topics)
        try:
            member.join(time.monotonic() + CONTROL_TIMEOUT_S)
        except BaseException:
            member.close()
            raise
        self._group = GroupReading(member, known, self._assigned, self._fetcher, self._commits, self._reset)
        self._group.callbacks = callbacks
        self._fetcher.company = self._group
        self._offsets.reading = self._group
        self._commits.in_cells = True

    def unsubscribe(self) -> None:
        self.check_usable()
        self._commits.settle(of_poll=False)
        try:
            self._run(self._leave())
        finally:
            self._read_topics(())

    def _leave(self) -> Steps[None]:
        """Leave the group, if this is a member, with what was committed in its own memory. Also in a callback, and
        whatever a callback raises."""
        group, offsets = self._group, self._offsets
        if group is None or offsets is None or group.is_over:
            return
        problem: Exception | None = None
        try:
            problem = group.give_up_all(self._call_back)
        finally:
            if not group.is_over:
                yield from self._take_leave(group, offsets)
        if problem is not None:
            raise problem

    def _take_leave(self, group: GroupReading, offsets: GroupOffsets) -> Steps[None]:
        final = group.of_what_is_read(self._commits.final(self._fetcher.cursors.values()))
        slots = group.end()
        try:
            if group.membership.fenced is None:
                yield from offsets.leave(final, time.monotonic() + LEAVE_S)
            self._assigned.release(slots)
        except ShmlogError as error:  # the slots stay: whoever sees the end of this member looks at them
            group.log_unheard(error)
        finally:
            group.membership.close()
            self._group = self._fetcher.company = offsets.reading = None
            self._commits.in_cells = False

    def subscription(self) -> set[str]:
        self.check_usable()
        return set() if self._group is None else self._group.membership.topics.words

    @property
    def member_id(self) -> str | None:
        return None if self._group is None else self._group.membership.member_id

    # --- offsets ------------------------------------------------------------------------------------------------------

    def commit(
        self,
        offsets: Committable = None,
        *,
        asynchronous: bool = False,
        timeout: float | None = COMMIT_TIMEOUT_S,
    ) -> None:
        found, wanted, deadline = self._commit_arguments(offsets, timeout)
        if asynchronous:
            if isinstance(offsets, Mapping):
                self._check_ends(wanted)
            self._store(wanted)
        else:
            self._run(found.commit(wanted, deadline))

    async def acommit(
        self,
        offsets: Committable = None,
        *,
        timeout: float | None = COMMIT_TIMEOUT_S,  # noqa: ASYNC109  # as of commit()
    ) -> None:
        found, wanted, deadline = self._commit_arguments(offsets, timeout)
        await self._arun(found.commit(wanted, deadline))

    def committed(
        self, *partitions: TopicPartition, timeout: float | None = COMMIT_TIMEOUT_S
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        found, wanted, deadline = self._committed_arguments(partitions, timeout)
        committed = self._run(found.committed(deadline))
        return {partition: committed.get(partition) for partition in wanted}

    async def acommitted(
        self,
        *partitions: TopicPartition,
        timeout: float | None = COMMIT_TIMEOUT_S,  # noqa: ASYNC109  # as of committed()
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        found, wanted, deadline = self._committed_arguments(partitions, timeout)
        committed = await self._arun(found.committed(deadline))
        return {partition: committed.get(partition) for partition in wanted}

    def _commit_arguments(
        self, offsets: object, timeout: float | None
    ) -> tuple[GroupOffsets, list[GroupOffset], float]:
        found = self._in_group("commit")
        wanted = self._commits.positions() if offsets is None else list(map(_offset, *_pairs(offsets)))
        if self._group is not None:
            wanted = self._group.of_what_is_read(wanted)
        return found, wanted, _deadline(timeout)

    def _committed_arguments(
        self, partitions: Sequence[TopicPartition], timeout: float | None
    ) -> tuple[GroupOffsets, list[TopicPartition], float]:
        found = self._in_group("ask what is committed")
        wanted = [arguments.partition(partition) for partition in partitions] or list(self._fetcher.cursors)
        return found, wanted, _deadline(timeout)

    def _in_group(self, what: str) -> GroupOffsets:
        self.check_usable()
        if self._offsets is None:
            raise InvalidRequestError(
                f"this consumer is in no group, so it cannot {what}: give cluster.consumer() a group_id, or keep"
                " position() yourself and seek() to it"
            )
        return self._offsets

    def _store(self, offsets: Sequence[GroupOffset]) -> None:
        """commit(asynchronous=True): into the cells of a member; others tell the coordinator."""
        assert self._offsets is not None
        for one in offsets:
            self._cursor(TopicPartition(one.topic, one.partition))
        problem = None if self._group is None else self._group.why_fenced()
        if problem is not None:
            raise problem
        self._commits.store_offsets(offsets)
        if self._group is None:
            self._offsets.commit_finished()

    def _check_ends(self, offsets: Sequence[GroupOffset]) -> None:
        """What the coordinator says of offsets that are sent to it; from cells it only leaves them out."""
        for one in offsets:
            cursor = self._cursor(TopicPartition(one.topic, one.partition))
            if cursor.reader.ready and one.offset > (end := cursor.reader.watermarks().high):
                raise InvalidRequestError(
                    f"offset {one.offset} of {cursor.partition} cannot be committed: it ends at {end}"
                )

    # --- waiting ------------------------------------------------------------------------------------------------------

    def _check_is_member(self, group: GroupReading) -> None:
        """After a wait: another task has closed it perhaps, or a signal handler."""
        if self._group is not group:
            raise HandleClosedError("this consumer has left its group meanwhile")

    def _run(self, steps: Steps[T]) -> T:
        group = self._group
        with closing(steps):  # where it is interrupted, it ends at once
            while True:
                try:
                    pause_s = next(steps)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # typed by Steps
                assert group is not None, "only members wait in steps"
                group.membership.wait(pause_s)
                self._check_is_member(group)

    async def _arun(self, steps: Steps[T]) -> T:
        group = self._group
        with closing(steps):  # where it is cancelled, it ends at once
            while True:
                try:
                    pause_s = next(steps)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]  # typed by Steps
                assert group is not None, "only members wait in steps"
                await self._connection.loop_bells.here().sleep(lambda: group.membership.has_news, pause_s)
                self._check_is_member(group)


def refuse_without_group(topics: Topics, callbacks: Callbacks) -> None:
    """What only members of a group can have."""
    if topics.pattern is not None:
        raise InvalidRequestError(
            f"{topics.pattern!r} is a pattern, because it begins with ^, and those are for groups: give group_id, or"
            " names of topics (cluster.admin.list_topics() has all)"
        )
    if callbacks != Callbacks():
        raise InvalidRequestError(
            "on_assign, on_revoke and on_lost are for groups, in which partitions move: give group_id"
        )


def simple_offsets(connection: Connection, options: GroupOptions | None, commits: Commits) -> GroupOffsets | None:
    """For a consumer of that group that is no member yet."""
    return None if options is None else GroupOffsets(options, CoordinatorLink(connection, options.group), commits)


def _deadline(timeout: float | None) -> float:
    seconds = arguments.seconds(timeout)
    return math.inf if seconds is None else time.monotonic() + seconds


def _pairs(offsets: object) -> tuple[list[Any], list[Any]]:
    if isinstance(offsets, Record):
        after = OffsetAndMetadata(offsets.offset + 1, "", offsets.leader_epoch)
        return [TopicPartition(offsets.topic, offsets.partition)], [after]
    expected = "a record, or a mapping of TopicPartitions to offsets or OffsetAndMetadata"
    wanted = arguments.mapping(offsets, "what to commit", expected)
    return list(wanted.keys()), list(wanted.values())


def _offset(partition: object, offset: object) -> GroupOffset:
    key = arguments.partition(partition)
    if not isinstance(offset, OffsetAndMetadata):
        offset = OffsetAndMetadata(arguments.integer(offset, f"the offset for {key}", 0))
    return GroupOffset(
        key.topic,
        key.partition,
        arguments.integer(offset.offset, f"the offset for {key}", 0),
        arguments.integer(offset.leader_epoch, f"the leader epoch for {key}", -1, INT32_MAX),
        arguments.text(offset.metadata, f"the metadata for {key}"),
    )

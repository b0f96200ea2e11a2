"""The coordinator of consumer groups, in the owner of a partition of __consumer_offsets: the shell of machines.group.

What members ask and what is seen of them goes to the machine. The records of its answer are appended to this very
partition and replayed at once; replies, and what others have to hear, go out when the watermark has passed the records.
So a successor that replays the log knows everything that anybody was told.
"""

from __future__ import annotations

from collections.abc import Iterable

from shmlog.clock import monotonic_ns, wall_ms
from shmlog.control.group_messages import (
    AssignmentComputed,
    CommitOffsets,
    DeleteGroup,
    DeleteOffsets,
    DescribeGroups,
    FetchOffsets,
    GroupOffset,
    GroupPartition,
    GroupsDescribed,
    JoinGroup,
    LeaveGroup,
    OffsetsFetched,
    OwnPartitions,
    TopicsAre,
)
from shmlog.control.messages import Done, Failed, Message, OwnerSpec
from shmlog.errors import CommitFailedError, CoordinatorNotAvailableError, InvalidRequestError, ShmlogError
from shmlog.machines.group import requests
from shmlog.machines.group.assignors import NAMES
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import Partitions, TopicIdPartition
from shmlog.model import TopicPartition
from shmlog.partition.coordinating import NEVER_NS
from shmlog.partition.group_connections import GroupConnections
from shmlog.partition.group_descriptions import committed, describe
from shmlog.partition.group_log import GroupLog, stored_records
from shmlog.partition.group_session import GroupSession
from shmlog.partition.group_steps import GroupSteps
from shmlog.partition.group_topics import GroupTopics
from shmlog.partition.member_host import MemberHost
from shmlog.partition.member_watch import MemberWatch, commit_request
from shmlog.partition.opened import OpenPartition
from shmlog.partition.own_lane import OwnLane
from shmlog.partition.pattern_matching import PatternMatcher


class Coordinator:
    """look() does what there is to do. Raises what the log raises; members' mistakes are answered, and end nothing."""

    is_here = True

    def __init__(self, spec: OwnerSpec, opened: OpenPartition) -> None:
        assert spec.groups is not None, "who hosts no coordinator makes none"
        self._is_closed = False
        self._machine = Groups(
            NAMES,
            offsets_retention_ms=spec.groups.offsets_retention_ms,
            metadata_bytes_max=spec.groups.metadata_bytes_max,
            matcher=PatternMatcher(),
        )
        for record in stored_records(opened.log):
            self._machine.replay(record)
        batch_bytes = opened.config.max_message_bytes
        lane = OwnLane(spec, opened.control, opened.publisher, batch_bytes)
        self._log = GroupLog(lane, lambda: opened.control.high_watermark, batch_bytes // 2)
        self._log.hold_until(opened.publisher.tail_offset)
        self._topics = GroupTopics(spec.cid8)
        self._connections = GroupConnections(spec, opened.bell, self._obey, self._died)
        members = self._connections.members
        self._steps = GroupSteps(
            self._machine,
            self._log,
            self._topics,
            members,
            self._connections.part,
            self._ask_when_polled,
        )
        self._watch = MemberWatch(spec, self._machine, self._topics, members, self._connections.regions, self._steps)

    # --- the duty cycle -----------------------------------------------------------------------------------------------

    def look(self, now_ns: int) -> int:
        """Hear everybody, do what is due; returns how much there was. Until topics are known everybody waits."""
        if self._is_closed or not self._topics.are_known:
            return 0
        self._watch.look(now_ns)  # first: what members stored in a predecessor's time is older than what anybody says
        done = self._connections.look()
        due_ns = self._machine.next_deadline_ns()
        if due_ns is not None and now_ns >= due_ns:
            self._steps.take(self._machine.tick(now_ns, wall_ms()))
        return done + self._log.look()

    @property
    def has_news(self) -> bool:
        return not self._is_closed and self._topics.are_known and self._connections.has_news

    def next_deadline_ns(self) -> int:
        if self._is_closed or not self._topics.are_known:
            return NEVER_NS
        due_ns = self._machine.next_deadline_ns()
        return min(NEVER_NS if due_ns is None else due_ns, self._watch.next_deadline_ns())

    def topics_are(self, message: TopicsAre) -> None:
        """From the supervisor."""
        if not self._is_closed:
            self._topics.take(message)
            self._steps.take(self._machine.topics_are(requests.TopicsAre(self._topics.facts())))

    def _died(self, session: GroupSession) -> None:
        self._watch.died(session)

    def _ask_when_polled(self, action: requests.AskWhenPolled) -> None:
        self._watch.ask_when_polled(action)

    @property
    def is_drained(self) -> bool:
        return self._log.is_drained

    def close(self) -> None:
        """Hang up on everybody: members ask for the successor. What they have stored in their cells is in the lane, so
        that the log has it where the partition is closed. A second call does nothing."""
        if not self._is_closed:
            if self._topics.are_known:
                self._watch.commit_all_cells()
                self._watch.commit_absent_cells()
            self._log.look()
            self._is_closed = True
            self._connections.close()
            self._topics.close()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _obey(self, session: GroupSession, message: Message) -> None:
        request_id = getattr(message, "request_id", 0)
        try:
            match message:
                case OwnPartitions() | AssignmentComputed() if session.member is None:
                    pass  # it was fenced meanwhile, and does not know yet
                case JoinGroup():
                    self._join(session, message)
                case OwnPartitions():
                    self._own(session, message)
                case LeaveGroup():
                    self._leave(session, message)
                case AssignmentComputed():
                    self._computed(session, message)
                case CommitOffsets():
                    self._commit(session, message)
                case FetchOffsets():
                    self._fetch(session, message)
                case DescribeGroups():
                    self._describe(session, message)
                case DeleteGroup():
                    self._answer(session, request_id, self._machine.delete_group(requests.DeleteGroup(message.group)))
                case DeleteOffsets():
                    partitions = tuple(TopicPartition(one.topic, one.partition) for one in message.partitions)
                    wanted = requests.DeleteOffsets(message.group, partitions, message.validate_only)
                    step = self._machine.delete_offsets(wanted)
                    self._answer(session, request_id, step)
                case _:
                    raise InvalidRequestError(f"a coordinator of consumer groups does not get {type(message).__name__}")
        except ShmlogError as error:
            session.send(Failed(request_id, type(error).__name__, str(error)))

    def _answer(self, session: GroupSession, request_id: int, step: requests.GroupStep) -> None:
        self._steps.answer(session, request_id, step)

    def _join(self, session: GroupSession, message: JoinGroup) -> None:
        member = (message.group, message.member_id)
        if session.member not in (None, member):
            raise InvalidRequestError("this connection is another member's: each member has its own")
        session.said = _partitions(message.owned)
        wanted = requests.Join(
            group=message.group,
            member_id=message.member_id,
            member_epoch=message.member_epoch,
            instance_id=message.instance_id,
            client_name=message.client_name,
            client_host=str(MemberHost.of(message.client_id, session.pid)),
            topics=tuple(message.topics),
            pattern=message.pattern,
            assignor=message.assignor,
            rebalance_timeout_ms=message.rebalance_timeout_ms,
            session_timeout_ms=message.session_timeout_ms,
            owned=session.serials.joins_again(session.said),
        )
        if self._machine.why_not(wanted) is None and not self._connections.sees_cells(session, message.client_id):
            raise CoordinatorNotAvailableError(
                f"client {message.client_id} is not registered with this cluster, which was stopped and started: it"
                " has to register anew before it joins a group"
            )
        before = self._connections.members.get(member)
        if before is not None:
            self._watch.commit_cells(before)
        predecessor = self._machine.static_member(message.group, message.instance_id)
        if predecessor is not None:
            self._watch.commit_cells_of(message.group, predecessor)
        self._connections.introduce(session, member, message.client_id)
        step = self._machine.join(wanted, monotonic_ns())
        if any(isinstance(reply, requests.Refused) for reply in step.replies):
            self._connections.part(session)
        else:
            self._watch.joined(member)
        self._answer(session, message.request_id, step)

    def _own(self, session: GroupSession, message: OwnPartitions) -> None:
        assert session.member is not None
        group, member_id = session.member
        self._watch.commit_cells(session)  # what it says here is newer
        self._watch.commit_final(group, member_id, message.final)
        says = _partitions(message.partitions)
        self._watch.says(session, says)
        may_own = session.serials.owns(message.serial, says)
        self._steps.take(self._machine.owns(requests.Owns(group, member_id, may_own)))

    def _leave(self, session: GroupSession, message: LeaveGroup) -> None:
        if session.member is None:
            session.send(Done(message.request_id))
            return
        group, member_id = session.member
        self._watch.commit_cells(session)
        self._watch.commit_final(group, member_id, message.final)
        step = self._machine.leave(requests.Leave(group, member_id), monotonic_ns())
        self._connections.part(session)
        self._answer(session, message.request_id, step)

    def _computed(self, session: GroupSession, message: AssignmentComputed) -> None:
        assert session.member is not None
        group, member_id = session.member
        assignment = {
            one.member_id: frozenset(TopicPartition(each.topic, each.partition) for each in one.partitions)
            for one in message.assignment
        }
        computed = requests.AssignmentComputed(group, member_id, message.epoch, assignment, message.error)
        self._steps.take(self._machine.assignment_computed(computed, monotonic_ns()))

    def _commit(self, session: GroupSession, message: CommitOffsets) -> None:
        if session.fenced:
            raise CommitFailedError(f"nothing was committed: {session.fenced}")
        is_member = session.member is not None and session.member[0] == message.group
        member_id = session.member[1] if is_member and session.member is not None else ""
        self._check_ends(message.offsets)
        if is_member:
            self._watch.commit_cells(session)  # what it stored before it asked is older
        step = self._machine.commit(commit_request(message.group, member_id, message.offsets))
        self._answer(session, message.request_id, step)

    def _check_ends(self, offsets: Iterable[GroupOffset]) -> None:
        for one in offsets:
            if one.topic_id not in ("", self._topics.topic_id(one.topic)):
                continue  # of another topic of that name: refused for that
            end = self._topics.log_end_offset(one.topic, one.partition)
            if end is not None and one.offset > end:
                raise InvalidRequestError(
                    f"offset {one.offset} of {one.topic}-{one.partition} cannot be committed: its log ends at {end}"
                )

    def _fetch(self, session: GroupSession, message: FetchOffsets) -> None:
        self._watch.commit_cells_of(message.group)

        def reply() -> None:
            session.send(OffsetsFetched(message.request_id, committed(self._machine, message.group)))

        self._log.when_durable(reply)

    def _describe(self, session: GroupSession, message: DescribeGroups) -> None:
        wanted = list(self._machine.groups()) if message.groups is None else message.groups
        for name in wanted:
            self._watch.commit_cells_of(name)

        def reply() -> None:
            members = self._connections.members
            described = (describe(self._machine, name, self._topics, members) for name in wanted)
            session.send(GroupsDescribed(message.request_id, [one for one in described if one is not None]))

        self._log.when_durable(reply)


def _partitions(found: Iterable[GroupPartition]) -> Partitions:
    return frozenset(TopicIdPartition(one.topic_id, one.partition) for one in found)

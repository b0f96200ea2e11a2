"""What becomes of the machine's steps: records into the log, and everybody hears of it when they are durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shmlog.clock import wall_ms
from shmlog.control.group_messages import AssignmentIs, GroupJoined, GroupPartition, MemberFenced
from shmlog.control.messages import Done, Failed
from shmlog.machines.group import requests
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import TopicIdPartition
from shmlog.partition.group_descriptions import compute_order
from shmlog.partition.group_log import GroupLog
from shmlog.partition.group_session import GroupSession, Member
from shmlog.partition.group_topics import GroupTopics


class GroupSteps:
    """`members` are connected now. `fence` ends a place there; `ask_when_polled` does what the machine asks."""

    def __init__(
        self,
        machine: Groups,
        log: GroupLog,
        topics: GroupTopics,
        members: Mapping[Member, GroupSession],
        fence: Callable[[GroupSession], None],
        ask_when_polled: Callable[[requests.AskWhenPolled], None],
    ) -> None:
        self._machine = machine
        self._log = log
        self._topics = topics
        self._members = members
        self._fence = fence
        self._ask_when_polled = ask_when_polled

    def take(self, step: requests.GroupStep) -> None:
        """Append and replay; who did not ask hears when it is durable."""
        self._log.append(step.records, wall_ms())
        for record in step.records:
            self._machine.replay(record)
        for action in step.actions:
            self._act(action)

    def answer(self, session: GroupSession, request_id: int, step: requests.GroupStep) -> None:
        """The same; who asked hears first."""
        self._log.append(step.records, wall_ms())
        for record in step.records:
            self._machine.replay(record)
        for reply in step.replies:
            self._log.when_durable(_deliver(session, request_id, reply))
        for action in step.actions:
            self._act(action)

    def _act(self, action: requests.GroupAction) -> None:
        if isinstance(action, requests.AskWhenPolled):
            self._ask_when_polled(action)
            return
        session = self._members.get((action.group, action.member_id))
        if session is None:  # it is between two connections, and hears of it when it joins again
            return
        match action:
            case requests.Assign():
                self._assign(session, action)
            case requests.Fence():
                self._fence(session)
                session.fenced = action.message
                fenced = MemberFenced(0, action.error, action.message)
                self._log.when_durable(lambda: session.send(fenced))
            case requests.Compute():
                order = compute_order(action, self._topics)
                self._log.when_durable(lambda: session.send(order))

    def _assign(self, session: GroupSession, action: requests.Assign) -> None:
        serial = session.serials.assigned(action.assigned)

        def send() -> None:
            partitions = [found for one in sorted(action.assigned) if (found := self._assigned(action.group, one))]
            session.send(AssignmentIs(0, serial, action.member_epoch, partitions))

        self._log.when_durable(send)

    def _assigned(self, group: str, one: TopicIdPartition) -> GroupPartition | None:
        """With its committed offset: what the member before committed is in the log, and nobody has since."""
        named = self._topics.named(one)
        if named is None:  # deleted just now: another assignment without it is on its way
            return None
        offset = self._machine.offset(group, named.topic, named.partition)
        if offset is None or offset.topic_id not in ("", one.topic_id):
            return GroupPartition(named.topic, one.topic_id, one.partition)
        return GroupPartition(named.topic, one.topic_id, one.partition, offset.offset, offset.leader_epoch)


def _deliver(session: GroupSession, request_id: int, reply: requests.GroupReply) -> Callable[[], None]:
    match reply:
        case requests.Joined():
            return lambda: session.send(GroupJoined(request_id, reply.member_epoch, list(reply.missing)))
        case requests.Accepted():
            return lambda: session.send(Done(request_id))
        case requests.Refused():
            return lambda: session.send(Failed(request_id, reply.error, reply.message))

"""The shell of the group machine as a model: sessions, cells, a log of which only the beginning is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from shmlog.machines.group.assignors import NAMES
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import OffsetCommitted, TopicIdPartition
from shmlog.machines.group.requests import (
    Accepted,
    AskWhenPolled,
    Assign,
    AssignmentComputed,
    Commit,
    Compute,
    Died,
    Fence,
    GroupAction,
    GroupStep,
    Join,
    Joined,
    Leave,
    OffsetToCommit,
    Owns,
    Polled,
    Refused,
    TopicFacts,
    TopicsAre,
)
from shmlog.machines.group.serials import Serials
from tests.group_trace import MS, spread, topic_id
from tests.simulation.groups_held import Held
from tests.simulation.groups_member import (
    AssignHeard,
    CommitHeard,
    CommitSaid,
    ComputedSaid,
    Hung,
    JoinedHeard,
    JoinSaid,
    LeaveSaid,
    Line,
    Member,
    Offsets,
    OwnSaid,
    RefusedHeard,
    Said,
)

if TYPE_CHECKING:
    from tests.simulation.groups_world import GroupWorld

GROUP = "g"
POLL_MS = 1_000
SESSION_MS = 500
NEW_CELL = -1


class Session:
    """One connection. `seen`: what stood in the cells of its member. `said`: what that has, as it said last."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.member_id: str | None = None
        self.serials = Serials(frozenset())
        self.said: frozenset[TopicIdPartition] = frozenset()
        self.seen: Offsets = {}


class Coordinator:
    """`restarted`: the log is what another one left."""

    def __init__(self, world: GroupWorld) -> None:
        self.world = world
        self.machine = Groups(NAMES, 10**9, 100)
        for records in world.log:
            for record in records:
                self.machine.replay(record)
        self.held = Held[Callable[[], None]]()
        self.sessions: list[Session] = []
        self.members: dict[str, Session] = {}
        self.absent = {member.member_id for member in self.machine.members()}
        self.topics: dict[str, int] | None = None

    def connect(self, member: Member) -> Line:
        line = Line(member)
        self.sessions.append(Session(line))
        return line

    # --- the duty cycle -----------------------------------------------------------------------------------------------

    def learn_topics(self) -> None:
        """Until then nobody is heard."""
        self.topics = dict(self.world.topics)
        facts = {name: TopicFacts(name, topic_id(name), count) for name, count in self.topics.items()}
        self.take(self.machine.topics_are(TopicsAre(facts)))

    def look(self, session: Session) -> None:
        """Hear one thing."""
        if self.topics is not None and session.line.said:
            self._obey(session, session.line.said.popleft())

    def look_at_cells(self) -> None:
        for session in list(self.members.values()):
            self._commit_cells(session)

    def look_for_absent(self) -> None:
        """Whose process has died while nobody coordinated."""
        for member_id in sorted(self.absent - self.members.keys()):
            if not self.world.has_process(member_id):
                self.absent.discard(member_id)
                cells = self.world.cells[member_id]
                self._settle(
                    member_id, {key: offset for key, offset in cells.items() if not self._is_back(key, offset)}
                )
                self.take(self.machine.died(Died(GROUP, member_id), self.world.now_ms * MS))

    def tick(self) -> None:
        due = self.machine.next_deadline_ns()
        if self.topics is not None and due is not None and due <= self.world.now_ms * MS:
            self.take(self.machine.tick(self.world.now_ms * MS, self.world.now_ms))

    def release(self) -> None:
        """Say what may be said now that more is durable."""
        for todo in self.held.release(self.world.durable):
            todo()

    # --- steps --------------------------------------------------------------------------------------------------------

    def take(self, step: GroupStep) -> None:
        self._append(step)
        for action in step.actions:
            self._act(action)

    def answer(self, session: Session, step: GroupStep, number: int = 0, offsets: Offsets | None = None) -> None:
        self._append(step)
        for reply in step.replies:
            match reply:
                case Joined():
                    self._when_durable(session, JoinedHeard(reply.member_epoch))
                case Refused() if number == 0:
                    self._when_durable(session, RefusedHeard(reply.error))
                case Refused() | Accepted():
                    accepted = isinstance(reply, Accepted)
                    if accepted:
                        self._hold(lambda: self.world.promise(offsets or {}))
                    self._when_durable(session, CommitHeard(number, accepted))
        for action in step.actions:
            self._act(action)

    def _append(self, step: GroupStep) -> None:
        if step.records:
            self.world.log.append(step.records)
        for record in step.records:
            if isinstance(record, OffsetCommitted):
                self.world.check_commit(self.machine.offset(GROUP, record.topic, record.partition), record)
            self.machine.replay(record)

    def _hold(self, todo: Callable[[], None]) -> None:
        self.held.hold(len(self.world.log), todo)

    def _when_durable(
        self, session: Session, heard: JoinedHeard | RefusedHeard | AssignHeard | CommitHeard | Compute
    ) -> None:
        def send() -> None:
            if session.line.is_open:
                session.line.heard.append(heard)

        self._hold(send)

    def _act(self, action: GroupAction) -> None:
        if isinstance(action, AskWhenPolled):
            self._ask(action.member_id)
            return
        session = self.members.get(action.member_id)
        if session is None:
            return
        match action:
            case Assign():
                serial = session.serials.assigned(action.assigned)
                offsets = {partition: self._committed(partition) for partition in action.assigned}
                self._when_durable(session, AssignHeard(serial, action.member_epoch, offsets))
            case Fence():
                self._part(session)
                self._when_durable(session, RefusedHeard(action.error))
            case Compute():
                self._when_durable(session, action)

    def _ask(self, member_id: str) -> None:
        session, at_ms = self.members.get(member_id), 0
        if session is not None:
            self._commit_cells(session)
            at_ms = self.world.polled_ms[member_id]
        self.take(self.machine.polled(Polled(GROUP, member_id, at_ms * MS)))

    def _part(self, session: Session) -> None:
        if session.member_id is not None and self.members.get(session.member_id) is session:
            del self.members[session.member_id]
        session.member_id = None

    # --- cells --------------------------------------------------------------------------------------------------------

    def _committed(self, partition: TopicIdPartition) -> int | None:
        found = self.machine.offset(GROUP, self.world.name(partition), partition.partition)
        return None if found is None else found.offset

    def _is_back(self, partition: TopicIdPartition, offset: int) -> bool:
        """Of a cell that this coordinator sees for the first time: it is older than a commit that came by message."""
        return offset < (self._committed(partition) or 0)

    def _commit_cells(self, session: Session) -> None:
        if session.member_id is not None:
            cells = self.world.cells[session.member_id]
            news = {key: cells[key] for key in cells if session.seen.get(key) != cells[key]}
            old = {key for key, offset in news.items() if key not in session.seen and self._is_back(key, offset)}
            session.seen.update(news)
            self._settle(session.member_id, {key: news[key] for key in news.keys() - old})

    def _settle(self, member_id: str, offsets: Offsets) -> None:
        """Commit those that are the member's still."""
        may = self.machine.may_commit(GROUP, member_id)
        mine = {key: offset for key, offset in offsets.items() if key in may}
        if mine:
            step = self.machine.commit(self._commit(member_id, mine))
            assert step.replies == (Accepted(),)
            self.take(step)

    def _commit(self, member_id: str, offsets: Offsets) -> Commit:
        wanted = (OffsetToCommit(self.world.name(key), key.partition, offsets[key], -1) for key in sorted(offsets))
        return Commit(GROUP, member_id, tuple(wanted), self.world.now_ms)

    def accepts(self, member_id: str, partition: TopicIdPartition) -> bool:
        """Whether a commit of this member would be accepted now."""
        return self.machine.commit(self._commit(member_id, {partition: 0})).replies == (Accepted(),)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _obey(self, session: Session, said: Said) -> None:
        member_id = session.member_id
        match said:
            case JoinSaid():
                self._join(session, said)
            case Hung():
                self._gone(session)
            case CommitSaid() if member_id is None:
                self._when_durable(session, CommitHeard(said.number, accepted=False))
            case CommitSaid() if member_id is not None:
                self._commit_cells(session)
                step = self.machine.commit(self._commit(member_id, said.offsets))
                self.answer(session, step, said.number, said.offsets)
            case OwnSaid() if member_id is not None:
                self._commit_cells(session)
                self._settle(member_id, said.final)
                session.seen.update(dict.fromkeys(said.owned - session.said, NEW_CELL))
                session.said = said.owned
                self.take(self.machine.owns(Owns(GROUP, member_id, session.serials.owns(said.serial, said.owned))))
            case LeaveSaid() if member_id is not None:
                self._commit_cells(session)
                self._settle(member_id, said.final)
                self.take(self.machine.leave(Leave(GROUP, member_id), self.world.now_ms * MS))
                self._part(session)
            case ComputedSaid() if member_id is not None:
                order = said.order
                given = spread(order.members, order.partitions)
                request = AssignmentComputed(GROUP, member_id, order.epoch, given)
                self.take(self.machine.assignment_computed(request, self.world.now_ms * MS))

    def _gone(self, session: Session) -> None:
        self.sessions.remove(session)
        if session.member_id is not None:
            self._commit_cells(session)
            self.take(self.machine.died(Died(GROUP, session.member_id), self.world.now_ms * MS))
            self._part(session)

    def _join(self, session: Session, said: JoinSaid) -> None:
        member = session.line.member
        for before in self._whose_place(said.member_id, member.instance):
            self._commit_cells(before)
        before_this = self.members.get(said.member_id)
        if before_this is not None and before_this is not session:
            self._part(before_this)
        session.member_id, session.said = said.member_id, said.owned
        self.members[said.member_id] = session
        request = Join(
            group=GROUP,
            member_id=said.member_id,
            member_epoch=said.epoch,
            instance_id=member.instance,
            client_name=member.name,
            client_host="shmlog:1",
            topics=said.topics,
            pattern=said.pattern,
            assignor=self.world.assignor,
            rebalance_timeout_ms=POLL_MS,
            session_timeout_ms=SESSION_MS,
            owned=session.serials.joins_again(said.owned),
        )
        step = self.machine.join(request, self.world.now_ms * MS)
        if any(isinstance(reply, Refused) for reply in step.replies):
            self._part(session)
        else:
            self.absent.discard(said.member_id)
        self.answer(session, step)

    def _whose_place(self, member_id: str, instance: str | None) -> Iterable[Session]:
        for each in (member_id, self.machine.static_member(GROUP, instance)):
            if each is not None and each in self.members:
                yield self.members[each]

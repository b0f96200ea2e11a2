"""What is seen of members without their saying it: what they stored in their cells, when they polled, who has died."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from shmlog.clock import monotonic_ns, wall_ms
from shmlog.control.group_messages import GroupOffset
from shmlog.control.messages import OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.machines.group import requests
from shmlog.machines.group.machine import Groups
from shmlog.machines.group.records import Partitions
from shmlog.memory.client_slot import member_token
from shmlog.partition.coordinating import NEVER_NS
from shmlog.partition.group_session import GroupSession, Member
from shmlog.partition.group_steps import GroupSteps
from shmlog.partition.group_topics import GroupTopics
from shmlog.partition.member_cells import NEW_CELL, MemberCells, MemberRegions
from shmlog.partition.member_host import MemberHost

CELLS_PAUSE_NS = 100_000_000
CELLS_PAUSE_NS_MAX = 2_000_000_000
ABSENT_PAUSE_NS = 1_000_000_000
REGISTRATION_GRACE_NS = 10_000_000_000
"""After a restart of the whole cluster its clients register anew when they notice."""


class MemberWatch:
    """Looks at the cells of connected members now and then, and one last time whenever one is about to be none."""

    def __init__(
        self,
        spec: OwnerSpec,
        machine: Groups,
        topics: GroupTopics,
        members: Mapping[Member, GroupSession],
        regions: MemberRegions,
        steps: GroupSteps,
    ) -> None:
        self._paths = RuntimePaths(spec.runtime_dir)
        self._machine = machine
        self._topics = topics
        self._members = members
        self._regions = regions
        self._steps = steps
        self._cells = MemberCells(machine, topics)
        self._absent = {(one.group, one.member_id): one.client_host for one in machine.members()}
        self._next_absent_ns = 0
        self._began_ns = monotonic_ns()
        self._next_cells_ns = NEVER_NS
        self._cells_pause_ns = CELLS_PAUSE_NS

    def next_deadline_ns(self) -> int:
        return min(self._next_cells_ns, self._next_absent_ns if self._absent else NEVER_NS)

    def look(self, now_ns: int) -> None:
        if now_ns >= self._next_cells_ns:
            self._look_at_cells(now_ns)
        if self._absent and self._next_absent_ns == 0:
            self.commit_absent_cells()  # their regions may be gone soon: that of a process that died, or registers anew
            self._ring_for_absent()
        if self._absent and now_ns >= self._next_absent_ns:
            self._look_for_absent(now_ns)

    def joined(self, member: Member) -> None:
        self._absent.pop(member, None)
        self._cells_pause_ns = CELLS_PAUSE_NS
        self._next_cells_ns = min(self._next_cells_ns, monotonic_ns() + CELLS_PAUSE_NS)

    # --- commit cells -------------------------------------------------------------------------------------------------

    def commit_cells(self, session: GroupSession) -> int:
        """Commit what a member has stored since its cells were looked at; returns how many had news."""
        if session.region is None or session.member is None:
            return 0
        group, member_id = session.member
        offsets = self._cells.news(group, member_id, session.region, session.seen_cells)
        if offsets:
            self._steps.take(self._machine.commit(commit_request(group, member_id, offsets)))
        return len(offsets)

    def says(self, session: GroupSession, owned: Partitions) -> None:
        """A member has taken up partitions: what they had for a cell when it had them before is let go by now."""
        for one in owned - session.said:
            session.seen_cells[self._topics.partition_id(one)] = NEW_CELL
        session.said = owned

    def commit_final(self, group: str, member_id: str, final: Collection[GroupOffset]) -> None:
        """Up to where a member has read what it gives up."""
        offsets = self._cells.still_its(group, member_id, final)
        if offsets:
            self._steps.take(self._machine.commit(commit_request(group, member_id, offsets)))

    def commit_cells_of(self, group: str, member_id: str | None = None) -> None:
        """Of the members of a group, or of one, as far as they are connected."""
        for member, session in list(self._members.items()):
            if member[0] == group and member_id in (None, member[1]):
                self.commit_cells(session)

    def commit_all_cells(self) -> int:
        """Of everybody; returns how many had news."""
        return sum(self.commit_cells(session) for session in list(self._members.values()))

    def _look_at_cells(self, now_ns: int) -> None:
        """Often while there is news, then less and less."""
        if not self._members:
            self._next_cells_ns = NEVER_NS
            return
        found = self.commit_all_cells()
        self._cells_pause_ns = CELLS_PAUSE_NS if found else min(self._cells_pause_ns * 3 // 2, CELLS_PAUSE_NS_MAX)
        self._next_cells_ns = now_ns + self._cells_pause_ns

    def commit_absent_cells(self) -> None:
        """Of members of a predecessor's time that have not come."""
        for member, text in self._absent.items():
            self._commit_absent(member, MemberHost.parse(text))

    def _commit_absent(self, member: Member, host: MemberHost | None) -> int:
        """Returns when it polled last; 0: nobody knows."""
        region = None if host is None else self._regions.open(host.client_id)
        if region is None or host is None:
            return 0
        offsets, polled_ns = self._cells.news(*member, region, {}), region.last_poll(member_token(*member)) or 0
        self._regions.release(host.client_id)
        if offsets:
            self._steps.take(self._machine.commit(commit_request(*member, offsets)))
        return polled_ns

    # --- polls and deaths ---------------------------------------------------------------------------------------------

    def ask_when_polled(self, action: requests.AskWhenPolled) -> None:
        """Cells are looked at first: if the member is fenced for it, nobody looks at them again."""
        member, polled_ns = (action.group, action.member_id), 0
        session = self._members.get(member)
        if session is None:
            polled_ns = self._commit_absent(member, MemberHost.parse(self._absent.get(member, "")))
        else:
            self.commit_cells(session)
            if session.region is not None:
                polled_ns = session.region.last_poll(member_token(*member)) or 0
        polled = requests.Polled(action.group, action.member_id, polled_ns)
        self._steps.take(self._machine.polled(polled))

    def died(self, session: GroupSession) -> None:
        """A member's connection has ended, or its process: it reads nothing any more."""
        assert session.member is not None
        group, member_id = session.member
        self.commit_cells(session)
        self._steps.take(self._machine.died(requests.Died(group, member_id), monotonic_ns()))

    def _may_come(self, member: Member, host: MemberHost, now_ns: int) -> bool:
        """Who is registered will, unless it has left meanwhile, which nobody heard: then it polls no more. Who is not,
        but runs, has left, or is about to be registered anew."""
        if not host.is_registered(self._paths):
            return host.is_running() and now_ns - self._began_ns < REGISTRATION_GRACE_NS
        region = self._regions.open(host.client_id)
        if region is None:
            return True
        polls = region.last_poll(member_token(*member)) is not None
        self._regions.release(host.client_id)
        return polls

    def _ring_for_absent(self) -> None:
        """Who sleeps has not noticed that a predecessor is gone, and would not for a second."""
        for text in self._absent.values():
            host = MemberHost.parse(text)
            region = None if host is None else self._regions.open(host.client_id)
            if host is not None and region is not None:
                if region.doorbell is not None:
                    region.doorbell.ring()
                self._regions.release(host.client_id)

    def _look_for_absent(self, now_ns: int) -> None:
        """Members of a predecessor's time that are not connected yet: those whose process has died are out."""
        self._next_absent_ns = now_ns + ABSENT_PAUSE_NS
        for (group, member_id), text in list(self._absent.items()):
            host = MemberHost.parse(text)
            if host is not None and self._may_come((group, member_id), host, now_ns):
                continue
            self._commit_absent((group, member_id), host)
            del self._absent[group, member_id]
            self._steps.take(self._machine.died(requests.Died(group, member_id), now_ns))


def commit_request(group: str, member_id: str, offsets: Iterable[GroupOffset]) -> requests.Commit:
    wanted = (
        requests.OffsetToCommit(one.topic, one.partition, one.offset, one.leader_epoch, one.metadata, one.topic_id)
        for one in offsets
    )
    return requests.Commit(group, member_id, tuple(wanted), wall_ms())

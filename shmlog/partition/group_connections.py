"""Everybody who is connected to a coordinator: heard in turn, watched, and let go."""

from __future__ import annotations

from collections.abc import Callable

from shmlog.clock import monotonic_ns
from shmlog.control.channel import Channel, ChannelClosedError
from shmlog.control.messages import Failed, Message, OwnerSpec
from shmlog.control.paths import RuntimePaths
from shmlog.errors import ShmlogError
from shmlog.limits import CONTROL_REQUEST_BYTES_MAX
from shmlog.native.doorbell import Doorbell
from shmlog.partition.group_door import GroupDoor
from shmlog.partition.group_session import GroupSession, Member
from shmlog.partition.member_cells import MemberRegions

MESSAGES_PER_TURN = 64
"""Of one connection, before the others get their turn."""
NO_DESCRIPTORS_PAUSE_NS = 200_000_000


class GroupConnections:
    """`obey` gets what is said. `gone` hears of a member whose connection has ended, or whose process has, while it is
    there still."""

    def __init__(
        self,
        spec: OwnerSpec,
        bell: Doorbell,
        obey: Callable[[GroupSession, Message], None],
        gone: Callable[[GroupSession], None],
    ) -> None:
        self.members: dict[Member, GroupSession] = {}
        self.regions = MemberRegions(spec.cid8)
        self._obey = obey
        self._gone = gone
        self._sessions: dict[int, GroupSession] = {}  # by descriptor of the channel
        self._processes: dict[int, GroupSession] = {}  # by pidfd
        self._unheard: set[int] = set()  # descriptors of those that had more to say than a turn takes
        self._no_descriptors_ns = 0  # since when, if nobody can be let in
        path = RuntimePaths(spec.runtime_dir).coordinator_socket(spec.partition)
        self._door = GroupDoor(path, bell, mode=spec.shm_mode, group=spec.shm_group)

    @property
    def has_news(self) -> bool:
        """What was received and not heard makes no descriptor readable."""
        return bool(self._unheard) or self._door.has_news

    def look(self) -> int:
        """Hear everybody who has something to say; returns how much that was."""
        for session in self._sessions.values():
            session.flush()
        if self._no_descriptors_ns and monotonic_ns() - self._no_descriptors_ns > NO_DESCRIPTORS_PAUSE_NS:
            self._no_descriptors_ns = 0
            self._door.watch(self._door.fd)
        unheard, self._unheard = self._unheard, set()
        return sum(self._hear(fd) for fd in unheard.union(self._door.ready()))

    def _hear(self, fd: int) -> int:
        if fd == self._door.fd:
            return self._accept()
        if fd in self._processes:
            self.end(self._processes[fd])
            return 1
        session = self._sessions.get(fd)
        if session is None:
            return 0
        try:
            for heard in range(MESSAGES_PER_TURN):
                message = self._receive(session)
                if message is None:
                    return heard
                self._obey(session, message)
            self._unheard.add(fd)
        except ChannelClosedError:
            self.end(session)
        return 1

    def _receive(self, session: GroupSession) -> Message | None:
        """The next message. What cannot be accepted is refused, and counts as none."""
        try:
            return session.channel.receive()
        except ChannelClosedError:
            raise
        except ShmlogError as error:
            request_id = session.channel.refused_request_id
            session.send(Failed(request_id, type(error).__name__, str(error)))
            if request_id == 0:
                raise ChannelClosedError(str(error)) from error
            return None

    def _accept(self) -> int:
        accepted = 0
        try:
            while (connected := self._door.accept()) is not None:
                session = GroupSession(Channel(connected, accepts_bytes_max=CONTROL_REQUEST_BYTES_MAX))
                self._sessions[session.fd] = session
                self._door.watch(session.fd)
                accepted += 1
        except OSError:  # no descriptors left: they wait, and we do not ask all the time
            self._no_descriptors_ns = monotonic_ns()
            self._door.forget(self._door.fd)
        return accepted

    def sees_cells(self, session: GroupSession, client_id: int) -> bool:
        """Whether what a process with that registration commits in its own memory can be found."""
        if session.region is not None and session.client_id == client_id:
            return True
        if self.regions.open(client_id) is None:
            return False
        self.regions.release(client_id)
        return True

    def introduce(self, session: GroupSession, member: Member, client_id: int) -> None:
        """This connection is that member's from now on; one that was before is dropped."""
        before = self.members.get(member)
        if before is not None and before is not session:
            self.drop(before)
        if session.member is None:
            session.member, session.fenced = member, ""
            pidfd = session.watch_process()
            if pidfd is not None:
                self._processes[pidfd] = session
                self._door.watch(pidfd)
        if session.region is None or session.client_id != client_id:  # its process was registered anew
            if session.region is not None:
                self.regions.release(session.client_id)
            session.client_id, session.region = client_id, self.regions.open(client_id)
            session.seen_cells.clear()
        self.members[member] = session

    def part(self, session: GroupSession) -> None:
        """The connection is no member's any more."""
        if session.member is not None and self.members.get(session.member) is session:
            del self.members[session.member]
        session.member = None
        if session.pidfd is not None and self._processes.pop(session.pidfd, None) is not None:
            self._door.forget(session.pidfd)

    def end(self, session: GroupSession) -> None:
        """It has ended by itself."""
        if session.member is not None:
            self._gone(session)
        self.drop(session)

    def drop(self, session: GroupSession) -> None:
        if self._sessions.pop(session.fd, None) is not None:
            self.part(session)
            self._door.forget(session.fd)
            if session.region is not None:
                session.region = None
                self.regions.release(session.client_id)
            session.close()

    def close(self) -> None:
        """Hang up on everybody."""
        self._door.close()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self.regions.close()

"""A consumer in a group, as far as its coordinator is concerned: what it says, hears, reads and stores, in small steps.

Between any two steps it may be killed or stopped, and the coordinator may do something else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shmlog.machines.group.records import TopicIdPartition
from shmlog.machines.group.requests import Compute
from tests.group_trace import spread

if TYPE_CHECKING:
    from tests.simulation.groups_world import GroupWorld

Offsets = dict[TopicIdPartition, int]


@dataclass(frozen=True, slots=True)
class JoinSaid:
    member_id: str
    epoch: int
    topics: tuple[str, ...]
    pattern: str | None
    owned: frozenset[TopicIdPartition]


@dataclass(frozen=True, slots=True)
class OwnSaid:
    serial: int
    owned: frozenset[TopicIdPartition]
    final: Offsets


@dataclass(frozen=True, slots=True)
class CommitSaid:
    number: int
    offsets: Offsets


@dataclass(frozen=True, slots=True)
class LeaveSaid:
    final: Offsets


@dataclass(frozen=True, slots=True)
class ComputedSaid:
    order: Compute


@dataclass(frozen=True, slots=True)
class Hung:
    """The end of what a member has said."""


@dataclass(frozen=True, slots=True)
class JoinedHeard:
    epoch: int


@dataclass(frozen=True, slots=True)
class RefusedHeard:
    error: str


@dataclass(frozen=True, slots=True)
class AssignHeard:
    serial: int
    epoch: int
    partitions: dict[TopicIdPartition, int | None]


@dataclass(frozen=True, slots=True)
class CommitHeard:
    number: int
    accepted: bool


Said = JoinSaid | OwnSaid | CommitSaid | LeaveSaid | ComputedSaid | Hung
Heard = JoinedHeard | RefusedHeard | AssignHeard | CommitHeard | Compute


@dataclass(slots=True)
class Line:
    """A connection: what is under way in both directions."""

    member: Member
    said: deque[Said] = field(default_factory=deque)
    heard: deque[Heard] = field(default_factory=deque)
    is_open: bool = True


class Member:
    """`automatic`: it stores what it is done with in its cells at every poll; else it commits now and then."""

    def __init__(
        self, world: GroupWorld, name: str, instance: str | None, topics: tuple[str, ...], pattern: str | None
    ) -> None:
        self.world, self.name, self.instance = world, name, instance
        self.topics, self.pattern = topics, pattern
        self.automatic = world.random.random() < 0.7
        self.is_alive, self.stopped_until_ms = True, 0
        self.lives = 0
        self.line: Line | None = None
        self._begin()

    def _begin(self) -> None:
        """Under an id that was never used."""
        self.lives += 1
        self.member_id = f"{self.name}.{self.lives}"
        self.epoch, self.has_joined = 0, False
        self.joined_for: tuple[tuple[str, ...], str | None] = ((), None)
        self.reading: Offsets = {}
        self.owned: frozenset[TopicIdPartition] = frozenset()
        self.assignment: AssignHeard | None = None
        self.unconfirmed: Offsets = {}
        self.asked: tuple[int, Offsets] | None = None
        self.confirming: int | None = None
        self.todo: deque[Callable[[], None]] = deque()
        self.cells = self.world.cells.setdefault(self.member_id, {})
        self.world.polled_ms[self.member_id] = self.world.now_ms
        self._hang_up()

    def _hang_up(self) -> None:
        if self.line is not None:
            self.line.is_open = False
            self.line.said.append(Hung())
            self.line = None
        self.has_joined, self.assignment, self.asked, self.confirming = False, None, None, None

    @property
    def is_stopped(self) -> bool:
        return self.world.now_ms < self.stopped_until_ms

    # --- steps --------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """The next small thing."""
        if self.todo:
            self.todo.popleft()()
        elif self.line is None:
            self._connect()
        elif not self.has_joined or self.asked is not None or self.world.random.random() < 0.3:
            self._listen()
        elif self.world.random.random() < (0.9 if self.automatic else 0.6):
            self.todo += [self._settle, self._listen, self._follow, self._read]
        else:
            self._commit()

    def _connect(self) -> None:
        if self.world.coordinator is not None:
            self.line = self.world.coordinator.connect(self)
            self._join()

    def _join(self) -> None:
        self.joined_for = self.topics, self.pattern
        self._say(JoinSaid(self.member_id, self.epoch, *self.joined_for, self.owned | self.unconfirmed.keys()))

    def subscribe(self, topics: tuple[str, ...]) -> None:
        self.topics, self.pattern = topics, None
        if self.line is not None and self.has_joined:
            self._join_again()

    def _join_again(self) -> None:
        """On the same connection."""
        self.has_joined = False
        self._join()

    def _say(self, said: Said) -> None:
        if self.line is None:
            return
        if self.line.is_open:
            self.line.said.append(said)
        else:
            self._hang_up()

    def _listen(self) -> None:
        """All that has come; of several assignments the last one counts."""
        line = self.line
        while line is not None and self.line is line and line.heard:
            self._hear(line.heard.popleft())
        if line is not None and self.line is line and not line.is_open:
            self._hang_up()

    def _hear(self, heard: Heard) -> None:
        match heard:
            case JoinedHeard():
                self.has_joined, self.epoch = True, heard.epoch
                if self.joined_for != (self.topics, self.pattern):  # it changed its mind meanwhile
                    self._join_again()
            case RefusedHeard():
                self._refused(heard.error)
            case AssignHeard():
                self.assignment, self.epoch = heard, heard.epoch
            case Compute():
                self._say(ComputedSaid(heard))
            case CommitHeard() if heard.number == self.confirming:
                self.confirming = None
                self.world.promise(self.unconfirmed)
                self.unconfirmed.clear()
            case CommitHeard() if self.asked is not None and heard.number == self.asked[0]:
                if heard.accepted and self.automatic:
                    self.cells.update(self.asked[1])
                self.asked = None

    def _refused(self, error: str) -> None:
        if error == "FencedInstanceIdError":
            self.die()
        elif error in ("UnknownMemberError", "MaxPollExceededError"):
            self._begin()
        else:
            raise AssertionError(f"{self.member_id} was refused: {error}")

    # --- a poll -------------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """With what it was given before, the application has finished."""
        self.world.polled_ms[self.member_id] = self.world.now_ms
        if self.automatic:
            self.cells.update(self.reading)

    def _follow(self) -> None:
        news, self.assignment = self.assignment, None
        if news is None:
            return
        gone = self.owned - news.partitions.keys()
        self.unconfirmed.update({partition: self.cells[partition] for partition in gone if partition in self.cells})
        for partition in gone & self.cells.keys():
            self.world.given_up[partition] = self.member_id, self.cells[partition]
        for partition in news.partitions:
            self.unconfirmed.pop(partition, None)
        fresh = {partition: offset or 0 for partition, offset in news.partitions.items() if partition not in self.owned}
        self.owned = frozenset(news.partitions)
        for partition in gone:
            self.reading.pop(partition, None)
        self.todo.clear()
        self.todo += [
            lambda: self._own(news.serial),
            lambda: self._forget(gone),
            lambda: self._take_up(fresh),
            self._read,
        ]

    def _own(self, serial: int) -> None:
        self._say(OwnSaid(serial, self.owned, dict(self.unconfirmed)))
        if self.unconfirmed:
            self.confirming = self.world.next_number()
            self._say(CommitSaid(self.confirming, {}))

    def _forget(self, gone: frozenset[TopicIdPartition]) -> None:
        for partition in gone:
            self.cells.pop(partition, None)

    def _take_up(self, fresh: Offsets) -> None:
        self.world.check_beginning(self, fresh)
        self.reading.update(fresh)
        if self.automatic:
            self.cells.update(fresh)

    def _read(self) -> None:
        for partition, position in sorted(self.reading.items()):
            end = self.world.ends[partition]
            if position < end and self.world.random.random() < 0.7:
                upto = min(end, position + self.world.random.randrange(1, 4))
                self.world.deliver(self, partition, position, upto)
                self.reading[partition] = upto

    def _commit(self) -> None:
        """And waits for the answer."""
        if self.reading:
            self.asked = self.world.next_number(), dict(self.reading)
            self._say(CommitSaid(*self.asked))

    # --- the end ------------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        if self.automatic:
            self.cells.update(self.reading)
        final = self.unconfirmed | {key: self.cells[key] for key in self.owned if key in self.cells}
        self.reading = {}
        self._say(LeaveSaid(final))
        self.die()

    def die(self) -> None:
        self.is_alive = False
        self.reading = {}
        self.todo.clear()
        self._hang_up()


def computed(order: Compute) -> dict[str, frozenset[tuple[str, int]]]:
    """What a member's own assignor says."""
    return {key: frozenset(given) for key, given in spread(order.members, order.partitions).items()}

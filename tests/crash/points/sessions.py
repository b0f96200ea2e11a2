"""Scenarios: clients say hello, get lanes, send and leave; they or their supervisor are killed while they do.

The supervisor's side is its real parts behind a real socket, with the owners in its process; a client is a process that
does what shmlog.client does: it registers, takes its life lock, and maps its region and its lane.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from shmlog.client.registration import Registration
from shmlog.control.channel import Channel
from shmlog.control.messages import PROTOCOL, Failed, Hello, LaneGranted, OpenLane, Request, Welcome
from shmlog.control.paths import RuntimePaths
from shmlog.memory import names
from shmlog.memory.control_page import ControlPage
from shmlog.memory.lane import LaneTerms
from shmlog.supervisor.clients import Clients
from shmlog.supervisor.coordinators import Coordinators
from shmlog.supervisor.damage import DamageWatch
from shmlog.supervisor.deletions import Deletions
from shmlog.supervisor.introductions import Introductions
from shmlog.supervisor.lanes import Lanes
from shmlog.supervisor.owners import Owners
from shmlog.supervisor.requests import Requests
from shmlog.supervisor.sessions import Listener
from shmlog.testing.partition_rig import Lane
from shmlog.version import VERSION
from tests.crash.points.actor import Actor, Killed
from tests.crash.points.clusters import ClusterRole, ClusterWorld, check_cluster, run_cluster
from tests.crash.points.count import CountPage
from tests.crash.points.hosted_owners import HostedOwners
from tests.crash.points.scenario import SCENARIOS, Scenario
from tests.no_followers import no_replicas, no_reserve

Answered = TypeVar("Answered")

TOPIC = "flights"
ROUNDS = 6
"""Of loop and owners: an order, what an owner makes of it, what is done about that, with some to spare."""
ANSWER_S = 5.0


@dataclass(frozen=True)
class Present:
    """What there is of clients: registered here, their regions, their life files; and all lanes."""

    registered: set[int]
    regions: set[int]
    lives: set[int]
    lanes: set[int]


class MeetingRole(ClusterRole):
    """A supervisor that clients can talk to."""

    def make_owners(self) -> Owners:
        self.hosted = HostedOwners(self.loop, self.catalog, self.regions, self.owner_spec)
        return cast(Owners, self.hosted)

    def watch_owners(self) -> None:
        self.damage = DamageWatch(self.identity, self.catalog, self.owners)
        self.clients = Clients(self.loop, self.identity, self.catalog, self.regions)
        self.introductions = Introductions(self.catalog, self.owners, self.clients)
        self.lanes = Lanes(
            self.loop,
            self.identity,
            self.catalog,
            self.regions,
            self.owners,
            self.clients,
            self.introductions,
            self.describe,
        )

    def begin_to_serve(self) -> None:
        """Listen, and look for the clients that an earlier supervisor has left."""
        requests = Requests(
            self.identity,
            self.catalog,
            self.regions,
            self.owners,
            self.clients,
            self.introductions,
            self.lanes,
            self.topics,
            self.damage,
            no_replicas(),
            no_reserve(),
            lambda _: None,
            Deletions(self.catalog, self.owners),
            Coordinators(self.identity, self.catalog, self.owners, self.topics, self.clients),
            lambda: None,
        )
        self.listener = Listener(self.loop, self.identity, self.clients, requests)
        for client_id in self.regions.leftover_numbers("c"):
            self.clients.adopt(client_id)

    def settled(self) -> None:
        for lane_id in self.regions.leftover_numbers("l"):
            if not self.lanes.is_known(lane_id):
                self.regions.unlink(names.lane(self.identity.cid8, lane_id))

    def turn(self) -> None:
        for _ in range(ROUNDS):
            self.loop.run_once(0.0)
            self.hosted.turn()
        super().turn()

    def present(self) -> Present:
        return Present(
            {client.client_id for client in self.clients.all()},
            set(self.regions.leftover_numbers("c")),
            {int(name) for name in os.listdir(self.identity.runtime.lives)},
            set(self.regions.leftover_numbers("l")),
        )

    def records(self) -> int:
        """How many are in the log."""
        ids = [owner.partition_id for owner in self.hosted.all_running()]
        return sum(ControlPage.open(self.identity.cid8, partition_id).log_end_offset for partition_id in ids)

    def close(self) -> None:
        self.listener.close()
        super().close()


class ClientRole:
    """A client process: each exchange in two halves, between which the supervisor has its turn."""

    def __init__(self, place: Path) -> None:
        self._paths = RuntimePaths(str(place / "run"))
        self._welcome: Welcome | None = None
        self._registration: Registration | None = None
        self._channel: Channel | None = None
        self._lane: Lane | None = None

    def hello(self) -> None:
        known_id = None if self._welcome is None else self._welcome.client_id
        self._channel = Channel.connect(self._paths.control_socket)
        self._channel.send(Hello(1, PROTOCOL, VERSION, os.getpid(), known_id))

    def enter(self) -> tuple[int, bool]:
        """What we are known as, and whether we had to register anew."""
        welcome = self._answer(Welcome)
        is_known = self._registration is not None and self._registration.is_of(welcome, self._paths)
        if not is_known:
            self._registration = Registration(welcome, self._paths)
        self._welcome = welcome
        return welcome.client_id, not is_known

    def ask_for_lane(self) -> None:
        self._ask(OpenLane(2, TOPIC, 0, -1, -1, 0, None))

    def take_lane(self) -> int:
        assert self._welcome is not None
        granted = self._answer(LaneGranted)
        terms = LaneTerms(self._welcome.client_id, -1, -1, granted.max_batch_bytes, granted.data_bytes)
        partition_id = granted.partition.partition_id
        self._lane = Lane(self._welcome.cid8, granted.lane_id, terms, acks=-1, sequence=-1, partition_id=partition_id)
        return granted.lane_id

    def send(self) -> None:
        assert self._lane is not None
        self._lane.send(TOPIC, b"value", key=b"key")

    def bye(self) -> None:
        assert self._channel is not None
        assert self._registration is not None
        self._channel.close()
        self._registration.close()

    def _ask(self, request: Request) -> None:
        assert self._channel is not None
        self._channel.send(request)

    def _answer(self, expected: type[Answered]) -> Answered:
        assert self._channel is not None
        answer = self._channel.receive(ANSWER_S)
        assert not isinstance(answer, Failed), answer
        assert isinstance(answer, expected), answer
        return answer


@dataclass
class Member:
    """A client as the checks see it. `client_id` None: it has not been let in; `accepted`: records that it sent."""

    actor: Actor
    client_id: int | None = None
    lane_id: int | None = None
    is_waiting_for_lane: bool = False
    accepted: int = 0
    begun: int = 0
    has_left: bool = False

    @property
    def is_in(self) -> bool:
        return self.actor.is_alive and self.client_id is not None and not self.has_left


class MeetingWorld(ClusterWorld):
    """What a scenario is told with."""

    role = MeetingRole

    def __init__(self, place: Path, page: CountPage) -> None:
        super().__init__(place, page)
        self.members: list[Member] = []

    def client(self) -> Member:
        member = Member(Actor(lambda: ClientRole(self.place), self.page))
        self.members.append(member)
        return member

    def turn(self) -> None:
        assert self.supervisor is not None
        self.supervisor.call("turn")

    def join(self, member: Member) -> None:
        member.actor.call("hello")
        self.turn()
        member.client_id, _ = member.actor.call("enter")

    def open_lane(self, member: Member) -> None:
        member.is_waiting_for_lane = True
        member.actor.call("ask_for_lane")
        self.turn()
        member.lane_id = member.actor.call("take_lane")
        member.is_waiting_for_lane = False

    def send(self, member: Member, count: int = 1) -> None:
        for _ in range(count):
            member.begun += 1
            member.actor.call("send")
            member.accepted += 1

    def leave(self, member: Member) -> None:
        member.has_left = True
        member.actor.call("bye")
        self.turn()

    def member_with_lane(self) -> Member:
        member = self.client()
        self.join(member)
        self.open_lane(member)
        return member

    # --- after the kill -----------------------------------------------------------------------------------------------

    def after_kill(self) -> None:
        """A supervisor that lives cleans up after the client that does not; then it is killed, too."""
        if self.supervisor is not None and self.supervisor.is_alive:
            with suppress(Killed):  # its points are not over
                self.turn()
                self.check_present(self.supervisor.call("present"))
        for member in self.members:
            if not member.is_in:  # whether its Welcome was on its way, nobody knows
                member.actor.kill()
        self.kill()

    def check(self, role: ClusterRole) -> None:
        """A new supervisor knows who lives, and nobody else; they go on and leave, and nothing is left of anybody."""
        assert isinstance(role, MeetingRole)
        role.turn()
        self.check_present(role.present())
        for member in self.members:
            if member.is_in:
                self._go_on(role, member)
        role.turn()
        assert role.present() == Present(set(), set(), set(), set())
        accepted, begun = (sum(getattr(one, name) for one in self.members) for name in ("accepted", "begun"))
        assert accepted <= role.records() <= begun, (accepted, role.records(), begun)
        check_cluster(self, role)

    def _go_on(self, role: MeetingRole, member: Member) -> None:
        member.actor.call("hello")
        role.turn()
        client_id, is_new = member.actor.call("enter")
        assert (client_id, is_new) == (member.client_id, False), f"client {member.client_id} is not known any more"
        if member.lane_id is not None:
            self.send(member)
        member.actor.call("bye")

    def check_present(self, present: Present) -> None:
        ids = {member.client_id for member in self.members if member.is_in}
        assert present.registered == present.regions == present.lives == ids, (present, ids)
        lanes = {member.lane_id for member in self.members if member.is_in and member.lane_id is not None}
        assert present.lanes >= lanes, (present, lanes)
        unclaimed = sum(member.is_in and member.is_waiting_for_lane for member in self.members)
        assert len(present.lanes - lanes) <= unclaimed, f"lanes of nobody: {present.lanes - lanes}"

    def close(self) -> None:
        for member in self.members:
            member.actor.kill()
        super().close()


def session_scenario(name: str) -> Callable[[Callable[[MeetingWorld], None]], Callable[[MeetingWorld], None]]:
    """Without a reboot: no client survives one."""

    def enter(play: Callable[[MeetingWorld], None]) -> Callable[[MeetingWorld], None]:
        SCENARIOS[name] = Scenario(name, partial(run_cluster, play, MeetingWorld), ("warm",))
        return play

    return enter


@session_scenario("sessions: a client is let in")
def hello(world: MeetingWorld) -> None:
    world.start()
    world.create(TOPIC, 1)
    world.member_with_lane()
    newcomer = world.client()
    world.arm()
    world.join(newcomer)


@session_scenario("sessions: a lane is made")
def lane(world: MeetingWorld) -> None:
    world.start()
    world.create(TOPIC, 1)
    world.member_with_lane()
    member = world.client()
    world.join(member)
    world.arm()
    world.open_lane(member)
    world.send(member)


@session_scenario("sessions: a client comes and goes, and is killed")
def client_is_killed(world: MeetingWorld) -> None:
    world.start()
    world.create(TOPIC, 1)
    world.member_with_lane()
    member = world.client()
    member.actor.arm()
    world.join(member)
    world.open_lane(member)
    world.send(member, 2)
    world.leave(member)


@session_scenario("sessions: clients leave and die")
def clients_leave(world: MeetingWorld) -> None:
    world.start()
    world.create(TOPIC, 1)
    stays, leaves, dies = world.member_with_lane(), world.member_with_lane(), world.member_with_lane()
    for member in (stays, leaves, dies):
        world.send(member)
    world.arm()
    world.leave(leaves)
    dies.actor.kill()
    world.turn()


@session_scenario("sessions: a supervisor finds clients")
def restart(world: MeetingWorld) -> None:
    world.start()
    world.create(TOPIC, 1)
    world.member_with_lane()
    world.join(world.client())
    dead = world.member_with_lane()
    world.send(dead)
    dead.actor.kill()
    world.start(armed=True)

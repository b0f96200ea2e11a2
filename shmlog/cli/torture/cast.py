"""The clients of a torture: processes that produce and consume, and are started again when they were killed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from shmlog.cli.torture import consuming, membership, producing
from shmlog.cli.torture.profile import Profile
from shmlog.testing.worker_process import Message, WorkerFailedError, WorkerProcess

READY_TIMEOUT_S = 60.0
KILLED = "was killed by signal 9"


@dataclass(slots=True)
class Player:
    """One client: its present process, and what it has said. `number` names a producer in the histories, and changes
    with every process; a consumer keeps its own.
    """

    role: str
    seat: int
    process: WorkerProcess
    number: int
    is_ready: bool = False
    is_done: bool = False
    count: int = 0
    stopped: bool = False
    at: dict[str, int] = field(default_factory=dict)
    """Where a member of the group is in its partitions."""
    member: str = ""
    """What a member that is done is called in its notes."""


@dataclass(slots=True)
class Cast:
    """All clients. `complaints` are what went wrong in one of them and should not have."""

    cluster: str
    profile: Profile
    seed: int
    histories: Path
    environment: dict[str, str]
    """Of the clients, besides ours: what sets their clock."""
    producers: list[Player] = field(default_factory=list)
    consumers: list[Player] = field(default_factory=list)
    members: list[Player] = field(default_factory=list)
    """Of the one consumer group."""
    complaints: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    producers_ever: int = 0
    settled: int = 0
    expected_deaths: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Start everybody, and wait until all are ready. Raises WorkerFailedError or TimeoutError."""
        self.consumers = [self._consumer(seat) for seat in range(self.profile.consumers)]
        self.members = [self._member(seat) for seat in range(self.profile.members)]
        self.producers = [self._producer(seat) for seat in range(self.profile.producers)]
        for player in self.players():
            player.process.receive(READY_TIMEOUT_S)
            player.is_ready = True

    def players(self) -> list[Player]:
        return [*self.consumers, *self.members, *self.producers]

    def _producer(self, seat: int) -> Player:
        number, self.producers_ever = self.producers_ever, self.producers_ever + 1
        style = producing.STYLES[seat % len(producing.STYLES)]
        given = {name.replace(".", "_"): value for name, value in self.profile.producer.items()}
        order = {
            **self._order(self.histories / f"producer-{number:05d}"),
            "number": number,
            "seed": f"{self.seed}/{number}",
            "settings": {**style, **given},
            "records_per_second": self.profile.records_per_second / self.profile.producers,
        }
        return Player("producer", seat, self._start(producing.MODULE, order, f"producer {number}"), number)

    def _consumer(self, seat: int) -> Player:
        order = {
            **self._order(self.histories / f"consumer-{seat:05d}"),
            "number": seat,
            "slow": seat % 2 == 1,
        }
        return Player("consumer", seat, self._start(consuming.MODULE, order, f"consumer {seat}"), seat)

    def _member(self, seat: int) -> Player:
        order = {**self._order(self.histories / f"member-{seat:05d}"), "number": seat}
        return Player("member", seat, self._start(membership.MODULE, order, f"member {seat}"), seat)

    def _order(self, history: Path) -> Message:
        topics = {name: topic.partitions for name, topic in self.profile.topics.items()}
        return {
            "cluster": self.cluster,
            "history": str(history),
            "topics": topics,
            "record_bytes_max": self.profile.record_bytes_max,
        }

    def _start(self, module: str, order: Message, label: str) -> WorkerProcess:
        return WorkerProcess(module, orjson.dumps(order).decode(), label=label, environment=self.environment)

    # --- while it goes on ---------------------------------------------------------------------------------------------

    def kill(self, player: Player) -> bool:
        """SIGKILL; tend() starts another. False if it is gone already."""
        if player.process.is_gone:
            return False
        self.expected_deaths.add(player.process.pid)
        os.kill(player.process.pid, signal.SIGKILL)
        return True

    def tend(self) -> None:
        """Hear what everybody says, and replace who was killed; who ends otherwise is a complaint, and replaced too."""
        parts = ((self.producers, self._producer), (self.consumers, self._consumer), (self.members, self._member))
        for players, make in parts:
            for seat, player in enumerate(players):
                try:
                    while not player.is_done and (message := player.process.poll()) is not None:
                        self._hear(player, message)
                except WorkerFailedError as error:
                    if player.process.pid not in self.expected_deaths or KILLED not in str(error):
                        self.complaints.append(str(error))
                    player.process.stop()
                    self.settled += player.count
                    players[seat] = make(seat)

    def _hear(self, player: Player, message: Message) -> None:
        player.is_ready = True
        player.count = int(message.get("acks") or message.get("read") or player.count)
        player.is_done = "done" in message
        player.at = message.get("at", player.at)
        player.member = message.get("member", player.member)
        self.troubles.update(message.get("troubles", {}))

    def acks(self) -> int:
        """How many records were acknowledged, as far as producers have said."""
        return sum(player.count for player in self.producers)

    def conclude(self, players: list[Player], timeout_s: float, **order: object) -> bool:
        """Tell players to come to their end, and wait until all have; complaints say who does not."""
        for player in players:
            try:
                player.process.send(**order)
            except WorkerFailedError as error:
                self.complaints.append(str(error))
                player.is_done = True
        deadline = time.monotonic() + timeout_s
        while left := [player for player in players if not player.is_done]:
            for player in left:
                try:
                    while not player.is_done and (message := player.process.poll()) is not None:
                        self._hear(player, message)
                except WorkerFailedError as error:
                    self.complaints.append(str(error))
                    player.is_done = True
            if time.monotonic() > deadline:
                self.complaints += [f"{player.process.label} does not come to an end" for player in left]
                return False
            time.sleep(0.01)
        return True

    def end(self) -> None:
        """Kill who is left."""
        for player in self.players():
            player.process.stop()

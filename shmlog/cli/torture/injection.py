"""Doing to the cluster and its clients what a plan says, and undoing it when its time is over."""

from __future__ import annotations

import heapq
import itertools
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from shmlog.cli.torture.cast import Cast, Player
from shmlog.cli.torture.faults import KINDS
from shmlog.cli.torture.plan import Fault
from shmlog.cli.torture.stage import Stage
from shmlog.client.results import ReplicaInfo
from shmlog.clock import monotonic_ns
from shmlog.model import TopicPartition

HEIR_S = 20.0
NOT_YET_NS = 2**63 - 1
REGISTERED_NS = 2_000_000_000
METADATA_PLACE = "__cluster_metadata-0/"


@dataclass(slots=True)
class Injector:
    """Carries faults out. Counts what really happened: a victim that was not there is not counted."""

    stage: Stage
    cast: Cast
    done: Counter[str] = field(default_factory=Counter)
    killed_owners: set[int] = field(default_factory=set)
    ending: set[int] = field(default_factory=set)
    """Supervisors that were told to end, or killed: not to be relied on though they may still be there."""
    down: list[tuple[int, int]] = field(default_factory=list)
    """From when to when, on the monotonic clock, the cluster was stopped, until its clients have registered anew."""
    supervisor_may_die: bool = False
    up_at: float | None = None
    """When `shmlog up` starts the cluster again, if no supervisor is there by then."""
    heir_is_due: bool = False
    """A standby waited when the supervisor was killed: it is there by `up_at`."""
    _ahead_s: int = 0
    _undo: list[tuple[float, int, Callable[[], object]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def inject(self, fault: Fault) -> None:
        """Begin a fault."""
        kind = KINDS[fault.kind]
        if kind.group == "disk":
            self._spoil(fault)
        elif kind.group == "clock":
            self._set_clock(fault)
        elif kind.victim in ("producer", "consumer", "member"):
            cast = {"producer": self.cast.producers, "consumer": self.cast.consumers, "member": self.cast.members}
            players = cast[kind.victim]
            self._hit_player(fault, players[fault.target % len(players)])
        elif fault.kind == "restart_cluster":
            self._restart(fault)
        elif kind.victim in ("cluster", "everything"):
            self._kill_everything(fault)
        else:
            self._hit_process(fault)

    def undo_due(self) -> None:
        """End what has lasted long enough."""
        while self._undo and self._undo[0][0] <= time.monotonic():
            heapq.heappop(self._undo)[2]()

    def heal(self) -> None:
        """End everything that was begun."""
        while self._undo:
            heapq.heappop(self._undo)[2]()

    def count(self, group: str) -> int:
        """How many faults of a group were carried out."""
        return sum(count for name, count in self.done.items() if KINDS[name].group == group)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _hit_player(self, fault: Fault, player: Player) -> None:
        if KINDS[fault.kind].group == "kill":
            self.done[fault.kind] += self.cast.kill(player)
        elif self._stop(player.process.pid, fault.seconds):
            self.done[fault.kind] += 1

    def _hit_process(self, fault: Fault) -> None:
        victim = KINDS[fault.kind].victim
        pid: int | None
        if victim == "owner":
            places = list(self.stage.partition_ids)
            pid = self.stage.owner_pid(places[fault.target % len(places)])
        elif victim == "follower":
            places = list(self.stage.partition_ids)
            turn, number = divmod(fault.target, len(places))
            pid = self.stage.follower_pid(places[number], turn)
        elif victim == "coordinator":
            pid = self.stage.coordinator_pid()
        elif victim == "supervisor":
            pid = self.stage.supervisor_pid()
        else:
            pid = self.stage.zygote_pid()
        if not pid:
            return
        if KINDS[fault.kind].group == "stop":
            self.done[fault.kind] += self._stop(pid, fault.seconds)
            return
        if victim in ("owner", "coordinator"):
            self.killed_owners.add(pid)
        waits = victim == "supervisor" and self.stage.has_standby()
        if _signal(pid, signal.SIGKILL):
            self.done[fault.kind] += 1
            if victim == "supervisor":
                self.ending.add(pid)
                self.heir_is_due = waits
                self.up_at = time.monotonic() + (HEIR_S if waits else fault.seconds)

    def _kill_everything(self, fault: Fault) -> None:
        self.stage.stop_coming_up()
        owners = {self.stage.owner_pid(place) for place in self.stage.partition_ids} | {self.stage.coordinator_pid()}
        self.killed_owners |= {pid for pid in owners if pid}
        killed = [pid for pid in self.stage.everybody() if _signal(pid, signal.SIGKILL)]
        if KINDS[fault.kind].victim == "everything":
            for player in self.cast.players():
                self.cast.kill(player)
        self.done[fault.kind] += bool(killed)
        self.heir_is_due = False
        self.up_at = time.monotonic() + fault.seconds

    def _restart(self, fault: Fault) -> None:
        """What `shmlog down` does, without waiting for it: the loop starts the cluster again when it is gone."""
        pid = self.stage.supervisor_pid()
        if pid and _signal(pid, signal.SIGTERM):
            self.ending.add(pid)
            self.done[fault.kind] += 1
            self.down.append((monotonic_ns(), NOT_YET_NS))
            self.heir_is_due = False
            self.up_at = time.monotonic() + fault.seconds

    def is_up(self) -> None:
        """The cluster is there again, if it was stopped."""
        if self.down and self.down[-1][1] == NOT_YET_NS:
            self.down[-1] = self.down[-1][0], monotonic_ns() + REGISTERED_NS

    def _stop(self, pid: int, seconds: float) -> bool:
        if not _signal(pid, signal.SIGSTOP):
            return False
        self._later(seconds, lambda: _signal(pid, signal.SIGCONT))
        return True

    def lose_log(self, place: TopicPartition, replica: ReplicaInfo) -> None:
        """Take a replica's process and directory away; a successor that was faster than we loses it under its feet."""
        for _ in range(2):
            pid = self.stage.worker_pid(place, replica.replica_id)
            if pid:
                self.killed_owners.add(pid)
                _signal(pid, signal.SIGKILL)
            shutil.rmtree(replica.log_dir, ignore_errors=True)

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _spoil(self, fault: Fault) -> None:
        kind = KINDS[fault.kind]
        places = list(self.stage.partition_ids)
        turn, number = divmod(fault.target, len(places))
        place, replica_id = places[number], turn % self.stage.profile.replicas
        is_metadata = kind.victim == "metadata"
        copy = f".r{replica_id}" if replica_id else ""
        where = METADATA_PLACE if is_metadata else f"{place.topic}-{place.partition}{copy}/"
        self.supervisor_may_die = self.supervisor_may_die or is_metadata
        orders = self.stage.faults
        number = orders.arm(
            kind.calls, kind.error, place=where, skip=fault.skip, count=fault.count, seconds=fault.seconds
        )

        def disarm() -> None:
            self.done[fault.kind] += bool(orders.disarm(number))

        self._later(fault.seconds, disarm)

    # --- the clock ----------------------------------------------------------------------------------------------------

    def _set_clock(self, fault: Fault) -> None:
        """Of everybody, clients too, as on one machine. Nobody puts it right: all has to go on with it."""
        self.done[fault.kind] += 1
        self._ahead_s += fault.jump_s
        for orders in (self.stage.faults, self.stage.clients_clock):
            orders.set_wall_clock(self._ahead_s)

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._numbers), action))


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True

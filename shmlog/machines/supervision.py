"""Who runs, who is replaced and when: one small state machine per partition.

    stopped --wanted--> starting --ready--> running
                          ^   \\               |
              immediately |    \\--- exit ---- +
              or after a  |                   v
              backoff     +---------------- waiting

    any --unwanted--> closing --closed, exit--> stopped
    stopped --stranded--> offline

An owner that dies while it closes has a successor, which closes in its place: what producers were told is accepted lies
in shared memory until some owner has written it. After CLOSE_ATTEMPTS_MAX the partition is left as it is.

State is what the supervisor has seen; nothing of it is durable except leader epochs, which come out as records. Because
a caller does actions only when the records are durable, no owner ever starts under an epoch that a crash could forget.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from shmlog.limits import RESTART_BACKOFF_FIRST_MS, RESTART_BACKOFF_MAX_MS, RESTART_BACKOFF_SECOND_MS
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.step import Step

STABLE_AFTER_MS = 250
"""An owner that ran this long before it died was healthy: its successor starts at once."""

CLOSE_ATTEMPTS_MAX = 3

START_ATTEMPTS_MAX = 3
"""After so many owners in a row that died without saying why, who waits for the partition to start is told so. The
partition goes on trying."""

HOPELESS = frozenset({"ForeignVersionError"})
"""Failures that a restart cannot change: the partition goes offline until somebody acts."""

_MS = 1_000_000


class OwnerPhase(Enum):
    """The value is the word that users see."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    CLOSING = "closing"
    OFFLINE = "offline"


# --- what the supervisor sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """The partition is to have an owner. `leader_epoch` is the last one in the metadata log, -1 if there was none."""

    partition_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class Stranded:
    """The partition is to have an owner and cannot while this supervisor lives: its log is out of reach. `clean`:
    nothing of it is in shared memory."""

    partition_id: int
    leader_epoch: int
    error: str
    message: str
    clean: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The owner said that it runs."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Failing:
    """The owner said why it is about to exit."""

    partition_id: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class ClosedCleanly:
    """The owner said that everything is written, and is about to exit."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The kernel said that the owner's process is gone. A failed fork is the same."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An order to the owner has been waiting for its answer since `since_ns`."""

    partition_id: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The owner is starting, and has not shown since `since_ns` that it gets on."""

    partition_id: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The partition is to be closed, for good if `delete`."""

    partition_id: int
    delete: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Observation = Wanted | Stranded | Ready | Failing | ClosedCleanly | Exited | Unanswered | Standing | Unwanted | Tick


# --- what it shall do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartOwner:
    partition_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class CloseOwner:
    """Ask it to drain, close and exit."""

    partition_id: int
    delete: bool


@dataclass(frozen=True, slots=True)
class KillOwner:
    """SIGKILL; nobody acts in its place before Exited was seen."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The partition has no owner and wants none. `clean`: nothing of it is in shared memory only."""

    partition_id: int
    delete: bool
    clean: bool


SupervisionAction = StartOwner | CloseOwner | KillOwner | Gone
SupervisionStep = Step[LeaderEpochRaised, None, SupervisionAction]


def together(steps: Iterable[SupervisionStep]) -> SupervisionStep:
    """Several steps as one: all records, then all actions."""
    taken = list(steps)
    return Step(
        records=tuple(record for step in taken for record in step.records),
        actions=tuple(action for step in taken for action in step.actions),
    )


@dataclass(slots=True)
class Supervised:
    """One partition. `error` is what its last owner said when it failed; `restarts` counts successors."""

    leader_epoch: int
    phase: OwnerPhase = OwnerPhase.STOPPED
    failures: int = 0
    restarts: int = 0
    ready_ns: int | None = None
    restart_ns: int = 0
    delete: bool = False
    clean: bool = False
    killed: bool = False
    hopeless: bool = False
    error: str = ""


class SupervisionMachine:
    """observe() is the only way in; its step says what to do. `unresponsive_ms` 0: never kill a silent owner."""

    def __init__(self, *, backoff_max_ms: int = RESTART_BACKOFF_MAX_MS, unresponsive_ms: int = 0) -> None:
        self._backoff_max_ms = backoff_max_ms
        self._unresponsive_ns = unresponsive_ms * _MS
        self._partitions: dict[int, Supervised] = {}
        self._waiting: set[int] = set()  # those in OwnerPhase.WAITING: few of many

    def phase(self, partition_id: int) -> OwnerPhase:
        found = self._partitions.get(partition_id)
        return OwnerPhase.STOPPED if found is None else found.phase

    def error(self, partition_id: int) -> str:
        """Why its last owner failed; empty if it did not say, or a successor runs."""
        found = self._partitions.get(partition_id)
        return "" if found is None else found.error

    def failures(self, partition_id: int) -> int:
        """How many owners in a row have died early."""
        found = self._partitions.get(partition_id)
        return 0 if found is None else found.failures

    def restarts(self) -> int:
        """How many owners were replaced."""
        return sum(partition.restarts for partition in self._partitions.values())

    def next_deadline_ns(self) -> int | None:
        """When Tick must be observed next at the latest; None: nothing is due."""
        return min((self._partitions[partition_id].restart_ns for partition_id in self._waiting), default=None)

    def all_gone(self) -> bool:
        """No partition has an owner."""
        return not any(
            one.phase in (OwnerPhase.STARTING, OwnerPhase.RUNNING, OwnerPhase.CLOSING)
            for one in self._partitions.values()
        )

    def observe(self, seen: Observation, now_ns: int) -> SupervisionStep:
        """Take one observation in and say what to do about it."""
        match seen:
            case Wanted():
                return self._wanted(seen)
            case Stranded():
                return self._stranded(seen)
            case Tick():
                return self._tick(now_ns)
        one = self._partitions.get(seen.partition_id)
        if one is None:
            return Step()
        match seen:
            case Ready() if one.phase is OwnerPhase.STARTING:
                one.phase, one.ready_ns, one.error = OwnerPhase.RUNNING, now_ns, ""
            case Ready() if one.phase is OwnerPhase.CLOSING:
                one.ready_ns = now_ns
                return Step(actions=(CloseOwner(seen.partition_id, one.delete),))
            case ClosedCleanly():
                one.clean = True
            case Failing():
                one.error, one.hopeless = f"{seen.error}: {seen.message}", seen.error in HOPELESS
            case Exited():
                return self._exited(seen.partition_id, one, now_ns)
            case Unwanted():
                return self._unwanted(seen, one)
            case Standing() if not one.killed and one.ready_ns is None and self._is_too_long(seen.since_ns, now_ns):
                one.killed = True
                return Step(actions=(KillOwner(seen.partition_id),))
            case Unanswered() if self._is_stuck(one, seen.since_ns, now_ns):
                one.killed = True
                return Step(actions=(KillOwner(seen.partition_id),))
        return Step()

    def _wanted(self, seen: Wanted) -> SupervisionStep:
        assert seen.partition_id not in self._partitions, "a partition is wanted once"
        one = self._partitions[seen.partition_id] = Supervised(seen.leader_epoch)
        return self._start(seen.partition_id, one)

    def _stranded(self, seen: Stranded) -> SupervisionStep:
        assert seen.partition_id not in self._partitions, "a partition is wanted once"
        self._partitions[seen.partition_id] = Supervised(
            seen.leader_epoch, OwnerPhase.OFFLINE, clean=seen.clean, error=f"{seen.error}: {seen.message}"
        )
        return Step()

    def _start(self, partition_id: int, one: Supervised, phase: OwnerPhase = OwnerPhase.STARTING) -> SupervisionStep:
        self._waiting.discard(partition_id)
        one.phase, one.ready_ns, one.killed, one.hopeless = phase, None, False, False
        one.leader_epoch += 1
        return Step(
            records=(LeaderEpochRaised(partition_id, one.leader_epoch),),
            actions=(StartOwner(partition_id, one.leader_epoch),),
        )

    def _tick(self, now_ns: int) -> SupervisionStep:
        waiting = [(partition_id, self._partitions[partition_id]) for partition_id in sorted(self._waiting)]
        return together(self._restart(partition_id, one) for partition_id, one in waiting if one.restart_ns <= now_ns)

    def _restart(self, partition_id: int, one: Supervised) -> SupervisionStep:
        one.restarts += 1
        return self._start(partition_id, one)

    def _exited(self, partition_id: int, one: Supervised, now_ns: int) -> SupervisionStep:
        if one.phase is OwnerPhase.CLOSING:
            one.failures += 1
            if one.clean or one.delete or one.hopeless or one.failures >= CLOSE_ATTEMPTS_MAX:
                return self._gone(partition_id, one)
            return self._start(partition_id, one, OwnerPhase.CLOSING)
        if one.phase not in (OwnerPhase.STARTING, OwnerPhase.RUNNING):
            return Step()
        if one.hopeless:
            one.phase = OwnerPhase.OFFLINE
            return Step()
        was_healthy = one.ready_ns is not None and now_ns - one.ready_ns >= STABLE_AFTER_MS * _MS
        one.failures = 1 if was_healthy else one.failures + 1
        pause_ms = self._pause_ms(one.failures)
        if pause_ms == 0:
            return self._restart(partition_id, one)
        one.phase, one.restart_ns = OwnerPhase.WAITING, now_ns + pause_ms * _MS
        self._waiting.add(partition_id)
        return Step()

    def _pause_ms(self, failures: int) -> int:
        """Before the successor after this many failures in a row."""
        if failures == 1:
            return RESTART_BACKOFF_FIRST_MS
        doubled = RESTART_BACKOFF_SECOND_MS << min(failures - 2, 30)
        return min(doubled, self._backoff_max_ms)

    def _unwanted(self, seen: Unwanted, one: Supervised) -> SupervisionStep:
        one.delete = one.delete or seen.delete
        was, one.failures = one.phase, 0
        if was is OwnerPhase.CLOSING:
            return Step()
        if was is OwnerPhase.OFFLINE or (was is OwnerPhase.WAITING and one.delete):
            return self._gone(seen.partition_id, one)
        one.phase = OwnerPhase.CLOSING
        if was is OwnerPhase.WAITING:
            return self._start(seen.partition_id, one, OwnerPhase.CLOSING)
        if was is OwnerPhase.RUNNING:
            return Step(actions=(CloseOwner(seen.partition_id, one.delete),))
        return Step()  # it starts just now: told to close when it is ready

    def _gone(self, partition_id: int, one: Supervised) -> SupervisionStep:
        self._waiting.discard(partition_id)
        del self._partitions[partition_id]
        return Step(actions=(Gone(partition_id, one.delete, one.clean),))

    def _is_stuck(self, one: Supervised, since_ns: int, now_ns: int) -> bool:
        """Whether the present owner has been silent for too long; what its predecessor owed does not count."""
        if one.killed or one.ready_ns is None or one.phase not in (OwnerPhase.RUNNING, OwnerPhase.CLOSING):
            return False
        return self._is_too_long(max(since_ns, one.ready_ns), now_ns)

    def _is_too_long(self, since_ns: int, now_ns: int) -> bool:
        return 0 < self._unresponsive_ns <= now_ns - since_ns

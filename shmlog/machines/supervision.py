"""Who runs, who is replaced and when: one small state machine per partition.

    stopped --wanted--> starting --ready--> running
                          ^   \\               |
              immediately |    \\--- exit ---- +
              or after a  |                   v
              backoff     +---------------- waiting

    any --unwanted--> closing --closed, exit--> stopped
    stopped --stranded--> offline
    any --vacated--> moving --exit--> (vacant) --led--> starting

An owner that dies while it closes has a successor, which closes in its place: what producers were told is accepted lies
in shared memory until some owner has written it. After CLOSE_ATTEMPTS_MAX the partition is left as it is.

State is what the supervisor has seen; nothing of it is durable except leader epochs, which come out as records. Because
a caller does actions only when the records are durable, no owner ever starts under an epoch that a crash could forget.
"""

# ruff: noqa: PLC0414  (`as` tells mypy that the events are imported from here)
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from shmlog.limits import RESTART_BACKOFF_FIRST_MS, RESTART_BACKOFF_MAX_MS, RESTART_BACKOFF_SECOND_MS
from shmlog.machines.metadata_records import LeaderEpochRaised
from shmlog.machines.step import Step
from shmlog.machines.supervision_events import (
    ClosedCleanly as ClosedCleanly,
    CloseOwner as CloseOwner,
    Exited as Exited,
    ExpectOwner as ExpectOwner,
    Failing as Failing,
    Gone as Gone,
    IsVacant as IsVacant,
    KillOwner as KillOwner,
    Led as Led,
    LogHasFailed as LogHasFailed,
    Observation as Observation,
    OrderStepDown as OrderStepDown,
    Ready as Ready,
    Standing as Standing,
    StartOwner as StartOwner,
    Stranded as Stranded,
    SupervisionAction as SupervisionAction,
    Survived as Survived,
    Tick as Tick,
    Unanswered as Unanswered,
    Unwanted as Unwanted,
    Vacated as Vacated,
    Wanted as Wanted,
)

STABLE_AFTER_MS = 250
"""An owner that ran this long before it died was healthy: its successor starts at once."""

CLOSE_ATTEMPTS_MAX = 3

RESTARTS_AT_ONCE = 3
"""So many owners in a row that were ready and died sooner have a successor without a pause: somebody kills them."""

START_ATTEMPTS_MAX = 3
"""After so many owners in a row that died without saying why, who waits for the partition to start is told so. The
partition goes on trying."""

LOG_FAILURES = frozenset({"StorageError", "CorruptRecordError", "InvalidRequestError"})
"""What an owner says that cannot go on with its log or its disk: another replica might."""

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
    MOVING = "moving"


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
    log_failed: bool = False
    unwanted: bool = False
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

    def has_failed_log(self, partition_id: int) -> bool:
        """Whether owners do not get on with its log, and none runs now."""
        found = self._partitions.get(partition_id)
        return found is not None and found.log_failed and found.phase in (OwnerPhase.WAITING, OwnerPhase.OFFLINE)

    def restarts(self) -> int:
        """How many owners were replaced."""
        return sum(partition.restarts for partition in self._partitions.values())

    def next_deadline_ns(self) -> int | None:
        """When Tick must be observed next at the latest; None: nothing is due."""
        return min((self._partitions[partition_id].restart_ns for partition_id in self._waiting), default=None)

    def all_gone(self) -> bool:
        """No partition has an owner."""
        return not any(
            one.phase in (OwnerPhase.STARTING, OwnerPhase.RUNNING, OwnerPhase.CLOSING, OwnerPhase.MOVING)
            for one in self._partitions.values()
        )

    def observe(self, seen: Observation, now_ns: int) -> SupervisionStep:
        """Take one observation in and say what to do about it."""
        match seen:
            case Wanted() | Survived():
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
                one.log_failed = one.hopeless or seen.error in LOG_FAILURES
            case Exited():
                return self._exited(seen.partition_id, one, now_ns)
            case Unwanted():
                return self._unwanted(seen, one)
            case Vacated():
                return self._vacated(seen.partition_id, one)
            case Led() if one.phase is OwnerPhase.MOVING:
                return self._led(seen.partition_id, one)
            case Standing() | Unanswered() if self._is_stuck(one, seen, now_ns):
                one.killed = True
                return Step(actions=(KillOwner(seen.partition_id),))
        return Step()

    def _wanted(self, seen: Wanted | Survived) -> SupervisionStep:
        assert seen.partition_id not in self._partitions, "a partition is wanted once"
        one = self._partitions[seen.partition_id] = Supervised(seen.leader_epoch)
        if isinstance(seen, Survived):
            one.phase = OwnerPhase.STARTING
            return Step(actions=(ExpectOwner(seen.partition_id, seen.leader_epoch),))
        return self._start(seen.partition_id, one)

    def _stranded(self, seen: Stranded) -> SupervisionStep:
        assert seen.partition_id not in self._partitions, "a partition is wanted once"
        self._partitions[seen.partition_id] = Supervised(
            seen.leader_epoch,
            OwnerPhase.OFFLINE,
            clean=seen.clean,
            log_failed=True,
            error=f"{seen.error}: {seen.message}",
        )
        return Step(actions=(LogHasFailed(seen.partition_id),))

    def _start(self, partition_id: int, one: Supervised, phase: OwnerPhase = OwnerPhase.STARTING) -> SupervisionStep:
        self._waiting.discard(partition_id)
        one.phase, one.ready_ns, one.killed, one.hopeless, one.log_failed = phase, None, False, False, False
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
        if one.phase is OwnerPhase.MOVING:
            return Step(actions=(IsVacant(partition_id),))
        if one.phase not in (OwnerPhase.STARTING, OwnerPhase.RUNNING):
            return Step()
        if one.hopeless:
            one.phase = OwnerPhase.OFFLINE
            return Step(actions=(LogHasFailed(partition_id),))
        was_healthy = one.ready_ns is not None and now_ns - one.ready_ns >= STABLE_AFTER_MS * _MS
        one.failures = 1 if was_healthy else one.failures + 1
        has_served = one.ready_ns is not None
        one.log_failed = one.log_failed or one.failures > (RESTARTS_AT_ONCE if has_served else START_ATTEMPTS_MAX - 1)
        pause_ms = self._pause_ms(one.failures, has_served=has_served)
        if pause_ms == 0 and not one.log_failed:
            return self._restart(partition_id, one)
        one.phase, one.restart_ns = OwnerPhase.WAITING, now_ns + pause_ms * _MS
        self._waiting.add(partition_id)
        return Step(actions=(LogHasFailed(partition_id),) if one.log_failed else ())

    def _pause_ms(self, failures: int, *, has_served: bool) -> int:
        """Before the successor after this many failures in a row. Who was ready was able to live, and was killed."""
        if failures == 1 or (has_served and failures <= RESTARTS_AT_ONCE):
            return RESTART_BACKOFF_FIRST_MS
        doubled = RESTART_BACKOFF_SECOND_MS << min(failures - 2, 30)
        return min(doubled, self._backoff_max_ms)

    def _unwanted(self, seen: Unwanted, one: Supervised) -> SupervisionStep:
        one.delete = one.delete or seen.delete
        was, one.failures = one.phase, 0
        if was is OwnerPhase.CLOSING:
            return Step()
        if was is OwnerPhase.MOVING:
            one.unwanted = True  # first it gets its leader, who closes it
            return Step()
        if was is OwnerPhase.OFFLINE or (was is OwnerPhase.WAITING and one.delete):
            return self._gone(seen.partition_id, one)
        one.phase = OwnerPhase.CLOSING
        if was is OwnerPhase.WAITING:
            return self._start(seen.partition_id, one, OwnerPhase.CLOSING)
        if was is OwnerPhase.RUNNING:
            return Step(actions=(CloseOwner(seen.partition_id, one.delete),))
        return Step()  # it starts just now: told to close when it is ready

    def _vacated(self, partition_id: int, one: Supervised) -> SupervisionStep:
        was = one.phase
        if was not in (OwnerPhase.STARTING, OwnerPhase.RUNNING, OwnerPhase.WAITING, OwnerPhase.OFFLINE):
            return Step()
        self._waiting.discard(partition_id)
        one.phase = OwnerPhase.MOVING
        match was:
            case OwnerPhase.STARTING:
                return Step(actions=(KillOwner(partition_id),))
            case OwnerPhase.RUNNING:
                return Step(actions=(OrderStepDown(partition_id),))
        return Step(actions=(IsVacant(partition_id),))

    def _led(self, partition_id: int, one: Supervised) -> SupervisionStep:
        one.failures, one.clean = 0, False
        if not one.unwanted:
            return self._restart(partition_id, one)
        one.unwanted = False
        return self._gone(partition_id, one) if one.delete else self._start(partition_id, one, OwnerPhase.CLOSING)

    def _gone(self, partition_id: int, one: Supervised) -> SupervisionStep:
        self._waiting.discard(partition_id)
        del self._partitions[partition_id]
        return Step(actions=(Gone(partition_id, one.delete, one.clean),))

    def _is_stuck(self, one: Supervised, seen: Standing | Unanswered, now_ns: int) -> bool:
        """Whether the present owner has been silent for too long; what its predecessor owed does not count."""
        if one.killed or (one.ready_ns is None) != isinstance(seen, Standing):
            return False
        if one.ready_ns is None:
            return self._is_too_long(seen.since_ns, now_ns)
        phases = (OwnerPhase.RUNNING, OwnerPhase.CLOSING, OwnerPhase.MOVING)
        return one.phase in phases and self._is_too_long(max(seen.since_ns, one.ready_ns), now_ns)

    def _is_too_long(self, since_ns: int, now_ns: int) -> bool:
        return 0 < self._unresponsive_ns <= now_ns - since_ns

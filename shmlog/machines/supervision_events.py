"""What the supervision machine takes in, and what it says is to be done."""

from __future__ import annotations

from dataclasses import dataclass

# --- what the supervisor sees -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """The partition is to have an owner. `leader_epoch` is the last one in the metadata log, -1 if there was none."""

    partition_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class Survived:
    """The partition is to have an owner, and has one that an earlier supervisor left, of the last epoch in the metadata
    log. Ready says that it has come back."""

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
class Vacated:
    """Another replica is to lead: the owner is to step down, and gets no successor."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Led:
    """Another replica leads from now on, and is to have an owner."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Observation = (
    Wanted
    | Survived
    | Stranded
    | Ready
    | Failing
    | ClosedCleanly
    | Exited
    | Unanswered
    | Standing
    | Unwanted
    | Vacated
    | Led
    | Tick
)


# --- what it shall do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartOwner:
    partition_id: int
    leader_epoch: int


@dataclass(frozen=True, slots=True)
class ExpectOwner:
    """It runs: hear it when it comes back, and see its end if it does not."""

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


@dataclass(frozen=True, slots=True)
class LogHasFailed:
    """No owner gets on with this log. Unless it is moved, another is tried, or the partition is offline."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class OrderStepDown:
    """Ask it to leave everything to another replica and exit."""

    partition_id: int


@dataclass(frozen=True, slots=True)
class IsVacant:
    """The owner that was to go is gone, and the partition waits for Led."""

    partition_id: int


SupervisionAction = StartOwner | ExpectOwner | CloseOwner | KillOwner | Gone | LogHasFailed | OrderStepDown | IsVacant
